// pool/purge.c - giving memory back when more is kept than the budget allows: free pages and cached blocks first, then
// free OS pages inside partly used pages.
//
// The latter costs a walk, so a heap looks only when its idle bytes (free and resident, in partly used pages) may have
// passed what the budget leaves for it; what a walk could not give back (idle_stuck_bytes) is not looked for again.
#include "budget.h"
#include "heap.h"
#include "large.h"
#include "os_linux.h"

static const size_t look_again_bytes = (size_t)64 << 10; // at least this much more must become idle

// Purging goes a quarter of the budget below the limit, so that it comes in runs of pages, not one by one.
static const unsigned purge_slack_shift = 2;

// --- medium pages ----------------------------------------------------------------------------------------------------

// The blocks first..end-1 are free and dirty. Those that lie whole in the OS pages given back become clean.
static size_t medium_run_purge(page_t *page, unsigned first, unsigned end)
{
    size_t block_bytes = page_class(page)->block_bytes, os_page = os_page_bytes();
    uintptr_t from = align_up((uintptr_t)page_block(page, first), os_page);
    uintptr_t to = align_down((uintptr_t)page_block(page, end), os_page);
    if (from >= to || !os_purge((void *)from, to - from))
        return 0;
    unsigned clean = 0;
    for (unsigned i = first; i < end; i++) {
        uintptr_t start = (uintptr_t)page_block(page, i);
        if (start >= from && start + block_bytes <= to) {
            page->clean_bits |= (uint64_t)1 << i;
            clean++;
        }
    }
    return clean * block_bytes;
}

static size_t medium_page_purge(page_t *page)
{
    size_t purged = 0;
    uint64_t rest = page->free_bits & ~page->clean_bits;
    while (rest != 0) {
        unsigned first = bits_lowest(rest);
        uint64_t from_first = rest >> first;
        unsigned length = ~from_first == 0 ? 64 : bits_lowest(~from_first);
        purged += medium_run_purge(page, first, first + length);
        rest &= ~(bits_mask(length) << first);
    }
    return purged;
}

static size_t medium_bin_purge(medium_bin_t *bin)
{
    size_t purged = bin->current != NULL ? medium_page_purge(bin->current) : 0;
    for (page_t *page = zone_page_by_id(bin->pages); page != NULL; page = zone_page_by_id(page->next))
        purged += medium_page_purge(page);
    return purged;
}

// --- small pages -----------------------------------------------------------------------------------------------------

// What the free list says of one carve step: whether all its blocks are free, and the one that reaches into it.
static bool step_is_free(const page_t *page, unsigned step)
{
    unsigned first = page_step_first(page, step), end = page_step_first(page, step + 1), free_blocks = 0;
    size_t block_bytes = page_class(page)->block_bytes;
    bool reached_into = first > 0 && first * block_bytes > step * CARVE_BYTES, reacher_free = false;
    for (const block_t *block = page->list; block != NULL; block = block->next) {
        bool exact;
        unsigned index = page_block_index(page, block, &exact);
        free_blocks += index >= first && index < end;
        reacher_free |= index + 1 == first;
    }
    bool reacher_uncarved = step > 0 && !(page->carved >> (step - 1) & 1);
    return free_blocks == end - first && (!reached_into || reacher_free || reacher_uncarved);
}

static void step_unlist(page_t *page, unsigned step)
{
    unsigned first = page_step_first(page, step), end = page_step_first(page, step + 1);
    char *from = page_block(page, first), *to = page_block(page, end);
    block_t **link = &page->list;
    while (*link != NULL) {
        if ((char *)*link >= from && (char *)*link < to)
            *link = (*link)->next;
        else
            link = &(*link)->next;
    }
    page->carved &= (uint8_t)~(1u << step);
}

static size_t small_page_purge(page_t *page)
{
    size_t purged = 0;
    page->scanned = (uint16_t)page_used(page);
    for (unsigned step = 0; step < CARVE_STEPS; step++) {
        if (!(page->carved >> step & 1) || !step_is_free(page, step))
            continue;
        step_unlist(page, step);
        os_purge(page->start + step * CARVE_BYTES, CARVE_BYTES);
        purged += CARVE_BYTES;
    }
    return purged;
}

static size_t small_bin_purge(heap_t *heap, small_bin_t *bin)
{
    size_t purged = 0;
    for (page_t *page = zone_page_by_id(bin->bucket[0]), *next; page != NULL; page = next) {
        next = zone_page_by_id(page->next);
        if (page->scanned != 0 && page_used(page) * 2 > page->scanned)
            continue; // looked at when it was not much fuller
        purged += small_page_purge(page);
        if (page->list == NULL)
            heap_settle(heap, page);
    }
    return purged;
}

// --- the heap --------------------------------------------------------------------------------------------------------

size_t heap_purge_idle(heap_t *heap)
{
    size_t medium = 0, small = 0;
    for (unsigned i = MEDIUM_CLASSES; i-- > 0;)
        medium += medium_bin_purge(&heap->medium[i]);
    heap->idle_bytes -= medium;
    for (unsigned class = 1; class <= SMALL_CLASSES && os_page_bytes() <= CARVE_BYTES; class++)
        small += small_bin_purge(heap, &heap->small[class]);
    heap->idle_stuck_bytes = heap->idle_bytes;
    if (medium + small != 0)
        budget_purged(medium + small);
    return medium + small;
}

static size_t idle_now(heap_t *heap)
{
    if (heap->idle_stuck_bytes > heap->idle_bytes)
        heap->idle_stuck_bytes = heap->idle_bytes;
    return heap->idle_bytes - heap->idle_stuck_bytes;
}

static void kept_purge(size_t limit)
{
    size_t kept = budget_retained();
    if (kept <= limit)
        return;
    size_t wanted = kept - limit + (limit >> purge_slack_shift);
    size_t purged = zone_purge(wanted);
    if (purged < wanted)
        large_purge(wanted - purged);
}

void heap_purge_excess(heap_t *heap)
{
    size_t limit = budget_limit();
    kept_purge(limit);
    if (heap->idle_bytes <= heap->idle_due_bytes && heap->idle_bytes * 2 >= heap->idle_due_bytes)
        return;
    size_t share = limit / size_max(heap_alive_count(), 1), idle = idle_now(heap);
    if (idle > share) {
        heap_purge_idle(heap);
        idle = idle_now(heap);
    }
    heap->idle_due_bytes = heap->idle_bytes + size_max((share - size_min(idle, share)) / 2, look_again_bytes);
}
