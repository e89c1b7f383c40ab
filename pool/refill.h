// pool/refill.h - what malloc does when a head list of small blocks has run out.
//
// A refill looks, in this order, at: the current page's own frees, the ring (then the blocks are borrowed), the page's remote
// frees, the inbox, the fullest bucket, an uncarved step of an owned page, orphans' pages, mosaics, a larger class's head list (if
// the class has no page yet), a fresh page: what is resident and nearly full goes first, so that nearly empty pages get the chance
// to empty. heap_refill does all that. What is here does the commonest of it in fewer instructions, and as heap_refill would: the
// current page's own frees (nine refills of ten where blocks are replaced at random), what the ring has, and the next page's frees.
// A refill that is to be looked at, since it has a sample, or a list that is not as it should be, is left to heap_refill.
//
// All functions: the calling thread's heap, which may be heap_none; level 0 (harden.h), or they find nothing.
#ifndef TARN_REFILL_H
#define TARN_REFILL_H

#include "requested.h"

// A refill has found the block; the request is noted. Returns the block.
void *refill_noted(size_t size_bytes, heap_t *heap, void *block);

// Counts a refill that has found the block, and notes each eighth.
static inline void *refill_noted_in_turn(size_t size_bytes, heap_t *heap, void *block)
{
    bool noted = requested_refill_in_turn(heap);
    heap->refills++;
    return unlikely(noted) ? refill_noted(size_bytes, heap, block) : block;
}

// A small request whose head list has run out while the current page has blocks on its own list: the common refill, so
// short. It does what heap_refill does then. NULL: any other request.
static inline __attribute__((always_inline)) void *refill_from_current(size_t size_bytes, heap_t *heap)
{
    size_t class = size_class_small(size_bytes); // 0 has no page
    small_bin_t *bin = &heap->small[class];
    page_t *page = bin->current;
    if (unlikely(page == NULL || page->list == NULL || !bin->short_refills))
        return NULL;
    if (unlikely(!page_list_looks_right(page, &size_class_table[class]))) // heap_refill tells
        return NULL;
    unsigned count = page_carved_count(page) - page_used_counted(page);
    uint64_t handed = bin->handed + count;
    if (unlikely(handed >= heap->gaps.small_at[class])) // one of them is sampled
        return NULL;
    block_t *list = page->list;
    page->list = NULL;
    page_arm_used(page, page_carved_count(page), 0); // all of them are used now
    bin->handed = handed;
    heap_handover_count(&bin->handover, count, 0);
    bin->head_page = page;
    heap->head[class] = list->next;
    return refill_noted_in_turn(size_bytes, heap, list);
}

// The same while the current page's own list is empty: what the ring has, or the next page. NULL: any other request.
void *refill_turned(size_t size_bytes, heap_t *heap);

static inline __attribute__((always_inline)) void *refill_quick(size_t size_bytes, heap_t *heap)
{
    void *block = refill_from_current(size_bytes, heap);
    if (likely(block != NULL) || !heap->small[size_class_small(size_bytes)].short_refills)
        return block;
    return refill_turned(size_bytes, heap);
}

#endif
