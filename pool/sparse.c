// pool/sparse.c - which of a heap's pages become mosaics, and when: where a class would else fault in a page, while pages of
// other classes that hold little stand idle.
//
// Only if all of them together hold more than the budget leaves for free memory; and only those of classes that have not
// needed a page for a while, since the others fill up again by themselves.
#include "budget.h"
#include "heap.h"
#include "mosaic.h"
#include "zone_page.h"

size_t heap_sparse_least_bytes = BUDGET_FLOOR_BYTES;

// Pages looked at for one request: runs are about as long as a page's free bytes over its blocks, and the longest one a
// few times that, so some of the pages have none that is long enough.
static const unsigned page_tries = 4;
static const unsigned longest_over_mean = 4;

// Whether it is likely to have a run for a block of so many bytes. What others have freed is their owner's to see first.
static bool may_serve(const page_t *page, size_t block_bytes)
{
    size_t resident = bits_count(page->soiled) * CARVE_BYTES, used = page_used(page);
    size_t used_bytes = used * page_class(page)->block_bytes;
    return atomic_load_explicit(&page->remote, memory_order_relaxed) == 0 && resident > used_bytes &&
           (resident - used_bytes) / (used + 1) * longest_over_mean >= block_bytes;
}

static page_t *bin_candidate(const small_bin_t *bin, size_t block_bytes)
{
    const page_id_t lists[] = {bin->scanned, bin->bucket[0]};
    for (unsigned list = 0; list < 2; list++) {
        page_t *page = zone_page_by_id(lists[list]);
        for (unsigned tries = 0; page != NULL && tries < page_tries; tries++, page = zone_page_by_id(page->next))
            if (may_serve(page, block_bytes))
                return page;
    }
    return NULL;
}

// The smallest blocks' pages first: theirs are the shortest runs that do.
static page_t *candidate(const heap_t *heap, unsigned class)
{
    for (unsigned other = 1; other <= SMALL_CLASSES; other++)
        if (other != class && heap_class_is_unwanted(heap, heap->small[other].turn)) {
            page_t *page = bin_candidate(&heap->small[other], size_class_table[class].block_bytes);
            if (page != NULL)
                return page;
        }
    return NULL;
}

static APART bool sparse_page_convert(heap_t *heap, unsigned class)
{
    page_t *page = candidate(heap, class);
    if (page == NULL)
        return false;
    heap_unlist(heap, page);
    if (mosaic_make(page))
        return true;
    heap_settle(heap, page);
    return false;
}

// More than the heap's share of what may be wasted. With exact sizes and with hardening there are no mosaics: the tables of
// both know no blocks but those of a page's class.
static bool is_much_sparse(const heap_t *heap)
{
    size_t heaps = size_max(heap_alive_count(), 1);
    return heap->sparse_bytes > heap_sparse_least_bytes / heaps && heap->sparse_bytes > budget_waste() / heaps &&
           !heap_requested_exact && harden_level == 0;
}

block_t *heap_mosaic_take(heap_t *heap, unsigned class, unsigned most, page_t **page, unsigned *count)
{
    if (zone_has_dirty(class))
        return NULL;
    heap->turns++;
    if (likely(mosaic_count() == 0 && !is_much_sparse(heap)))
        return NULL;
    block_t *list = mosaic_take(class, most, page, count);
    for (unsigned tries = 0; list == NULL && tries < page_tries && is_much_sparse(heap); tries++) {
        if (!sparse_page_convert(heap, class))
            return NULL;
        list = mosaic_take(class, most, page, count);
    }
    return list;
}
