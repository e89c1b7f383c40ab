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

// At level 1 the next block is one of a few neighbours: what is allocated one after the other stays together, and a program
// that walks it in that order finds it in its caches. Of more where a block is longer, since it is a run of lines itself: a
// block of 64 bytes is one of four, of 1 KiB one of a whole word's. Drawn from whole words, lua took 1.23 times level 0's
// time, so 1.03 (decision 037).
static const unsigned near_least = 4;
static const unsigned near_bytes_each = 16;

// A power of two, less one.
static uint32_t near_of(size_t block_bytes)
{
    return (uint32_t)bits_mask(bits_highest(size_max(near_least, block_bytes / near_bytes_each)));
}

// The word has free blocks, and one at least may be drawn before the next that is looked at.
static inline void run_begin(small_draw_t *draw, uint64_t free)
{
    draw->run = (uint32_t)size_min(bits_count(free), draw->quick);
    draw->quick -= draw->run;
}

static void page_take_up(small_draw_t *draw, page_t *page)
{
    draw->page = page;
    draw->words = block_bits_free(page);
    draw->block_bytes = page_class(page)->block_bytes;
    draw->near = near_of(draw->block_bytes);
}

// The first word that has any: so what is free gathers at the page's end. False: the next block is to be looked at, or the
// current page has none.
static bool word_take_up(heap_t *heap, size_t class)
{
    small_draw_t *draw = &heap->draw[class];
    if (draw->quick == 0) // first: it is so in the last one, which has no bin
        return false;
    page_t *page = heap->small[class].current;
    if (page == NULL || page->free_words == 0)
        return false;
    if (unlikely(draw->page != page))
        page_take_up(draw, page);
    unsigned at = bits_lowest(page->free_words);
    uint64_t free = atomic_load_explicit(&draw->words[at], memory_order_relaxed);
    draw->word = &draw->words[at];
    draw->base = page->start + (size_t)at * 64 * draw->block_bytes;
    run_begin(draw, free);
    return true;
}

static void word_leave(small_draw_t *draw)
{
    draw->word = NULL;
    draw->run = 0;
}

// The last block of a run was drawn. What was freed in the word meanwhile makes another; a word that has none is none of
// those that do.
static inline void run_end(heap_t *heap, size_t class)
{
    small_draw_t *draw = &heap->draw[class];
    block_word_t *word = draw->word;
    uint64_t free = atomic_load_explicit(word, memory_order_relaxed);
    if (free == 0)
        draw->page->free_words &= ~((uint64_t)1 << (word - draw->words));
    else if (draw->quick != 0)
        return run_begin(draw, free);
    word_leave(draw);
    word_take_up(heap, class);
}

void heap_harden_drop(heap_t *heap, size_t class)
{
    small_draw_t *draw = &heap->draw[class];
    draw->quick = heap_harden_ahead(heap, class);
    word_leave(draw);
}

static inline __attribute__((always_inline)) block_t *draw_any(heap_t *heap, size_t class, bool is_near)
{
    small_draw_t *draw = &heap->draw[class];
    if (draw->word == NULL && !word_take_up(heap, class))
        return NULL;
    block_t *block = heap_harden_draw(draw, is_near);
    if (--draw->run == 0)
        run_end(heap, class);
    return block;
}

block_t *heap_harden_draw_any(heap_t *heap, size_t class)
{
    return draw_any(heap, class, harden_level < HARDEN_HOLDS);
}

HARDENED void *heap_harden_draw_or(size_t size_bytes, heap_t *heap, void *(*slow)(size_t))
{
    size_t class = size_class_small(size_bytes + HARDEN_TAIL_BYTES);
    block_t *block = draw_any(heap, class, true);
    if (unlikely(block == NULL))
        return slow(size_bytes);
    harden_canary_write(block, heap->draw[class].block_bytes);
    return block;
}

// Until the next block that is looked at: the one behind each 64th is, and a sample.
static void quick_again(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    small_draw_t *draw = &heap->draw[class];
    uint64_t noted = -bin->handed % HARDEN_NOTED_EVERY, sampled_at = heap->gaps.small_at[class];
    uint64_t sampled = sampled_at > bin->handed ? sampled_at - bin->handed - 1 : 0;
    uint64_t random = block_bits_random(&heap->harden_random);
    draw->chance = random ^ random >> 32; // the upper half is the better one
    draw->quick = heap_requested_exact ? 0 : (uint32_t)size_min(noted, sampled);
    bin->handed += draw->quick;
}

APART block_t *heap_harden_take(heap_t *heap, unsigned class)
{
    small_bin_t *bin = &heap->small[class];
    page_t *page = bin->current;
    small_draw_t *draw = &heap->draw[class];
    heap_harden_drop(heap, class);
    if (unlikely(page == NULL || page->free_words == 0) && (page = current_with_free(heap, class)) == NULL)
        return NULL;
    bin->handed -= draw->quick;
    unsigned index = block_bits_take(page, block_bits_random(&heap->harden_random));
    page->left++;
    if (unlikely(bin->handed + 1 >= heap->gaps.small_at[class]))
        heap_sample_cut(heap, class, 1);
    bin->handed++;
    quick_again(heap, class);
    word_take_up(heap, class);
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
    page_arm_used(page, used, (unsigned)size_min(page->floor, used));
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

APART bool heap_harden_hold(heap_t *heap, page_t *page, unsigned index)
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
