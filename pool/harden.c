// pool/harden.c - hardened small blocks: what heap.c does with lists, done with bits out of band (block_bits.h).
//
// No page's list becomes a head list, so each malloc misses the fast path; and every page is marked (PAGE_MARK), so each
// free leaves it, too. Both come here, to paths of their own, and without hardening neither meets a test for it.
#include "heap.h"

#include "misuse.h"
#include "os_linux.h"

void heap_harden_begin(heap_t *heap)
{
    if (harden_level != 0 && heap->harden_random == 0)
        heap->harden_random = os_random() | 1; // 0 is none yet
}

bool heap_harden_page(page_t *page)
{
    if (!block_bits_begin(page))
        return false;
    page_mark(page);
    return true;
}

static const char written_behind[] = "its end was written over";

void heap_harden_dies(page_t *page, void *block)
{
    size_t block_bytes = page_class(page)->block_bytes;
    uint64_t *canary = harden_canary_place(block, block_bytes);
    if (likely(*canary == harden_canary(block)))
        return;
    misuse_tell("free", block, written_behind, block_bytes - harden_tail_bytes);
    *canary = harden_canary(block);
}

// A page that blocks can be taken from; it has no event while it is the current one. NULL: no memory.
static page_t *current_with_free(heap_t *heap, unsigned class)
{
    page_t *page = heap_current_with_list(heap, class);
    if (page == NULL)
        return NULL;
    page_arm(page, 0);
    heap_handover_count(&heap->small[class].handover, page_carved_count(page) - page_used(page), 0);
    return page;
}

block_t *heap_harden_take(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    page_t *page = bin->current;
    if (unlikely(page == NULL || page->free_words == 0) && (page = current_with_free(heap, class)) == NULL)
        return NULL;
    unsigned index = block_bits_take(page, block_bits_random(&heap->harden_random));
    page->left++;
    bin->handed++;
    if (unlikely(heap->gaps.rate_bytes != 0))
        heap_sample_cut(heap, class, 1);
    return (block_t *)page_block(page, index);
}

static void free_local(page_t *page, unsigned index)
{
    block_bits_put(page, index);
    if (unlikely(--page->left == 0) && page->place != PAGE_CURRENT)
        heap_page_event(page);
}

static bool free_remote(heap_t *heap, page_t *page, unsigned index)
{
    bool already;
    if (block_bits_free_remote(page, index, &already))
        heap_drain_orphan(heap_inbox_push(page));
    if (!already)
        heap_adopt_page(heap, page); // its owner may have ended
    return !already;
}

// Each word once: block_bits_is_freed and block_bits_put in one.
bool heap_harden_free_quick(page_t *page, void *block)
{
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((char *)block - page->start);
    unsigned index = size_class_index(class, offset);
    if (unlikely((size_t)index * class->block_bytes != offset || !(page->carved >> (offset >> CARVE_SHIFT) & 1) ||
                 page_owner(page) != heap_self || *harden_canary_place(block, class->block_bytes) != harden_canary(block)))
        return false;
    block_word_t *word = block_bits_free(page) + index / 64;
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed);
    if (unlikely((before | block_bits_elsewhere(page, word)) >> (index % 64) & 1))
        return false;
    atomic_store_explicit(word, before | block_bits_of(index), memory_order_relaxed);
    page->free_words |= (uint64_t)1 << index / 64;
    if (unlikely(--page->left == 0) && page->place != PAGE_CURRENT)
        heap_page_event(page);
    return true;
}

bool heap_harden_free(heap_t *heap, page_t *page, unsigned index)
{
    if (page_owner(page) != heap)
        return free_remote(heap, page, index);
    free_local(page, index);
    return true;
}

void heap_harden_collect(heap_t *heap, page_t *page, uint64_t word)
{
    unsigned twice, twice_count, count = block_bits_collect(page, word, &twice, &twice_count);
    unsigned used = page_used(page) - count;
    page->floor = (uint16_t)size_min(page->floor, used);
    page->left = (uint16_t)(used - page->floor);
    heap_handover_count(&heap->small[page->class].handover, 0, count);
    if (unlikely(twice_count != 0))
        misuse_tell("free", page_block(page, twice), "double free", page_class(page)->block_bytes - harden_tail_bytes);
}
