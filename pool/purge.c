// pool/purge.c - giving memory back when more is kept than the budget allows: free pages and cached blocks first, then
// free OS pages inside partly used pages.
//
// The latter costs a walk, so a heap looks only when its idle bytes (free and resident, in partly used pages) may have
// passed what the budget leaves for it; what a walk could not give back (idle_stuck_bytes) is not looked for again.
#include "budget.h"
#include "heap.h"
#include "large.h"
#include "mosaic.h"
#include "os_linux.h"
#include "zone_purge.h"

#include <string.h>

static const size_t look_again_bytes = (size_t)64 << 10; // at least this much more must become idle

// Purging goes a quarter of the budget below the limit, so that it comes in runs of pages, not one by one.
static const unsigned purge_slack_shift = 2;

// --- medium pages ----------------------------------------------------------------------------------------------------

// Where blocks first..end-1 lie; with the last one the tail, too: an earlier class may have used it.
static uintptr_t blocks_end(const page_t *page, unsigned end)
{
    return end == page_class(page)->block_count ? (uintptr_t)page->start + page_class(page)->page_bytes
                                                : (uintptr_t)page_block(page, end);
}

// The OS pages of the blocks first..end-1, which are free and dirty. The first and the last one may reach into clean
// blocks (which were given back without them): then they go, too, if all blocks in them are free.
static void medium_run_bounds(const page_t *page, unsigned first, unsigned end, uintptr_t *from, uintptr_t *to)
{
    size_t os_page = os_page_bytes();
    uint64_t free_bits = page->dirty_bits | page->clean_bits;
    uintptr_t low = align_down((uintptr_t)page_block(page, first), os_page), high = align_up(blocks_end(page, end), os_page);
    while (first > 0 && free_bits >> (first - 1) & 1 && (uintptr_t)page_block(page, first) > low)
        first--;
    while (end < page_class(page)->block_count && free_bits >> end & 1 && blocks_end(page, end) < high)
        end++;
    *from = size_max(align_up((uintptr_t)page_block(page, first), os_page), low);
    *to = size_min(align_down(blocks_end(page, end), os_page), high);
}

// What of a block lies outside the OS pages that were given back shares an OS page with one in use.
static void block_clear_outside(uintptr_t block, size_t block_bytes, uintptr_t from, uintptr_t to)
{
    if (block < from)
        memset((void *)block, 0, from - block);
    if (block + block_bytes > to)
        memset((void *)to, 0, block + block_bytes - to);
}

// The blocks first..end-1 are free and dirty. Those that lie at least in part in the OS pages given back become clean, and
// what is left of them is cleared: else each walk would give the same OS pages back again for their sake. (bench/phases.c:
// three system calls in four.) Returns the bytes given back.
static size_t medium_run_purge(page_t *page, unsigned first, unsigned end)
{
    size_t block_bytes = page_class(page)->block_bytes;
    uintptr_t from, to;
    medium_run_bounds(page, first, end, &from, &to);
    if (from >= to || !zone_purge_inside(page, (void *)from, to - from))
        return 0;
    page->purged = PURGED_INSIDE;
    for (unsigned i = first; i < end; i++) {
        uintptr_t start = (uintptr_t)page_block(page, i);
        if (start < to && start + block_bytes > from) {
            block_clear_outside(start, block_bytes, from, to);
            page->clean_bits |= (uint64_t)1 << i; // before it stops being dirty: see page_free_bits
            __atomic_store_n(&page->dirty_bits, page->dirty_bits & ~((uint64_t)1 << i), __ATOMIC_RELEASE);
        }
    }
    return to - from;
}

// The heap's idle bytes are what dirty free blocks hold, so they change by blocks.
static size_t medium_page_purge(heap_t *heap, page_t *page)
{
    size_t purged = 0;
    unsigned dirty = bits_count(page->dirty_bits);
    uint64_t rest = page->dirty_bits;
    while (rest != 0) {
        unsigned first = bits_lowest(rest);
        uint64_t from_first = rest >> first;
        unsigned length = ~from_first == 0 ? 64 : bits_lowest(~from_first);
        purged += medium_run_purge(page, first, first + length);
        rest &= ~(bits_mask(length) << first);
    }
    size_t idle_bytes = (dirty - bits_count(page->dirty_bits)) * (size_t)page_class(page)->block_bytes;
    heap->idle_bytes -= idle_bytes;
    budget_unuse(idle_bytes);
    return purged;
}

static size_t medium_bin_purge(heap_t *heap, medium_bin_t *bin, size_t wanted)
{
    size_t purged = 0;
    for (page_t *page = zone_page_by_id(bin->pages); page != NULL && purged < wanted; page = zone_page_by_id(page->next))
        purged += medium_page_purge(heap, page);
    return bin->current != NULL && purged < wanted ? purged + medium_page_purge(heap, bin->current) : purged;
}

// --- small pages -----------------------------------------------------------------------------------------------------

// Which of a page's blocks are on its free list, a bit each.
typedef struct free_map {
    uint64_t words[SMALL_BLOCKS_MAX / 64];
} free_map_t;

// A walk along a free list is a cache miss a block, one after the other; asked for beforehand, many come at once.
// (bench/scattered.c: 30 % of its time were such walks.)
static void blocks_prefetch(const page_t *page)
{
    size_t stride = size_max(page_class(page)->block_bytes, CACHE_LINE_BYTES);
    for (unsigned rest = page->carved; rest != 0; rest &= rest - 1) {
        unsigned step = bits_lowest(rest);
        const char *end = page->start + (step + 1) * CARVE_BYTES;
        for (const char *at = page_block(page, page_step_first(page, step)); at < end; at += stride)
            __builtin_prefetch(at);
    }
}

// False: it is not a list of so many blocks of the page. Whoever takes it tells (page_list_looks_right); meanwhile nothing of
// the page is given back.
static bool list_map(const page_t *page, free_map_t *map)
{
    const size_class_t *class = page_class(page);
    const block_t *block = page->list;
    for (unsigned left = page_carved_count(page) - page_used(page); left > 0; left--) {
        size_t offset = (size_t)((const char *)block - page->start);
        unsigned index = size_class_index_exact(class, offset); // of its lower half
        if (unlikely(offset >= class->page_bytes) || unlikely(index >= class->block_count))
            return false;
        map->words[index / 64] |= (uint64_t)1 << index % 64;
        block = block->next;
    }
    return likely(block == NULL);
}

static bool free_map_take(const page_t *page, free_map_t *map)
{
    memset(map->words, 0, sizeof(map->words));
    if (likely(harden_level == 0)) {
        blocks_prefetch(page);
        return list_map(page, map);
    }
    for (unsigned i = 0; i < block_bits_words(page); i++)
        map->words[i] = atomic_load_explicit(&block_bits_free(page)[i], memory_order_relaxed);
    return true;
}

// Whether all of the blocks first..end-1 are free; none is.
static bool map_has_all(const free_map_t *map, unsigned first, unsigned end)
{
    for (unsigned next; first < end; first = next) {
        next = (unsigned)size_min(end, (first | 63) + 1);
        if (~(map->words[first / 64] >> first % 64) & bits_mask(next - first))
            return false;
    }
    return true;
}

static void map_remove(free_map_t *map, unsigned first, unsigned end)
{
    for (unsigned next; first < end; first = next) {
        next = (unsigned)size_min(end, (first | 63) + 1);
        map->words[first / 64] &= ~(bits_mask(next - first) << first % 64);
    }
}

// No block in use of the step before reaches into it.
static bool step_is_apart(const page_t *page, const free_map_t *map, unsigned step)
{
    unsigned first = page_step_first(page, step);
    bool reached_into = (size_t)first * page_class(page)->block_bytes > step * CARVE_BYTES;
    return !reached_into || !(page->carved >> (step - 1) & 1) || map_has_all(map, first - 1, first);
}

// A step can be given back if it is resident, all blocks that start in it are free, and the one before that reaches into
// it.
static bool step_is_free(const page_t *page, const free_map_t *map, unsigned step)
{
    bool none_used = !(page->carved >> step & 1) ||
                     map_has_all(map, page_step_first(page, step), page_step_first(page, step + 1));
    return page->soiled >> step & 1 && none_used && step_is_apart(page, map, step);
}

// Nothing starts in the step or reaches into it. Hardened, steps are carved in any order, so behind one that is soiled may
// stand one that is not and yet has the end of a block.
static bool step_is_untouched(const page_t *page, const free_map_t *map, unsigned step)
{
    return !(page->soiled >> step & 1) && step_is_apart(page, map, step);
}

// By the map, in the order of addresses: the old list would have to be followed once more.
static void list_make(page_t *page, const free_map_t *map)
{
    size_t block_bytes = page_class(page)->block_bytes;
    block_t **link = &page->list;
    char *first = page->start;
    for (unsigned i = 0; i * 64 < page_class(page)->block_count; i++, first += 64 * block_bytes)
        for (uint64_t rest = map->words[i]; rest != 0; rest &= rest - 1) {
            *link = (block_t *)(first + bits_lowest(rest) * block_bytes);
            link = &(*link)->next;
        }
    *link = NULL;
}

static void list_without(page_t *page, free_map_t *map, unsigned steps)
{
    for (unsigned rest = steps & page->carved; rest != 0; rest &= rest - 1)
        map_remove(map, page_step_first(page, bits_lowest(rest)), page_step_first(page, bits_lowest(rest) + 1));
    list_make(page, map);
}

static void steps_unlist(page_t *page, free_map_t *map, unsigned steps)
{
    if (unlikely(harden_level != 0))
        block_bits_forget(page, steps);
    else
        list_without(page, map, steps);
    page->carved_count -= page_steps_count(page, steps & page->carved);
    page->carved &= (uint16_t)~steps;
    page->soiled &= (uint16_t)~steps;
}

// The steps that make up whole OS pages, with those beside them that are not resident by this page's doing; none, if an
// OS page holds more than the page.
static unsigned steps_in_os_pages(const page_t *page, const free_map_t *map, unsigned steps)
{
    unsigned each = (unsigned)(os_page_bytes() / CARVE_BYTES), untouched = 0, whole = 0;
    if (likely(each <= 1))
        return steps;
    for (unsigned step = 0; step < page_steps(page); step++)
        untouched |= (unsigned)step_is_untouched(page, map, step) << step;
    for (unsigned first = 0; first + each <= page_steps(page); first += each) {
        unsigned os_page = (unsigned)bits_mask(each) << first;
        if ((steps & os_page) != 0 && ((steps | untouched) & os_page) == os_page)
            whole |= os_page;
    }
    return whole;
}

static size_t small_page_purge(page_t *page)
{
    free_map_t map;
    unsigned steps = 0, end;
    page->scanned = (uint16_t)page_used(page);
    if (unlikely(!free_map_take(page, &map)))
        return 0;
    for (unsigned step = 0; step < page_steps(page); step++)
        steps |= (unsigned)step_is_free(page, &map, step) << step;
    steps = steps_in_os_pages(page, &map, steps);
    if (steps == 0)
        return 0;
    unsigned soiled = bits_count(steps & page->soiled);
    steps_unlist(page, &map, steps);
    page->purged = PURGED_INSIDE;
    for (unsigned rest = steps, first; rest != 0; rest &= ~(unsigned)bits_mask(end)) { // each run of steps at once
        first = bits_lowest(rest);
        end = first + bits_lowest(~((uint64_t)rest >> first));
        if (!zone_purge_inside(page, page->start + first * CARVE_BYTES, (end - first) * CARVE_BYTES))
            page->soiled |= (uint16_t)(bits_mask(end) & ~bits_mask(first));
    }
    return soiled * CARVE_BYTES;
}

// Each page is looked at once, then it stands in another list until most of what it holds is freed.
static size_t small_bin_purge(heap_t *heap, small_bin_t *bin, size_t wanted)
{
    size_t purged = 0;
    for (page_id_t id = bin->bucket[0], next; id != 0 && purged < wanted; id = next) {
        page_t *page = zone_page_by_id(id);
        next = page->next; // what is settled into this list again goes to its head
        heap_unlist(heap, page);
        purged += small_page_purge(page);
        heap_settle(heap, page);
    }
    return purged;
}

// The largest blocks first: their pages' lists are the shortest ones, and more of such a page is found free.
static size_t small_purge(heap_t *heap, size_t wanted)
{
    size_t purged = 0;
    for (unsigned class = SMALL_CLASSES; class > 0 && purged < wanted; class--)
        if (size_class_table[class].page_bytes > os_page_bytes()) // else nothing inside a page can be given back
            purged += small_bin_purge(heap, &heap->small[class], wanted - purged);
    budget_unuse(purged);
    return purged;
}

// --- the heap --------------------------------------------------------------------------------------------------------

size_t heap_purge_idle(heap_t *heap, size_t wanted)
{
    size_t medium = 0, small = 0;
    heap_enter(heap);
    heap_idle_settle(heap);
    for (unsigned i = MEDIUM_CLASSES; i-- > 0 && medium < wanted;)
        medium += medium_bin_purge(heap, &heap->medium[i], wanted - medium);
    if (medium < wanted)
        small = small_purge(heap, wanted - medium);
    if (medium + small < wanted)
        mosaic_purge();
    if (medium + small < wanted)
        heap->idle_stuck_bytes = heap->idle_bytes;
    if (medium + small != 0)
        budget_purged(medium + small);
    heap_leave(heap);
    return medium + small;
}

// All that medium pages can give back; with `unwanted` only those of classes that nobody asks for.
static size_t medium_purge(heap_t *heap, bool unwanted)
{
    size_t purged = 0;
    for (unsigned i = MEDIUM_CLASSES; i-- > 0;)
        if (!unwanted || heap_class_is_unwanted(heap, heap->medium[i].turn))
            purged += medium_bin_purge(heap, &heap->medium[i], SIZE_MAX);
    if (purged != 0)
        budget_purged(purged);
    return purged;
}

void heap_purge_unwanted(heap_t *heap)
{
    size_t share = size_max(BUDGET_FLOOR_BYTES, budget_waste()) / size_max(heap_alive_count(), 1);
    if (heap->turns - heap->unwanted_turn < heap->unwanted_wait || heap->idle_bytes <= share ||
        huge_keeps_inside())
        return;
    size_t purged = medium_purge(heap, true);
    heap->unwanted_turn = heap->turns;
    heap->unwanted_wait = purged != 0 ? UNWANTED_TURNS : heap->unwanted_wait + UNWANTED_TURNS; // walks in vain get rare
}

static size_t idle_now(heap_t *heap)
{
    if (heap->idle_stuck_bytes > heap->idle_bytes)
        heap->idle_stuck_bytes = heap->idle_bytes;
    return heap->idle_bytes - heap->idle_stuck_bytes;
}

// A heap that gives memory back twice without a refill in between is being emptied. Its current pages and head lists
// would stay to the end, up to 4 MiB of them; so they go back to where all other pages are. (bench/turns.c: eight threads
// that had done so each kept theirs, 30 MiB in all.)
static void emptied_flush(heap_t *heap)
{
    if (heap->purged_refills == heap->refills)
        heap_flush(heap);
    heap->purged_refills = heap->refills;
}

void heap_purge_stale(void)
{
    size_t stale = budget_stale(), purged = zone_purge_long(stale);
    if (purged < stale)
        large_purge(stale - purged);
}

// What the heap is emptied of first is kept, too, from then on.
static void kept_purge(heap_t *heap, size_t limit)
{
    if (budget_kept() <= limit)
        return;
    emptied_flush(heap);
    size_t kept = size_max(budget_kept(), limit); // others may have taken of it meanwhile
    size_t wanted = kept - limit + (limit >> purge_slack_shift);
    size_t purged = zone_purge_long(wanted);
    if (purged < wanted)
        purged += large_purge(wanted - purged);
    if (purged < kept - limit)
        purged += zone_purge_whole(wanted - purged);
    if (purged < kept - limit && !huge_keeps_inside()) // more huge pages are partly used than can be excused
        zone_purge(kept - limit - purged);
}

// What the budget leaves for a heap's idle bytes: what other heaps do not keep of it, and its fair part at least. (With
// the fair part alone, a thread that works while seven others sleep gave back what it needed again, 4 KiB at a time:
// bench/turns.c, 1,500 system calls a turn.)
static size_t idle_share(heap_t *heap)
{
    size_t limit = budget_limit(BUDGET_INSIDE), others = heap_idle_all() - heap->idle_told_bytes;
    return size_max(limit - size_min(others, limit), limit / size_max(heap_alive_count(), 1));
}

// Refills empty the inbox long before, but an owner that only frees, or asks for large blocks alone, has none.
static bool inbox_is_due(const heap_t *heap)
{
    if (likely(!heap_inbox_has(heap)))
        return false;
    ptrdiff_t pending = (ptrdiff_t)budget_pending();
    return pending > (ptrdiff_t)BUDGET_FLOOR_BYTES && (size_t)pending > budget_limit(BUDGET_WHOLE);
}

void heap_inbox_drain_excess(heap_t *heap)
{
    if (unlikely(inbox_is_due(heap)))
        heap_purge_excess(heap);
}

static void purge_excess(heap_t *heap)
{
    if (unlikely(inbox_is_due(heap)))
        heap_inbox_drain(heap);
    heap_idle_settle(heap);
    kept_purge(heap, budget_limit(BUDGET_WHOLE));
    if ((heap->idle_bytes <= heap->idle_due_bytes && heap->idle_bytes * 2 >= heap->idle_due_bytes) || huge_keeps_inside())
        return;
    size_t share = idle_share(heap), idle = idle_now(heap);
    if (idle > share) {
        size_t wanted = idle - share + (share >> purge_slack_shift);
        // An OS page that two blocks share goes when both are free. So where much was stuck, what was freed since has set
        // more free than itself: all of it goes. (bench/phases.c: else 9 MiB more at the end.)
        // And so it does while nothing of the kind is wanted again: one walk for more finds longer runs than many for little.
        if (heap->idle_stuck_bytes > share || !budget_has_credit(BUDGET_INSIDE))
            wanted -= size_min(medium_purge(heap, false), wanted);
        heap_purge_idle(heap, wanted);
        idle = idle_now(heap);
    }
    heap->idle_due_bytes = heap->idle_bytes + size_max((share - size_min(idle, share)) / 2, look_again_bytes);
    heap_idle_tell(heap, idle);
}

void heap_purge_excess(heap_t *heap)
{
    heap_enter(heap);
    purge_excess(heap);
    heap_leave(heap);
}
