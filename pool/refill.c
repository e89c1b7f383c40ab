// pool/refill.c - see refill.h.
#include "refill.h"

#include "budget.h"
#include "mosaic.h"
#include "zone_page.h"

// --- which page is next ----------------------------------------------------------------------------------------------

static page_t *listed_page_take(heap_t *heap, page_id_t id)
{
    page_t *page = zone_page_by_id(id);
    heap_unlist(heap, page);
    return page;
}

static page_t *fullest_page_take(heap_t *heap, small_bin_t *bin)
{
    for (unsigned bucket = BUCKETS; bucket-- > 0;)
        if (bin->bucket[bucket] != 0)
            return listed_page_take(heap, bin->bucket[bucket]);
    return bin->scanned == 0 ? NULL : listed_page_take(heap, bin->scanned);
}

static page_t *uncarved_page_take(heap_t *heap, small_bin_t *bin)
{
    if (bin->current != NULL && page_can_carve(bin->current))
        return bin->current;
    return bin->uncarved == 0 ? NULL : listed_page_take(heap, bin->uncarved);
}

static page_t *fresh_page(heap_t *heap, unsigned class)
{
    heap_purge_unwanted(heap);
    page_t *page = zone_page_alloc(class, heap);
    if (unlikely(harden_level != 0) && page != NULL && !heap_harden_page(page)) {
        zone_page_free(page);
        return NULL;
    }
    return page;
}

// A page with nothing on its list, to be carved; fresh: it may be one of the zone.
static page_t *carvable_page(heap_t *heap, small_bin_t *bin, unsigned class, bool fresh)
{
    page_t *page = uncarved_page_take(heap, bin);
    if (page == NULL && heap_adopt_class(heap, class)) {
        page = fullest_page_take(heap, bin);
        page = page != NULL ? page : uncarved_page_take(heap, bin);
    }
    return page != NULL || !fresh ? page : fresh_page(heap, class);
}

// With nothing on its list: to be carved, and a carve step has been counted as used. fresh: it may be one of the zone.
static page_t *next_page(heap_t *heap, small_bin_t *bin, unsigned class, bool fresh)
{
    page_t *page = fullest_page_take(heap, bin);
    if (page != NULL)
        return page;
    if (unlikely(!budget_take(CARVE_BYTES))) // others may still have what is resident
        return heap_adopt_class(heap, class) ? fullest_page_take(heap, bin) : NULL;
    page = carvable_page(heap, bin, class, fresh);
    if (page == NULL || page->list != NULL)
        budget_unuse(CARVE_BYTES);
    return page;
}

_Static_assert(SMALL_CLASSES == 64 && MEDIUM_CLASSES == 64, "a bit each");

// The class has a current page or a head list from now on.
static void small_see(heap_t *heap, unsigned class)
{
    heap->small_seen |= (uint64_t)1 << (class - 1);
}

// A page with blocks on its list becomes the current one. NULL: no memory, or no page but a fresh one, and nothing has
// changed.
static page_t *current_replace(heap_t *heap, small_bin_t *bin, unsigned class, bool may_be_fresh)
{
    page_t *page = next_page(heap, bin, class, may_be_fresh), *old = bin->current;
    if (page == NULL)
        return NULL;
    if (unlikely(harden_level != 0))
        heap_harden_drop(heap, class);
    bin->current = page;
    bin->turn = ++heap->turns;
    small_see(heap, class);
    page->place = PAGE_CURRENT;
    page->scanned = 0;
    if (old != NULL && old != page) {
        old->place = PAGE_UNLISTED;
        if (!heap_give_up(heap, old, &bin->handover))
            heap_settle(heap, old);
    }
    if (page->list == NULL) {
        bool fresh = unlikely(harden_level != 0) ? block_bits_carve(page, block_bits_random(&heap->harden_random))
                                                 : page_carve(page);
        if (!fresh)
            budget_unuse(CARVE_BYTES);
        if (fresh && page->purged != PURGED_NEVER)
            budget_regret(page->purged == PURGED_WHOLE ? BUDGET_WHOLE : BUDGET_INSIDE, CARVE_BYTES);
        if (unlikely(budget_has_risen()))
            heap_purge_stale();
    }
    return page;
}

static page_t *current_find(heap_t *heap, unsigned class, bool fresh)
{
    small_bin_t *bin = &heap->small[class];
    page_t *page = bin->current;
    if (page != NULL && page->list == NULL)
        heap_collect(heap, page, false);
    if (page != NULL && page->list != NULL)
        return page;
    if (heap_inbox_has(heap)) {
        heap_inbox_drain(heap);
        if (page != NULL && page->list != NULL)
            return page;
    }
    return current_replace(heap, bin, class, fresh);
}

page_t *heap_current_with_list(heap_t *heap, unsigned class)
{
    return current_find(heap, class, true);
}

// Somebody has freed what is no block, or written to a block after its free.
static RARE void list_tell(page_t *page)
{
    const block_t *before, *wrong = page_list_mend(page, &before);
    size_t block_bytes = page_class(page)->block_bytes;
    if (before == NULL)
        misuse_tell("free", wrong, "not the start of a block", block_bytes);
    else
        misuse_tell("malloc", before, "was written to after it was freed", block_bytes);
}

// As current_find, and the list is as its frees left it.
static inline page_t *current_sound(heap_t *heap, unsigned class, bool fresh)
{
    page_t *page;
    while ((page = current_find(heap, class, fresh)) != NULL &&
           unlikely(!page_list_looks_right(page, &size_class_table[class])))
        list_tell(page);
    return page;
}

// How many of `count` blocks may become the head list: see sample.h.
static inline unsigned sampled_length(heap_t *heap, unsigned class, unsigned count)
{
    if (unlikely(heap->small[class].handed + count >= heap->gaps.small_at[class])) // the sampled block is among them
        return heap_sample_cut(heap, class, count);
    return count;
}

// So many blocks become the head list but the first, which is returned. from: their page; NULL: of the ring, and any pages.
static inline block_t *head_list_take(heap_t *heap, unsigned class, page_t *from, block_t *list, unsigned length)
{
    heap->small[class].handed += length;
    heap->small[class].head_page = from;
    heap->head[class] = list->next;
    return list;
}

static void slot_is_borrowed(ring_slot_t *slot, unsigned class)
{
    slot->borrowed = true;
    slot->apart = 0;
    slot->most = (uint16_t)size_min(RING_SLOT_BYTES / size_class_table[class].block_bytes, RING_BLOCKS);
}

// What this thread has freed of another's serves it again, before it is handed over: threads that allocate for each
// other need not wait for each other's inboxes. The blocks stay with their page; its owner sees them as used. NULL: none.
static block_t *ring_borrow(heap_t *heap, unsigned class)
{
    ring_slot_t *slot = heap_ring_slot(heap, class);
    if (slot->count == 0)
        return NULL;
    unsigned count = slot->count, length = sampled_length(heap, class, count);
    block_t *list = slot->first, *rest = length < count ? heap_blocks_cut(list, length) : NULL;
    slot->first = rest;
    slot->count = (uint16_t)(count - length);
    slot_is_borrowed(slot, class);
    heap->ring_bytes -= (size_t)length * class << GRANULE_SHIFT;
    small_see(heap, class);
    return head_list_take(heap, class, NULL, list, length);
}

// Blocks of a mosaic become the head list, where a page would have to be faulted in. They stay with their page, as
// borrowed ones do. NULL: there are none.
static block_t *mosaic_refill(heap_t *heap, unsigned class)
{
    page_t *page;
    unsigned count, most = (unsigned)size_max(CARVE_BYTES / size_class_table[class].block_bytes, 1);
    block_t *list = heap_mosaic_take(heap, class, most, &page, &count);
    if (list == NULL)
        return NULL;
    unsigned length = sampled_length(heap, class, count);
    if (unlikely(length < count))
        mosaic_free_list(heap_blocks_cut(list, length));
    small_see(heap, class);
    return head_list_take(heap, class, page, list, length);
}

// A class's first few requests get blocks that lie ready in larger classes' head lists, as if they had been asked for so: the
// smallest that will do. It has to be as aligned as the class's own are, by its size's lowest bit. NULL: there is none.
static block_t *lent_block(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    if (bin->current != NULL || bin->lent == LENT_BLOCKS)
        return NULL;
    unsigned step = class & -class, most = (unsigned)size_min((size_t)class * LENT_TIMES, SMALL_CLASSES);
    for (unsigned larger = class + step; larger <= most; larger += step) {
        block_t *block = heap->head[larger];
        if (block != NULL) {
            heap->head[larger] = block->next;
            heap->small_sizes[larger].lent_gap += (uint32_t)((larger - class) << GRANULE_SHIFT);
            bin->lent++;
            return block;
        }
    }
    return NULL;
}

block_t *heap_refill(heap_t *heap, unsigned class)
{
    page_t *page = heap->small[class].current;
    block_t *list = NULL;
    if (heap->ring_bytes != 0 && (page == NULL || page->list == NULL) && (list = ring_borrow(heap, class)) != NULL)
        return list;
    page = current_sound(heap, class, false);
    if (page == NULL && ((list = mosaic_refill(heap, class)) != NULL || (list = lent_block(heap, class)) != NULL))
        return list;
    if (page == NULL && (page = current_sound(heap, class, true)) == NULL)
        return NULL;
    unsigned count;
    list = page_take_list(page, &count);
    unsigned length = sampled_length(heap, class, count);
    if (unlikely(length < count)) {
        page_put_list(page, heap_blocks_cut(list, length), NULL, count - length);
        page_arm(page, 0);
    }
    heap_handover_count(&heap->small[class].handover, length, 0);
    return head_list_take(heap, class, page, list, length);
}

APART block_t *heap_take_one(heap_t *heap, unsigned class)
{
    page_t *page = current_sound(heap, class, true);
    if (page == NULL)
        return NULL;
    block_t *block = page->list;
    page->list = block->next;
    page->left++;
    page_arm(page, 0);
    sampled_length(heap, class, 1);
    heap->small[class].handed++;
    return block;
}

void *refill_noted(size_t size_bytes, heap_t *heap, void *block)
{
    requested_note(heap, (unsigned)size_class_small(size_bytes), block, size_bytes);
    return block;
}

// --- the short ways --------------------------------------------------------------------------------------------------

// A full page that refills have taken all blocks of leaves them: as heap_give_up and heap_settle would have it.
static inline void current_leave(heap_t *heap, small_bin_t *bin, page_t *page)
{
    const size_class_t *class = page_class(page);
    page->place = PAGE_UNLISTED;
    if (likely(heap_handover_is_own(&bin->handover) && !page_can_carve(page))) {
        page_arm_used(page, class->block_count, class->block_count - heap_full_page_returns(class));
    } else if (!heap_give_up(heap, page, &bin->handover)) {
        heap_settle(heap, page);
    }
}

// The current page has no block left, and nothing has come from other threads: the fullest listed page takes its place, unless
// it is nearly empty. As current_replace does it. False: there is none, or it is for current_find to look.
static inline bool current_turn_entered(heap_t *heap, small_bin_t *bin)
{
    page_t *old = bin->current, *page, *next;
    unsigned bucket = BUCKETS - 1;
    while (bucket != 0 && bin->bucket[bucket] == 0)
        bucket--;
    if (unlikely(bucket == 0))
        return false;
    page = zone_page_by_id(bin->bucket[bucket]);
    bin->bucket[bucket] = page->next;
    next = zone_page_by_id(page->next);
    if (next != NULL)
        next->prev = 0;
    page->next = 0;
    page->place = PAGE_CURRENT;
    page->scanned = 0;
    bin->current = page;
    bin->turn = ++heap->turns;
    current_leave(heap, bin, old);
    return true;
}

static inline bool current_turn(heap_t *heap, small_bin_t *bin)
{
    if (unlikely(remote_has_any(bin->current) || heap_inbox_has(heap)))
        return false;
    heap_enter(heap);
    bool turned = current_turn_entered(heap, bin);
    heap_leave(heap);
    return turned;
}

// As ring_borrow, where none of the blocks is a sample.
static inline void *borrow_quick(size_t size_bytes, heap_t *heap, size_t class)
{
    ring_slot_t *slot = heap_ring_slot(heap, (unsigned)class);
    small_bin_t *bin = &heap->small[class];
    uint64_t handed = bin->handed + slot->count;
    if (unlikely(handed >= heap->gaps.small_at[class]))
        return NULL;
    block_t *list = slot->first;
    heap->ring_bytes -= (size_t)slot->count * class << GRANULE_SHIFT;
    slot->first = NULL;
    slot->count = 0;
    if (slot->apart != 0)
        slot_is_borrowed(slot, (unsigned)class);
    slot->borrowed = true;
    bin->handed = handed;
    bin->head_page = NULL;
    heap->head[class] = list->next;
    return refill_noted_in_turn(size_bytes, heap, list);
}

APART void *refill_turned(size_t size_bytes, heap_t *heap)
{
    size_t class = size_class_small(size_bytes);
    small_bin_t *bin = &heap->small[class];
    if (unlikely(bin->current == NULL || bin->current->list != NULL)) // it has a sample, or is not as it should be
        return NULL;
    if (heap_ring_slot(heap, (unsigned)class)->count != 0)
        return borrow_quick(size_bytes, heap, class);
    return likely(current_turn(heap, bin)) ? refill_from_current(size_bytes, heap) : NULL;
}
