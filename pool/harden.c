// pool/harden.c - hardened small blocks: what heap.c does with lists, done with bits out of band (block_bits.h).
//
// No page's list becomes a head list, so each malloc misses the fast path; and every page is marked (PAGE_MARK), so each
// free leaves it, too. Both come here, to paths of their own, and without hardening neither meets a test for it.
#include "heap.h"

#include <string.h>

#include "meta.h"
#include "os_linux.h"
#include "registry.h"
#include "trap.h"

void heap_harden_begin(heap_t *heap)
{
    if (harden_level != 0 && heap->harden_random == 0)
        heap->harden_random = os_random() | 1; // 0 is none yet
    if (harden_level >= HARDEN_TRAPS && heap->trap_in == 0)
        heap->trap_in = trap_gap(block_bits_random(&heap->harden_random));
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
    if (unlikely(bin->handed + 1 >= heap->gaps.small_at[class]))
        heap_sample_cut(heap, class, 1);
    bin->handed++;
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

// Each word once: block_bits_is_freed and block_bits_put in one. At this level nothing is held, and what is pending is read
// only where something may be.
bool heap_harden_free_quick(page_t *page, void *block)
{
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((char *)block - page->start);
    unsigned index = size_class_index_exact(class, offset);
    if (unlikely(harden_level >= HARDEN_HOLDS || page_owner(page) != heap_self)) // what follows is the owner's to read
        return false;
    if (unlikely(index >= class->block_count || !(page->carved >> (offset >> CARVE_SHIFT) & 1) ||
                 *harden_canary_place(block, class->block_bytes) != harden_canary(block)))
        return false;
    block_word_t *word = block_bits_free(page) + index / 64;
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed), freed = before;
    if (unlikely(atomic_load_explicit(&page->remote, memory_order_relaxed) != 0))
        freed |= block_bits_elsewhere(page, word);
    if (unlikely(freed >> (index % 64) & 1))
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

// --- blocks that are held back (level 2) ---------------------------------------------------------------------------
//
// A freed block is zeroed and waits in the freeing thread's quarantine, first in, first out; its bit in `held` says that
// it is freed, whoever asks. So an address is not handed out again soon, a dangling pointer reads zeros meanwhile, and
// what it writes is seen when the block is handed out: all memory of free blocks is zero, fresh or not.

// What a heap holds back: 1,024 blocks, but not more than 256 KiB (a quarter of what the budget lets any program keep).
// A block above a quarter of that is zeroed, and free at once: it would push all others out.
#define HELD_BLOCKS 1024u
static const size_t held_most_bytes = (size_t)256 << 10;

typedef struct held_block {
    page_t *page;
    uint32_t index;
} held_block_t;

struct quarantine {
    held_block_t block[HELD_BLOCKS]; // a ring
    uint32_t first, count;
    size_t bytes;
};

void heap_harden_create(heap_t *heap)
{
    if (harden_level >= HARDEN_HOLDS) // NULL: then nothing is held back
        heap->quarantine = meta_alloc(&registry_arena, sizeof(struct quarantine), CACHE_LINE_BYTES);
}

static bool is_zero(const uint64_t *words, size_t count)
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all |= words[i];
    return all == 0;
}

void heap_harden_verify(void *block, size_t block_bytes)
{
    if (likely(is_zero(block, block_bytes / sizeof(uint64_t))))
        return;
    misuse_tell("malloc", block, "was written to after it was freed", block_bytes - harden_tail_bytes);
    memset(block, 0, block_bytes);
}

// It is not held any more before it is free, since its page may begin another life then.
static void release(heap_t *heap, held_block_t held)
{
    atomic_fetch_and_explicit(block_bits_held(held.page) + held.index / 64, ~block_bits_of(held.index),
                              memory_order_seq_cst);
    if (page_is_small(held.page))
        heap_harden_free(heap, held.page, held.index);
    else
        heap_free_medium_of(heap, held.page, held.index);
}

static void release_oldest(heap_t *heap)
{
    struct quarantine *quarantine = heap->quarantine;
    held_block_t oldest = quarantine->block[quarantine->first];
    quarantine->first = (quarantine->first + 1) % HELD_BLOCKS;
    quarantine->count--;
    quarantine->bytes -= page_class(oldest.page)->block_bytes;
    release(heap, oldest);
}

bool heap_harden_hold(heap_t *heap, page_t *page, unsigned index)
{
    uint64_t bit = block_bits_of(index);
    size_t block_bytes = page_class(page)->block_bytes;
    struct quarantine *quarantine = heap->quarantine;
    if (atomic_fetch_or_explicit(block_bits_held(page) + index / 64, bit, memory_order_seq_cst) & bit)
        return false;
    memset(page_block(page, index), 0, block_bytes);
    if (quarantine == NULL || block_bytes > held_most_bytes / 4) {
        release(heap, (held_block_t){page, index});
        return true;
    }
    while (quarantine->count == HELD_BLOCKS || quarantine->bytes + block_bytes > held_most_bytes)
        release_oldest(heap);
    quarantine->block[(quarantine->first + quarantine->count++) % HELD_BLOCKS] = (held_block_t){page, index};
    quarantine->bytes += block_bytes;
    return true;
}

void heap_harden_flush(heap_t *heap)
{
    while (heap->quarantine != NULL && heap->quarantine->count != 0)
        release_oldest(heap);
}
