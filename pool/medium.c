// pool/medium.c - medium blocks: a bit each in the page's descriptor, so that nothing of a free block is ever touched,
// a double free is seen at once, and free blocks of an OS page and more can be given back one by one.
//
// The lowest dirty block goes first: what is resident is used again before anything fresh is touched.
#include <assert.h>

#include "budget.h"
#include "heap.h"
#include "os_linux.h"
#include "zone_page.h"

static const unsigned page_tries = 4; // pages looked at for the fullest one

static page_id_t *pages_of(heap_t *heap, unsigned class)
{
    return &heap->medium[class - CLASS_FIRST_MEDIUM].pages;
}

static void pages_push(heap_t *heap, page_t *page)
{
    assert(heap_is_entered(heap));
    page_id_t *head = pages_of(heap, page->class), id = zone_page_id(page);
    page_t *first = zone_page_by_id(*head);
    if (first != NULL)
        first->prev = id;
    page->next = *head;
    page->prev = 0;
    page->place = PAGE_LISTED;
    page->ahead = false;
    *head = id;
}

static size_t dirty_idle_bytes(const page_t *page)
{
    return (size_t)bits_count(page->dirty_bits) * page_class(page)->block_bytes;
}

static void medium_settle_used(heap_t *heap, page_t *page, unsigned used)
{
    if (page->place == PAGE_CURRENT) {
        page->left = PAGE_NO_EVENT;
        return;
    }
    unsigned full_below = page_class(page)->block_count - heap_full_page_returns(page_class(page));
    if (used == 0 && !remote_is_queued(page)) { // else: when it comes out of the inbox
        if (page->place == PAGE_LISTED)
            heap_unlist(heap, page);
        heap->idle_bytes -= dirty_idle_bytes(page);
        zone_page_free(page);
        return;
    }
    if (page->place == PAGE_UNLISTED && used <= full_below)
        pages_push(heap, page);
    page_arm_used(page, used, page->place == PAGE_UNLISTED ? full_below : 0);
}

void heap_medium_settle(heap_t *heap, page_t *page)
{
    medium_settle_used(heap, page, page_used(page));
}

void heap_medium_relist(heap_t *heap, page_t *page)
{
    if ((page->dirty_bits | page->clean_bits) == 0)
        return;
    pages_push(heap, page);
    page_arm(page, 0);
}

// A page with an event to come is not vacant: no deputy has given it up since its last free.
void heap_medium_event(heap_t *heap, page_t *page)
{
    heap_enter(heap);
    bool emptied = page->floor == 0 && page->place != PAGE_CURRENT;
    medium_settle_used(heap, page, page->floor);
    if (emptied || heap->idle_bytes > heap->idle_due_bytes)
        heap_purge_excess(heap);
    heap_leave(heap);
}

void heap_free_medium(heap_t *heap, page_t *page, unsigned index)
{
    page->dirty_bits |= (uint64_t)1 << index;
    size_t idle_bytes = heap->idle_bytes += page_class(page)->block_bytes;
    heap_free_counts();
    if (unlikely(--page->left == 0))
        heap_medium_event(heap, page);
    else if (unlikely(idle_bytes > heap->idle_due_bytes))
        heap_purge_excess(heap);
}

bool heap_free_medium_of(heap_t *heap, page_t *page, unsigned index)
{
    bool already;
    if (page_owner(page) == heap || heap_adopt_page(heap, page)) {
        heap_free_medium(heap, page, index);
        return true;
    }
    size_t block_bytes = page_class(page)->block_bytes;
    vacant_t seen = heap_vacant_see(page, 1);
    heap_pend(heap, block_bytes);
    if (remote_free_bit(page, index, &already))
        heap_drain_orphan(heap_inbox_push(page));
    if (already)
        heap_unpend(heap, block_bytes);
    else if (!heap_adopt_page(heap, page)) // its owner may have ended in between
        heap_vacant_tell(heap, seen);
    return !already;
}

static bool has_dirty(const page_t *page)
{
    return page->dirty_bits != 0;
}

// Of the first few pages the fullest one; with `dirty` only of those that have a resident free block. NULL: none. What the pages
// are like follows no pattern, so they are compared without a branch.
static page_t *fullest_page_take(heap_t *heap, unsigned class, bool dirty)
{
    page_t *best = NULL, *page = zone_page_by_id(*pages_of(heap, class));
    unsigned best_rank = 0;
    for (unsigned tries = 0; page != NULL && tries < page_tries; tries++, page = zone_page_by_id(page->next)) {
        unsigned rank = !dirty | has_dirty(page) ? page_used_counted(page) + 1 : 0; // 0: not this one
        best = rank > best_rank ? page : best;
        best_rank = (unsigned)size_max(rank, best_rank);
    }
    if (best != NULL)
        heap_unlist(heap, best);
    return best;
}

static page_t *next_page(heap_t *heap, unsigned class)
{
    page_t *page = fullest_page_take(heap, class, false);
    if (page == NULL && heap_adopt_class(heap, class))
        page = fullest_page_take(heap, class, false);
    if (page != NULL)
        return page;
    page = zone_page_alloc(class, heap);
    if (unlikely(harden_level != 0) && page != NULL && !heap_harden_page(page)) {
        zone_page_free(page);
        return NULL;
    }
    if (page != NULL) {
        heap->idle_bytes += dirty_idle_bytes(page);
        page->ahead = zone_huge_state(page) != HUGE_PLAIN;
        if (unlikely(budget_has_risen())) // by a huge page, of which all blocks are dirty
            heap_purge_stale();
    }
    return page;
}

static void current_set(heap_t *heap, medium_bin_t *bin, page_t *page)
{
    page_t *old = bin->current;
    bin->current = page;
    heap->last.block = NULL;
    heap->medium_seen |= (uint64_t)1 << (page->class - CLASS_FIRST_MEDIUM);
    bin->block_bytes = page_class(page)->block_bytes;
    page->place = PAGE_CURRENT;
    page->left = PAGE_NO_EVENT;
    if (old != NULL) {
        old->place = PAGE_UNLISTED;
        heap_handover_count(&bin->handover, page_class(old)->block_count, 0);
        if (!heap_give_up(heap, old, &bin->handover))
            heap_medium_settle(heap, old);
    }
}

// Another page that has something resident to give becomes the current one. NULL: there is none.
static page_t *listed_dirty(heap_t *heap, medium_bin_t *bin, unsigned class)
{
    page_t *page = fullest_page_take(heap, class, true);
    if (page != NULL)
        current_set(heap, bin, page);
    return page;
}

// The current page has nothing resident to give, as far as is known: it has, or another one becomes current. NULL: there is
// none.
static page_t *current_dirty(heap_t *heap, medium_bin_t *bin, unsigned class)
{
    page_t *old = bin->current;
    if (old != NULL)
        heap_collect(heap, old, false);
    if (old != NULL && has_dirty(old))
        return old;
    heap_ring_flush(heap);
    if (heap_inbox_has(heap))
        heap_inbox_drain(heap);
    return old != NULL && has_dirty(old) ? old : listed_dirty(heap, bin, class);
}

static bool is_aligned_class(unsigned class, size_t alignment)
{
    return (size_class_table[class].block_bytes & (alignment - 1)) == 0;
}

// Of the next LENT_MEDIUM_STEPS classes, a bit each, those whose current page has a block that was freed: one that became resident
// ahead of its use is for its own class. Which these are follows no pattern, so it is found out without a branch.
static unsigned current_lenders(const heap_t *heap, unsigned class)
{
    static const page_t no_page;
    const medium_bin_t *bins = &heap->medium[class - CLASS_FIRST_MEDIUM];
    unsigned lenders = 0, most = (unsigned)size_min(LENT_MEDIUM_STEPS, CLASS_COUNT - 1 - class);
    for (unsigned step = 1; step <= most; step++) {
        const page_t *page = bins[step].current;
        page = unlikely(page == NULL) ? &no_page : page;
        lenders |= (unsigned)((page->dirty_bits != 0) & (page->ahead ^ 1)) << step;
    }
    return lenders;
}

// The smallest larger class that has a block to lend in its current page, or else in another; `class` itself: there is none. Nor in
// a heap that was larger a moment ago: what is free in it is wanted by its own classes again, and what is lent is rounded up more.
// Hardened, a block's class is to be known by its size.
static unsigned lender(heap_t *heap, unsigned class, size_t alignment)
{
    if (unlikely(harden_level != 0) || budget_has_sunk())
        return class;
    unsigned lenders = current_lenders(heap, class), most = (unsigned)size_min(LENT_MEDIUM_STEPS, CLASS_COUNT - 1 - class);
    if (unlikely(alignment > GRANULE_BYTES))
        for (unsigned step = 1; step <= most; step++)
            lenders &= ~((unsigned)!is_aligned_class(class + step, alignment) << step);
    if (likely(lenders != 0))
        return class + bits_lowest(lenders);
    for (unsigned step = 1; step <= most; step++)
        if (is_aligned_class(class + step, alignment) &&
            listed_dirty(heap, &heap->medium[class + step - CLASS_FIRST_MEDIUM], class + step) != NULL)
            return class + step;
    return class;
}

static APART unsigned class_with_dirty(heap_t *heap, unsigned class, size_t alignment)
{
    medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
    bin->turn = heap->turns;
    return current_dirty(heap, bin, class) != NULL ? class : lender(heap, class, alignment);
}

unsigned heap_medium_class(heap_t *heap, unsigned class, size_t alignment)
{
    const page_t *page = heap->medium[class - CLASS_FIRST_MEDIUM].current;
    return likely(page != NULL && has_dirty(page)) ? class : class_with_dirty(heap, class, alignment);
}

// Whether the current page's clean blocks come next. Those of an OS page and more would be faulted in, so a free page that its
// last owner left resident is better.
static bool goes_on_clean(const medium_bin_t *bin, unsigned class)
{
    return bin->current != NULL && bin->current->clean_bits != 0 &&
           (bin->block_bytes < os_page_bytes() || !zone_has_dirty_left(class));
}

// The current page's own clean blocks, else the next page. NULL: no memory, and nothing has changed.
static page_t *current_clean(heap_t *heap, medium_bin_t *bin, unsigned class)
{
    if (goes_on_clean(bin, class))
        return bin->current;
    heap_purge_unwanted(heap);
    page_t *page = next_page(heap, class);
    if (page != NULL)
        current_set(heap, bin, page);
    return page;
}

// A block from the run of a mosaic. NULL: there is none.
static block_t *mosaic_block(heap_t *heap, unsigned class, medium_bin_t *bin)
{
    page_t *page;
    unsigned count;
    block_t *block = heap_mosaic_take(heap, class, 1, &page, &count);
    if (block != NULL)
        bin->due_in--;
    return block;
}

static void page_regret(const page_t *page, size_t bytes)
{
    if (page->purged != PURGED_NEVER)
        budget_regret(page->purged == PURGED_WHOLE ? BUDGET_WHOLE : BUDGET_INSIDE, bytes);
}

block_t *heap_alloc_medium(heap_t *heap, unsigned class, bool *clean)
{
    medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
    page_t *page = bin->current;
    if (unlikely(page == NULL || !has_dirty(page))) {
        block_t *block = mosaic_block(heap, class, bin);
        *clean = false;
        if (block != NULL)
            return block;
        if ((page = current_clean(heap, bin, class)) == NULL)
            return NULL;
    }
    *clean = !has_dirty(page);
    if (*clean && unlikely(!budget_take(bin->block_bytes)))
        return NULL;
    uint64_t *bits = *clean ? &page->clean_bits : &page->dirty_bits;
    unsigned index = bits_lowest(*bits);
    *bits &= *bits - 1;
    bin->due_in--;
    size_t block_bytes = bin->block_bytes;
    if (*clean) {
        page_regret(page, block_bytes);
        if (unlikely(budget_has_risen()))
            heap_purge_stale();
    } else {
        heap->idle_bytes -= block_bytes;
    }
    return (block_t *)(page->start + index * block_bytes);
}

// --- which blocks are looked at --------------------------------------------------------------------------------------

void heap_medium_arm(heap_t *heap, unsigned class)
{
    medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
    uint64_t handed = heap_medium_handed(bin), sampled = heap->gaps.medium_at[class - CLASS_FIRST_MEDIUM];
    bin->due_at = heap_medium_is_slow(handed + 1) ? handed + 1 : align_up(handed + 1, HEAP_MEDIUM_NOTED_EVERY);
    if (sampled > handed && sampled < bin->due_at)
        bin->due_at = sampled;
    bin->due_in = (uint32_t)(bin->due_at - handed);
}

bool heap_medium_due(heap_t *heap, unsigned class)
{
    medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
    if (unlikely(bin->due_at == 0))
        heap_medium_arm(heap, class);
    if (bin->due_in == 0) // the quick path counted this block, and left it to the slow one
        bin->due_in = 1;
    return bin->due_in == 1;
}

void heap_medium_class_flush(heap_t *heap, unsigned class)
{
    unsigned i = class - CLASS_FIRST_MEDIUM;
    page_t *page = heap->medium[i].current;
    heap->medium_seen &= ~((uint64_t)1 << i);
    if (page == NULL)
        return;
    heap->medium[i].current = NULL;
    heap->last.block = NULL;
    heap_collect(heap, page, false);
    page->place = PAGE_UNLISTED;
    heap_medium_settle(heap, page);
}
