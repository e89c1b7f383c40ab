// pool/check.c - see check.h.
#include "check.h"

#include "budget.h"
#include "heap.h"
#include "large.h"
#include "mosaic.h"

// By the ways that a free goes: the front map, which has a guard nowhere, and what finds the page of any address.
static bool is_found(const zone_t *zone, page_t *page, const char *start)
{
    size_t page_bytes = (size_t)1 << zone->shift, mapped = zone->index < SMALL_ZONES && page->place != PAGE_GUARD ? page_bytes : 0;
    for (size_t at = 0; at < mapped; at += LOW_PAGE_BYTES)
        if (zone_front_page((uintptr_t)start + at - zone_front_base) != page)
            return false;
    return zone_page_of(start) == page && zone_page_of(start + page_bytes - 1) == page;
}

static const char *zone_page_check(zone_t *zone, uint32_t index, size_t *dirty_bytes)
{
    page_t *page = &zone->pages[index];
    if (!is_found(zone, page, zone->base + ((size_t)index << zone->shift)))
        return "a page is not found from its addresses";
    bool dirty = bitset_has(&zone->dirty, index), clean = bitset_has(&zone->clean, index);
    if (dirty && clean)
        return "a page is in both sets of free pages";
    if (page_is_mosaic(page))
        return dirty || clean ? "a mosaic is in a set of free pages" : mosaic_check(page);
    if (page->place == PAGE_GUARD)
        return dirty || clean || page_owner(page) != NULL || page->class != 0 ? "a guard is used as a page" : NULL;
    if ((dirty || clean) != (page_owner(page) == NULL))
        return dirty || clean ? "a page in a set of free pages has an owner" : "a page without an owner is in no set";
    if (page->start != zone->base + ((size_t)index << zone->shift) || page->zone != zone->index)
        return "a page does not know where it is";
    if (page->place == PAGE_WITHDRAWN && !clean)
        return "a page whose memory was withdrawn is not free and clean";
    if (dirty)
        *dirty_bytes += page_dirty_bytes(page);
    if (dirty || clean)
        return page_used(page) == 0 ? NULL : "a free page has used blocks";
    heap_t *owner = page_owner(page);
    if (atomic_load(&owner->state) == HEAP_LOST)
        return NULL;
    return harden_level != 0 && page_is_small(page) ? block_bits_check(page) : page_check(page);
}

static const char *zone_check(zone_t *zone, size_t *dirty_bytes)
{
    uint32_t fresh = atomic_load(&zone->fresh);
    if (bitset_next(&zone->dirty, fresh) != BITSET_NONE || bitset_next(&zone->clean, fresh) != BITSET_NONE)
        return "a page that was never used is in a set of free pages";
    if (zone->index == 0 && page_owner_word(zone_front_page(0)) != NULL)
        return "what stands for no page has an owner";
    for (uint32_t i = zone->index == 0 ? 1 : 0; i < fresh; i++) {
        const char *wrong = zone_page_check(zone, i, dirty_bytes);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

// A list of pages: linked both ways, all of one class and owner, each in its place.
static const char *list_check(heap_t *heap, page_id_t first, unsigned class, unsigned bucket)
{
    page_id_t before = 0;
    for (page_id_t id = first; id != 0;) {
        page_t *page = zone_page_by_id(id);
        if (page_owner(page) != heap || page->class != class)
            return "a page is in a list of another heap or class";
        if (page->place != PAGE_LISTED || page->prev != before)
            return "a list of pages is not whole";
        if (page_is_small(page) && page->bucket != bucket)
            return "a page is in the wrong bucket";
        if (page_is_small(page) ? bucket < BUCKETS && page_fullness(page) > bucket : page_free_bits(page) == 0)
            return "a listed page has nothing to give";
        before = id;
        id = page->next;
    }
    return NULL;
}

static unsigned used_most(page_t *page)
{
    return page_is_mosaic(page) ? page->mosaic->tiles.used_granules : page_used(page);
}

// A list of a class's blocks that are used as far as their page knows. page: all are of it; NULL: of any.
static const char *list_is_of(const block_t *list, unsigned class, const page_t *page, unsigned most)
{
    unsigned length = 0;
    const char *wrong;
    for (const block_t *block = list; block != NULL; block = block->next) {
        page_t *at = zone_page_of(block);
        bool exact;
        if (at == NULL || (page != NULL && at != page))
            return "a head list leaves its page";
        if (page_is_mosaic(at))
            exact = mosaic_block_bytes(at, block, &wrong) == size_class_table[class].block_bytes;
        else
            page_block_index(at, block, &exact);
        if (!exact || (at->class != class && !page_is_mosaic(at)))
            return "a head list leads into a block";
        if (++length > most)
            return "a head list is longer than its page has used blocks";
    }
    return NULL;
}

static const char *ring_check(heap_t *heap, unsigned class)
{
    const ring_slot_t *slot = heap_ring_slot(heap, class);
    unsigned length = 0;
    for (const block_t *block = slot->first; block != NULL && length <= slot->count; block = block->next)
        length++;
    if (length != slot->count || slot->count > slot->most)
        return "a place of the ring does not know how many blocks it has";
    return list_is_of(slot->first, class, NULL, RING_BLOCKS) == NULL ? NULL : "the ring has what is no block of the class";
}

static const char *head_check(heap_t *heap, unsigned class)
{
    page_t *page = heap->small[class].current, *head_page = heap->small[class].head_page;
    const char *wrong = list_is_of(heap->head[class], class, head_page,
                                   head_page != NULL ? used_most(head_page) : RING_BLOCKS);
    if (wrong != NULL)
        return wrong;
    return page == NULL || page->place == PAGE_CURRENT ? NULL : "the current page is not in its place";
}

// Hardened: what is drawn from next is a word of the current page's that has blocks.
static const char *draw_check(heap_t *heap, unsigned class)
{
    const small_draw_t *draw = &heap->draw[class];
    page_t *page = heap->small[class].current;
    if (heap_harden_ahead(heap, class) > heap->small[class].handed)
        return "more blocks are ahead than were ever handed out";
    if (harden_level == 0 || draw->word == NULL)
        return draw->word == NULL && draw->run == 0 ? NULL : "blocks are drawn where there are none";
    if (page == NULL || draw->page != page || draw->words != block_bits_free(page))
        return "blocks are drawn from a page that is not the current one";
    size_t at = (size_t)(draw->word - draw->words);
    if (at >= block_bits_words(page) || draw->base != page_block(page, (unsigned)at * 64))
        return "a draw does not know what it draws from";
    return bits_count(*draw->word) >= draw->run && draw->run != 0 ? NULL : "a draw finds nothing";
}

static const char *small_bin_check(heap_t *heap, unsigned class)
{
    const char *wrong = head_check(heap, class);
    if (wrong == NULL)
        wrong = ring_check(heap, class);
    if (wrong == NULL)
        wrong = draw_check(heap, class);
    for (unsigned bucket = 0; wrong == NULL && bucket < BUCKETS; bucket++)
        wrong = list_check(heap, heap->small[class].bucket[bucket], class, bucket);
    if (wrong == NULL)
        wrong = list_check(heap, heap->small[class].scanned, class, BUCKET_SCANNED);
    return wrong != NULL ? wrong : list_check(heap, heap->small[class].uncarved, class, BUCKET_UNCARVED);
}

static const char *medium_bin_check(heap_t *heap, unsigned class)
{
    medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
    page_t *page = bin->current;
    if (page != NULL && (page->place != PAGE_CURRENT || page->class != class || page_owner(page) != heap))
        return "the current page is not in its place";
    return list_check(heap, bin->pages, class, 0);
}

static size_t idle_of(const page_t *page)
{
    if (!page_is_small(page))
        return (size_t)bits_count(page->dirty_bits) * page_class(page)->block_bytes;
    return page->place == PAGE_LISTED && page->bucket == 0 ? heap_sparse_idle_bytes(page) : 0;
}

static size_t idle_bytes(const heap_t *heap)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        for (uint32_t page = i == 0 ? 1 : 0; page < atomic_load(&zone_get(i)->fresh); page++)
            if (page_owner(&zone_get(i)->pages[page]) == heap)
                bytes += idle_of(&zone_get(i)->pages[page]);
    return bytes;
}

static size_t sparse_bytes(const heap_t *heap)
{
    size_t bytes = 0;
    for (unsigned class = 1; class <= SMALL_CLASSES; class++) {
        const page_id_t lists[] = {heap->small[class].bucket[0], heap->small[class].scanned};
        for (unsigned list = 0; list < 2; list++)
            for (page_t *page = zone_page_by_id(lists[list]); page != NULL; page = zone_page_by_id(page->next))
                bytes += heap_sparse_idle_bytes(page);
    }
    return bytes;
}

// Returns how many there are.
static unsigned mosaics_in_zones(size_t *hollow_bytes)
{
    unsigned count = 0;
    *hollow_bytes = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        for (uint32_t page = 0; page < atomic_load(&zone_get(i)->fresh); page++)
            if (page_is_mosaic(&zone_get(i)->pages[page])) {
                count++;
                *hollow_bytes += zone_get(i)->pages[page].mosaic->hollow_bytes;
            }
    return count;
}

static const char *mosaics_check(void)
{
    size_t hollow_bytes;
    const char *wrong = mosaic_rows_check(mosaics_in_zones(&hollow_bytes));
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        if (atomic_load(&heap->state) == HEAP_LOST)
            return wrong; // nothing is known of what it held
        hollow_bytes += heap->sparse_bytes;
    }
    if (wrong == NULL && hollow_bytes != budget_hollow_bytes())
        wrong = "the budget's hollow bytes are not those of nearly empty pages and mosaics";
    return wrong;
}

static const char *heap_check(heap_t *heap)
{
    const char *wrong = NULL;
    for (unsigned class = 1; wrong == NULL && class <= SMALL_CLASSES; class++)
        wrong = small_bin_check(heap, class);
    for (unsigned class = CLASS_FIRST_MEDIUM; wrong == NULL && class < CLASS_COUNT; class++)
        wrong = medium_bin_check(heap, class);
    if (wrong != NULL)
        return wrong;
    if (sparse_bytes(heap) != heap->sparse_bytes)
        return "a heap's sparse bytes are not what its nearly empty pages hold";
    size_t idle = heap->idle_bytes - atomic_load(&heap->idle_gone_bytes);
    return idle_bytes(heap) == idle ? NULL : "a heap's idle bytes are not what its pages hold";
}

// Every page in an inbox is marked as queued, and no page is in two.
static const char *inboxes_check(void)
{
    uint32_t queued = 0, marked = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        for (page_id_t id = atomic_load(&heap->inbox); id != 0; id = zone_page_by_id(id)->inbox_next, queued++)
            if (!remote_is_queued(zone_page_by_id(id)))
                return "a page in an inbox is not marked as queued";
    for (unsigned i = 0; i < zone_count(); i++)
        for (uint32_t page = 0; page < atomic_load(&zone_get(i)->fresh); page++)
            marked += remote_is_queued(&zone_get(i)->pages[page]);
    return queued == marked ? NULL : "a page marked as queued is in no inbox";
}

static size_t pending_bytes(void)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        for (uint32_t index = 0; index < atomic_load(&zone_get(i)->fresh); index++) {
            page_t *page = &zone_get(i)->pages[index];
            bytes += remote_bytes(page, atomic_load(&page->remote));
        }
    return bytes;
}

static const char *pending_check(void)
{
    size_t told = budget_pending();
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        if (atomic_load(&heap->state) == HEAP_LOST)
            return NULL; // its thread may have been in the midst of telling
        told += heap->pending_untold_bytes;
    }
    return pending_bytes() == told ? NULL : "the budget's pending bytes are not what pages have pending";
}

static size_t cached_bytes(void)
{
    size_t bytes = 0;
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id)) {
        const extent_t *extent = extent_node(id);
        bytes += extent->state == EXTENT_CACHED || extent->state == EXTENT_WARM ? extent->used_bytes : 0;
    }
    return bytes;
}

const char *check_pool(void)
{
    const char *wrong = NULL;
    size_t retained = 0;
    for (unsigned i = 0; wrong == NULL && i < zone_count(); i++)
        wrong = zone_check(zone_get(i), &retained);
    for (heap_t *heap = heap_first(); wrong == NULL && heap != NULL; heap = heap->next_heap)
        if (atomic_load(&heap->state) != HEAP_LOST)
            wrong = heap_check(heap);
    if (wrong == NULL)
        wrong = mosaics_check();
    if (wrong == NULL)
        wrong = inboxes_check();
    if (wrong == NULL)
        wrong = pending_check();
    if (wrong == NULL)
        wrong = extent_check();
    if (wrong == NULL)
        wrong = large_live_check();
    if (wrong == NULL && retained + cached_bytes() != budget_retained())
        wrong = "the budget's retained bytes are not what is retained";
    return wrong;
}
