// pool/heap.c - small blocks: where pages belong, frees by others, ends of threads. See heap.h; refills are in refill.c.
#include "heap.h"

#include <assert.h>

#include "budget.h"
#include "mosaic.h"
#include "zone_leave.h"
#include "zone_page.h"

heap_t heap_none;
__thread heap_t *heap_self __attribute__((tls_model("initial-exec"))) = &heap_none;
bool heap_requested_exact;
bool heap_one_by_one;

// --- lists of pages --------------------------------------------------------------------------------------------------

static page_id_t *list_of(heap_t *heap, const page_t *page)
{
    if (!page_is_small(page))
        return &heap->medium[page->class - CLASS_FIRST_MEDIUM].pages;
    small_bin_t *bin = &heap->small[page->class];
    if (page->bucket < BUCKETS)
        return &bin->bucket[page->bucket];
    return page->bucket == BUCKET_SCANNED ? &bin->scanned : &bin->uncarved;
}

static bool is_sparse_bucket(unsigned bucket)
{
    return bucket == 0 || bucket == BUCKET_SCANNED;
}

static void sparse_comes(heap_t *heap, const page_t *page)
{
    size_t idle_bytes = heap_sparse_idle_bytes(page);
    heap->sparse_bytes += idle_bytes;
    heap->idle_bytes += page->bucket == 0 ? idle_bytes : 0;
    budget_hollow(idle_bytes);
}

// Returns what it takes off the heap's idle bytes.
static size_t sparse_leaves(heap_t *heap, const page_t *page)
{
    size_t idle_bytes = heap_sparse_idle_bytes(page);
    heap->sparse_bytes -= idle_bytes;
    budget_unhollow(idle_bytes);
    return page->bucket == 0 ? idle_bytes : 0;
}

static inline void chain_leave(page_id_t *head, page_t *page)
{
    page_t *next = zone_page_by_id(page->next), *prev = zone_page_by_id(page->prev);
    if (next != NULL)
        next->prev = page->prev;
    if (prev != NULL)
        prev->next = page->next;
    else
        *head = page->next;
}

static inline void chain_join(page_id_t *head, page_t *page)
{
    page_id_t id = zone_page_id(page);
    page_t *first = zone_page_by_id(*head);
    if (first != NULL)
        first->prev = id;
    page->next = *head;
    page->prev = 0;
    *head = id;
}

size_t heap_unlist_idle(heap_t *heap, page_t *page)
{
    assert(heap_is_entered(heap));
    size_t idle_bytes = 0;
    chain_leave(list_of(heap, page), page);
    if (page_is_small(page) && is_sparse_bucket(page->bucket))
        idle_bytes = sparse_leaves(heap, page);
    page->next = page->prev = 0;
    page->place = PAGE_UNLISTED;
    return idle_bytes;
}

void heap_unlist(heap_t *heap, page_t *page)
{
    heap->idle_bytes -= heap_unlist_idle(heap, page);
}

static void heap_list(heap_t *heap, page_t *page, unsigned bucket)
{
    assert(heap_is_entered(heap));
    page->bucket = (uint8_t)bucket;
    page->place = PAGE_LISTED;
    chain_join(list_of(heap, page), page);
    if (page_is_small(page) && is_sparse_bucket(bucket))
        sparse_comes(heap, page);
}

// --- where a page belongs --------------------------------------------------------------------------------------------

// With u blocks scattered over s carve steps, s * (1 - 1/s)^u steps are free: about a third of them at u = s, one in
// eight at twice that. The walk over the free list that finds out costs a cache miss a block, so it is done when as many
// blocks are used as there are steps, and again at each quarter of that. (At twice as many a heap of 163 MB whose blocks
// are freed in random order lost 11 % of its time in walks for pages that were empty soon after.)
static const unsigned scan_again_shift = 2;

// Whether purge.c need not look (again) at a nearly empty page yet; *floor: until how few blocks are used.
static bool is_scanned(const page_t *page, unsigned *floor)
{
    *floor = page->scanned != 0 ? (unsigned)page->scanned >> scan_again_shift : page_steps(page);
    return page_used(page) > *floor;
}

static void small_settle_listed(heap_t *heap, page_t *page)
{
    unsigned bucket = page_fullness(page);
    unsigned floor = bucket * page_class(page)->block_count / BUCKETS, scanned_floor;
    if (bucket == 0 && is_scanned(page, &scanned_floor)) {
        bucket = BUCKET_SCANNED;
        floor = scanned_floor;
    }
    if (page->place != PAGE_LISTED || page->bucket != bucket) {
        if (page->place == PAGE_LISTED)
            heap_unlist(heap, page);
        heap_list(heap, page, bucket);
    }
    page_arm(page, floor);
}

void heap_settle(heap_t *heap, page_t *page)
{
    if (page->place == PAGE_CURRENT)
        return;
    unsigned used = page_used(page), count = page_class(page)->block_count;
    if (used == 0 && remote_is_queued(page)) {
        small_settle_listed(heap, page); // some inbox still has its number: it is given up when it comes out of there
        return;
    }
    if (used == 0) {
        if (page->place == PAGE_LISTED)
            heap_unlist(heap, page);
        zone_page_free(page);
        return;
    }
    if (page->list == NULL && page_can_carve(page)) {
        if (page->place == PAGE_LISTED)
            heap_unlist(heap, page);
        heap_list(heap, page, BUCKET_UNCARVED);
        page_arm(page, used - 1);
        return;
    }
    unsigned returns = heap_full_page_returns(page_class(page));
    if (page->place != PAGE_LISTED && used + returns > count)
        page_arm(page, count - returns); // too few free blocks to be worth a refill
    else
        small_settle_listed(heap, page);
}

// A page's commonest events: an eighth of a full one is free now, or a listed one has come down to another bucket, and not to
// the one of nearly empty pages. As heap_settle has it. False: any other.
static inline bool bucket_step(heap_t *heap, page_t *page)
{
    const size_class_t *class = page_class(page);
    unsigned used = page->floor, quarters = used * BUCKETS, count = class->block_count;
    if (unlikely(page->class > SMALL_CLASSES || quarters <= count))
        return false;
    assert(heap_is_entered(heap));
    page_id_t *buckets = heap->small[page->class].bucket;
    unsigned bucket = 1u + (quarters > 2 * count) + (quarters > 3 * count);
    if (page->place == PAGE_LISTED) {
        if (unlikely((unsigned)page->bucket - 1 >= BUCKETS - 1))
            return false;
        chain_leave(&buckets[page->bucket], page);
    } else if (unlikely(page->place != PAGE_UNLISTED || used + heap_full_page_returns(class) > count)) {
        return false;
    }
    chain_join(&buckets[bucket], page);
    page->bucket = (uint8_t)bucket;
    page->place = PAGE_LISTED;
    page_arm_used(page, used, bucket * count / BUCKETS);
    return true;
}

// A page with an event to come is not vacant: no deputy has given it up since its last free.
void heap_page_event(page_t *page)
{
    heap_t *heap = page_owner(page);
    heap_enter(heap);
    bool emptied = false, pending = remote_is_queued(page);
    if (unlikely(!bucket_step(heap, page))) {
        emptied = page_used(page) == 0;
        heap_settle(heap, page);
    }
    if (unlikely(emptied || heap->idle_bytes > heap->idle_due_bytes))
        heap_purge_excess(heap);
    else if (unlikely(pending))
        heap_inbox_drain_excess(heap);
    heap_leave(heap);
}

// --- frees by others -------------------------------------------------------------------------------------------------

heap_t *heap_inbox_push(page_t *page)
{
    heap_t *owner = page_owner_in_order(page); // see heap_give_up
    if (unlikely(owner == NULL)) {
        mosaic_collect(page);
        return NULL;
    }
    page_id_t id = zone_page_id(page), first = atomic_load_explicit(&owner->inbox, memory_order_relaxed);
    do
        __atomic_store_n(&page->inbox_next, first, __ATOMIC_RELAXED);
    while (!atomic_compare_exchange_weak_explicit(&owner->inbox, &first, id, memory_order_seq_cst,
                                                  memory_order_relaxed));
    return owner;
}

// The last of a page's own frees. NULL: there is none, or a link leads out of the page, or the list goes on behind so many (a block
// was freed twice): cut off there, it would be shorter than refills reckon.
static block_t *own_end(const page_t *page, unsigned count)
{
    block_t *block = page->list;
    for (; block != NULL && count > 1; count--) {
        if (unlikely(!page_is_within(block, block->next)))
            return NULL;
        block = block->next;
    }
    return block != NULL && likely(block->next == NULL) ? block : NULL;
}

// The two lists become one behind the shorter one's end: a walk costs a cache miss a block, and what others have freed is in
// another processor's cache.
static APART void small_collect(heap_t *heap, page_t *page, uint64_t word)
{
    if (unlikely(harden_level != 0)) {
        heap_harden_collect(heap, page, word);
        return;
    }
    block_t *first = remote_first(word), *last = NULL;
    unsigned count = remote_count(word);
    if (unlikely(count > page_used_counted(page))) { // they stay used, and are lost
        misuse_tell("free", first, "double free", page_class(page)->block_bytes);
        return;
    }
    unsigned own_count = page_carved_count(page) - page_used_counted(page);
    block_t *own = page->list, *end = count > own_count ? own_end(page, own_count) : NULL;
    if (end != NULL) {
        end->next = first;
        first = own;
        page->list = NULL;
    } else if (own != NULL) {
        last = first;
        for (unsigned i = 1; i < count; i++)
            last = last->next;
    }
    page_put_list(page, first, last, count);
    heap_handover_count(&heap->small[page->class].handover, 0, count);
}

// Where threads free for each other all of them hand over all the time, and the budget's counter is one: so it is told of so
// much at a time. A hundred threads keep 6 MiB from it at most.
static const size_t pend_step_bytes = (size_t)64 << 10;

void heap_pend_tell(heap_t *heap)
{
    budget_pend(heap->pending_untold_bytes);
    heap->pending_untold_bytes = 0;
}

void heap_pend(heap_t *heap, size_t bytes)
{
    if (unlikely(heap == &heap_none)) {
        budget_pend(bytes);
        return;
    }
    heap->pending_untold_bytes += bytes;
    if (unlikely(heap->pending_untold_bytes + pend_step_bytes > 2 * pend_step_bytes)) // a step up, or down
        heap_pend_tell(heap);
}

void heap_unpend(heap_t *heap, size_t bytes)
{
    heap_pend(heap, -bytes);
}

static void medium_collect(heap_t *heap, page_t *page, uint64_t word)
{
    uint64_t freed = word & ~REMOTE_QUEUED;
    unsigned count = bits_count(freed);
    page->dirty_bits |= freed;
    heap->last.block = NULL; // it may be among them, and is freed twice if its owner frees it, too
    heap->idle_bytes += (size_t)count * page_class(page)->block_bytes;
    heap_handover_count(&heap->medium[page->class - CLASS_FIRST_MEDIUM].handover, 0, count);
}

static APART void collect(heap_t *heap, page_t *page, bool leave_inbox)
{
    uint64_t word = remote_take(page, leave_inbox);
    if ((word & ~REMOTE_QUEUED) == 0)
        return;
    heap_unpend(heap, remote_bytes(page, word));
    if (page_is_small(page))
        small_collect(heap, page, word);
    else
        medium_collect(heap, page, word);
}

// Where a current page has run out, there is nothing more often than not.
void heap_collect(heap_t *heap, page_t *page, bool leave_inbox)
{
    if (leave_inbox || remote_has_any(page))
        collect(heap, page, leave_inbox);
}

static void settle_any(heap_t *heap, page_t *page)
{
    if (page_is_small(page))
        heap_settle(heap, page);
    else
        heap_medium_settle(heap, page);
}

void heap_inbox_drain(heap_t *heap)
{
    assert(heap_is_entered(heap));
    heap_vacant_forget(heap);
    page_id_t id = atomic_exchange_explicit(&heap->inbox, 0, memory_order_seq_cst);
    while (id != 0) {
        page_t *page = zone_page_by_id(id);
        id = __atomic_load_n(&page->inbox_next, __ATOMIC_RELAXED);
        if (page_owner(page) == heap) {
            heap_collect(heap, page, true);
            settle_any(heap, page);
        } else {
            heap_drain_orphan(heap_inbox_push(page)); // another heap owns it since it was queued; it stays queued
        }
    }
}

// Hands a slot's blocks over. The owner cannot go away: heaps are never freed, and a page with used blocks keeps an
// owner. It can become an orphan at any time; then the page is taken over here, so that its frees are not stranded.
static void hand_over(heap_t *heap, page_t *page, block_t *first, block_t *last, unsigned count)
{
    if (unlikely(page_is_mosaic(page))) {
        last->next = NULL;
        mosaic_free_list(first);
        return;
    }
    vacant_t seen = heap_vacant_see(page, count);
    heap_pend(heap, (size_t)count * page_class(page)->block_bytes);
    if (remote_free_list(page, first, last, count))
        heap_drain_orphan(heap_inbox_push(page));
    if (!heap_adopt_page(heap, page))
        heap_vacant_tell(heap, seen);
}

static bool is_in_page(const page_t *page, const block_t *block)
{
    return (uintptr_t)block - (uintptr_t)page->start < page_class(page)->page_bytes;
}

// Where a list that goes round begins to: the block that was freed twice. within: one of those that it goes round by.
static RARE const block_t *circle_begin(const block_t *list, const block_t *within)
{
    const block_t *ahead = list, *around = within;
    do { // ahead by as many as there are in the circle
        ahead = ahead->next;
        around = around->next;
    } while (around != within);
    for (; ahead != list; ahead = ahead->next)
        list = list->next;
    return list;
}

// It does not end where it should. next: behind the last block that was expected, NULL if it ended with `last`.
static RARE void length_tell(const block_t *list, const block_t *last, const block_t *next, size_t block_bytes)
{
    if (next == NULL)
        misuse_tell("free", last, "was written to after it was freed", block_bytes);
    else
        misuse_tell("free", circle_begin(list, next), "double free", block_bytes);
}

// Takes the blocks of its first one's page out of a list of *length, and hands them over. Returns the rest. If the list is
// damaged, all of it is dropped.
static block_t *list_hand_over_page(heap_t *heap, block_t *list, unsigned *length)
{
    page_t *page = zone_page_of(list);
    block_t *last = list, *rest = NULL, **link = &rest, *block = list, *next;
    unsigned count = 1, behind = *length - 1;
    for (; (next = block->next) != NULL && behind != 0; behind--) {
        block = next;
        if (is_in_page(page, block)) {
            last = last->next = block;
            count++;
        } else {
            *link = block;
            link = &block->next;
        }
    }
    if (unlikely(next != NULL || behind != 0)) {
        length_tell(is_in_page(page, block) ? list : rest, block, next, page_class(page)->block_bytes);
        return NULL;
    }
    *link = NULL;
    *length -= count;
    if (page_owner(page) == heap) { // adopted since
        heap_enter(heap);
        page_put_list(page, list, last, count);
        heap_settle(heap, page);
        heap_leave(heap);
    } else {
        hand_over(heap, page, list, last, count);
    }
    return rest;
}

static void list_hand_over(heap_t *heap, block_t *list, unsigned length)
{
    while (list != NULL)
        list = list_hand_over_page(heap, list, &length);
}

// All of a class's blocks in the ring but the `stay` that came last are handed over.
static void slot_hand_over(heap_t *heap, unsigned class, unsigned stay)
{
    ring_slot_t *slot = heap_ring_slot(heap, class);
    block_t *list = slot->first;
    unsigned count = slot->count - stay;
    heap->ring_bytes -= (size_t)count * class << GRANULE_SHIFT;
    slot->count = (uint16_t)stay;
    if (stay != 0)
        list = heap_blocks_cut(list, stay);
    else
        slot->first = NULL;
    list_hand_over(heap, list, count);
}

// Pages of a class lie at multiples of their size.
static void slot_is_for_a_page(ring_slot_t *slot, unsigned class)
{
    const size_class_t *info = &size_class_table[class];
    slot->class = *info;
    slot->apart = ~((uintptr_t)info->page_bytes - 1);
    slot->most = (uint16_t)size_min(RING_PAGE_BYTES / info->block_bytes, RING_PAGE_BLOCKS);
}

// A block of another page has come, or there are too many. Where the thread borrows, what came last stays: it is what the
// next refill wants, and still in the processor's cache.
static void slot_make_room(heap_t *heap, unsigned class)
{
    ring_slot_t *slot = heap_ring_slot(heap, class);
    unsigned stay = slot->borrowed ? slot->count / 2 : 0;
    if (!slot->borrowed)
        slot_is_for_a_page(slot, class);
    slot->borrowed = false;
    slot_hand_over(heap, class, stay);
}

void heap_ring_flush(heap_t *heap)
{
    for (unsigned class = 1; heap->ring_bytes != 0 && class <= SMALL_CLASSES; class++)
        slot_hand_over(heap, class, 0);
}

bool heap_free_remote(heap_t *heap, page_t *page, block_t *block)
{
    if (heap == &heap_none) {
        budget_pend(page_class(page)->block_bytes);
        if (remote_free_list(page, block, block, 1))
            heap_drain_orphan(heap_inbox_push(page));
        return true;
    }
    ring_slot_t *slot = heap_ring_slot(heap, page->class);
    if (slot->first == block)
        return false;
    if (slot->most == 0)
        slot_is_for_a_page(slot, page->class);
    if (slot->count != 0 && (slot->count >= slot->most || !heap_ring_goes_with(slot, block)))
        slot_make_room(heap, page->class);
    if (heap->ring_bytes >= RING_BYTES)
        heap_ring_flush(heap);
    if (page_owner(page) == heap) { // the flush has adopted it
        heap_free_small(page, block);
        return true;
    }
    heap_ring_put(heap, slot, block);
    return true;
}

void heap_free_small(page_t *page, block_t *block)
{
    block->next = page->list;
    page->list = block;
    heap_free_counts();
    if (--page->left == 0)
        heap_page_event(page);
}

// --- the end of a thread ---------------------------------------------------------------------------------------------

static void head_flush(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    block_t *first = heap->head[class], *last = first;
    unsigned count = 1;
    if (first == NULL)
        return;
    for (; last->next != NULL; last = last->next)
        count++;
    heap->head[class] = NULL;
    bin->handed -= count;
    if (bin->head_page == NULL)
        list_hand_over(heap, first, count);
    else if (bin->head_page == bin->current)
        page_put_list(bin->current, first, last, count);
    else
        hand_over(heap, bin->head_page, first, last, count);
}

static void current_flush(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    page_t *page = bin->current;
    if (page == NULL)
        return;
    heap_collect(heap, page, false);
    if (unlikely(harden_level != 0))
        heap_harden_drop(heap, class);
    bin->current = NULL;
    page->place = PAGE_UNLISTED;
    heap_settle(heap, page);
}

void heap_class_flush(heap_t *heap, unsigned class)
{
    if (class >= CLASS_FIRST_MEDIUM) {
        heap_medium_class_flush(heap, class);
        return;
    }
    head_flush(heap, class);
    current_flush(heap, class);
    heap->small_seen &= ~((uint64_t)1 << (class - 1));
}

void heap_flush(heap_t *heap)
{
    heap_enter(heap);
    heap_harden_flush(heap);
    heap_ring_flush(heap);
    while (heap->small_seen != 0)
        heap_class_flush(heap, bits_lowest(heap->small_seen) + 1);
    while (heap->medium_seen != 0)
        heap_class_flush(heap, bits_lowest(heap->medium_seen) + CLASS_FIRST_MEDIUM);
    heap_inbox_drain(heap);
    heap_leave(heap);
}

static bool is_passed_over(const heap_t *heap, page_t *page, unsigned class)
{
    return page_owner(page) == heap && page->class == class && page->place == PAGE_UNLISTED;
}

static void relist(heap_t *heap, page_t *page)
{
    if (!page_is_small(page))
        heap_medium_relist(heap, page);
    else if (page->list != NULL)
        small_settle_listed(heap, page);
}

void heap_class_relist(heap_t *heap, unsigned class)
{
    heap_enter(heap);
    zone_stay_begin();
    for (unsigned i = 0; i < zone_count(); i++) {
        zone_t *zone = zone_get(i);
        uint32_t fresh = zone->kind == size_class_table[class].zone ? atomic_load(&zone->fresh) : 0;
        for (uint32_t page = 0; page < fresh; page++)
            if (is_passed_over(heap, &zone->pages[page], class))
                relist(heap, &zone->pages[page]);
    }
    zone_stay_end();
    heap_leave(heap);
}

void heap_borrowed_flush(heap_t *heap)
{
    for (uint64_t rest = heap->small_seen; rest != 0; rest &= rest - 1) {
        unsigned class = bits_lowest(rest) + 1;
        const small_bin_t *bin = &heap->small[class];
        if (bin->head_page == NULL || bin->head_page != bin->current)
            head_flush(heap, class);
    }
}
