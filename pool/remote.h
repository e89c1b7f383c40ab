// pool/remote.h - frees by other threads, as functions on values: the protocol is here whole, without a thread.
//
// A page's `remote` word is all that other threads write. The first who makes it non-empty also queues the page on its
// owner's inbox; the bit QUEUED says that the page is in some inbox (so in one at most), and only the thread that took
// it out of there clears it.
//
//   small    63      62..59  58..48   47..0         medium   63      55..0
//            queued  -       count    first block            queued  a bit a block
//
// push (anyone):   old -> remote_push(old, ...), by compare-and-swap, sequentially consistent (heap_give_up)
// collect (owner): word & QUEUED stays, the rest is taken, acquire; from an inbox the word becomes 0
#ifndef TARN_REMOTE_H
#define TARN_REMOTE_H

#include "page.h"

#define REMOTE_QUEUED ((uint64_t)1 << 63)
#define REMOTE_COUNT_SHIFT 48
#define REMOTE_COUNT_MASK ((uint64_t)0x7ff)
#define REMOTE_ADDRESS_MASK (((uint64_t)1 << REMOTE_COUNT_SHIFT) - 1)

_Static_assert(SMALL_BLOCKS_MAX <= REMOTE_COUNT_MASK, "a whole page's blocks can be counted");

static inline unsigned remote_count(uint64_t word)
{
    return (unsigned)(word >> REMOTE_COUNT_SHIFT & REMOTE_COUNT_MASK);
}

static inline block_t *remote_first(uint64_t word)
{
    return (block_t *)(uintptr_t)(word & REMOTE_ADDRESS_MASK);
}

// The word after `count` blocks, first to last linked, came to a small page; the caller has set last->next to
// remote_first(old).
static inline uint64_t remote_push(uint64_t old, const block_t *first, unsigned count)
{
    uint64_t total = (uint64_t)remote_count(old) + count;
    return REMOTE_QUEUED | total << REMOTE_COUNT_SHIFT | (uint64_t)(uintptr_t)first;
}

static inline uint64_t remote_push_bit(uint64_t old, unsigned index)
{
    return old | REMOTE_QUEUED | (uint64_t)1 << index;
}

static inline bool remote_must_queue(uint64_t old)
{
    return (old & REMOTE_QUEUED) == 0;
}

// Bytes of the blocks in a page's word; 0 of a hardened small page, whose word has no count (block_bits.h).
static inline size_t remote_bytes(const page_t *page, uint64_t word)
{
    unsigned count = page_is_small(page) ? remote_count(word) : bits_count(word & ~REMOTE_QUEUED);
    return (size_t)count * page_class(page)->block_bytes;
}

// Blocks of the page that others have freed and its owner has not taken back.
static inline unsigned remote_pending(const page_t *page)
{
    uint64_t word = atomic_load_explicit(&page->remote, memory_order_relaxed);
    return page_is_small(page) ? remote_count(word) : bits_count(word & ~REMOTE_QUEUED);
}

// Whether there are any; hardened small pages, too.
static inline bool remote_has_any(const page_t *page)
{
    return (atomic_load_explicit(&page->remote, memory_order_relaxed) & ~REMOTE_QUEUED) != 0;
}

static inline bool remote_is_queued(const page_t *page)
{
    return (atomic_load_explicit(&page->remote, memory_order_relaxed) & REMOTE_QUEUED) != 0;
}

// Each does the step above on the page's word. True: the caller must put the page on its owner's inbox.
bool remote_free_list(page_t *page, block_t *first, block_t *last, unsigned count);
// *already: the block was there before (a double free); nothing has changed.
bool remote_free_bit(page_t *page, unsigned index, bool *already);

// Takes what is there. leave_inbox: the page was just taken out of an inbox.
uint64_t remote_take(page_t *page, bool leave_inbox);

#endif
