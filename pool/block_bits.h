// pool/block_bits.h - hardened small pages: which blocks are free is known by bits out of band, and not by links in
// the blocks themselves. Under harden=0 there are none, and nothing here is called.
//
//   a table beside the zone:   free     |w words of page 0|of page 1| ...    [owner]  blocks to give
//   a bit a block              pending  |                 |         | ...    [atomic] freed by others, not yet taken back
//                              held     |                 |         | ...    [atomic] freed, and kept back for a while
//                                                                                     (harden.c)
//   w = 16 low, 4 high, 1 medium. A page's words follow from its descriptor's address by a shift; and since most pages have
//   no bit in the other two, those stay untouched.
//
// A small block is not carved, or its bit is set in one of the three, or it is live. So a double free is seen exactly,
// whoever frees; no write through a dangling pointer reaches a list; and the next block to give is drawn by chance.
//
// page->free_words (the same word as page->list) has a bit for each word of free that is not 0, so that "the list is
// empty" is the same test as without hardening. page->remote has a bit for each word of pending that may not be 0:
//
//   free by another: pending[i] |= bit, and then, unless it is there, remote |= QUEUED | 1 << i     (seq. consistent)
//   collect (owner): word = take remote, and then, for each i in word, taken = exchange(pending[i], 0)
//
// Who finds its bit in remote set leaves it to the collect that has yet to take that bit, and comes to see pending.
//
// Invariant (block_bits_check): used + |free| == carved. Of medium pages only `held` is in use.
#ifndef TARN_BLOCK_BITS_H
#define TARN_BLOCK_BITS_H

#include "misuse.h"
#include "remote.h"
#include "zone.h"

// Behind the usable bytes of each hardened small or medium block stands its canary: harden_tail_bytes, 0 without
// hardening. Only the block's own holder writes and checks it, so no other thread can come in between.
#define HARDEN_TAIL_BYTES sizeof(uint64_t)
POOL_LOCAL extern size_t harden_tail_bytes;
POOL_LOCAL extern uint64_t harden_key;

// The level at which calls have short ways of their own; above, more is done with each block.
#define HARDEN_SHORT 1

void block_bits_start(unsigned level);
// The tables of the small zones of the start are made. Level 1 and up.
void block_bits_tables_start(void);

// What the owner word of a page of the calling thread's has beside its heap's address if a free there has a short way: with
// HARDEN_SHORT, those tables, and no block ever sampled it is PAGE_MARK. Else no owner word has it. [atomic] relaxed: whoever
// frees a sampled block has seen what followed its sampling.
POOL_LOCAL extern uintptr_t harden_quick_mark;
#define HARDEN_NEVER_QUICK ((uintptr_t)4) // heaps are aligned to lines, and pages use two bits

// Every byte is above 127, so that no text, and no 0, can be mistaken for it.
static inline uint64_t harden_canary(const void *block)
{
    return (harden_key ^ (uintptr_t)block) | 0x8080808080808080u;
}

static inline uint64_t *harden_canary_place(void *block, size_t block_bytes)
{
    return (uint64_t *)((char *)block + block_bytes - sizeof(uint64_t));
}

static inline void harden_canary_write(void *block, size_t block_bytes)
{
    *harden_canary_place(block, block_bytes) = harden_canary(block);
}

// Two threads may make a zone's table at once: then each field is written twice with the same value, so it is read by a
// relaxed load. Whoever has a page of the zone has seen one of the two.
typedef struct block_bits_table {
    char *base;         // [const] once it is there
    page_t *pages;      // [const] of the zone
    size_t plane_words; // [const] from a word of free to its word of pending, and from there to that of held
    uint32_t words;     // [const] a page has in each: a power of two
    uint32_t stride;    // [const] words from a page's first to the next one's
} block_bits_table_t;

POOL_LOCAL extern block_bits_table_t block_bits_tables[ZONES_MAX];

typedef _Atomic uint64_t block_word_t;

static inline unsigned block_bits_words(const page_t *page)
{
    return __atomic_load_n(&block_bits_tables[page->zone].words, __ATOMIC_RELAXED);
}

static inline block_word_t *block_bits_free(const page_t *page)
{
    const block_bits_table_t *table = &block_bits_tables[page->zone];
    uintptr_t pages = (uintptr_t)__atomic_load_n(&table->pages, __ATOMIC_RELAXED);
    size_t index = ((uintptr_t)page - pages) / sizeof(page_t);
    size_t stride = __atomic_load_n(&table->stride, __ATOMIC_RELAXED);
    return (block_word_t *)__atomic_load_n(&table->base, __ATOMIC_RELAXED) + index * stride;
}

static inline size_t block_bits_plane_words(const page_t *page)
{
    return __atomic_load_n(&block_bits_tables[page->zone].plane_words, __ATOMIC_RELAXED);
}

static inline block_word_t *block_bits_pending(const page_t *page)
{
    return block_bits_free(page) + block_bits_plane_words(page);
}

static inline block_word_t *block_bits_held(const page_t *page)
{
    return block_bits_free(page) + 2 * block_bits_plane_words(page);
}

// The same of pages in the small zones of the start, whose tables are made at the start: 128 bytes a descriptor of 64 in both, though
// pages of the second need 32. So which of the two it is takes no branch, and no shift by what first has to be loaded (decision 048).
// For each zone: where its table's first word would be that of a descriptor at address 0. [const] after the start
POOL_LOCAL extern uintptr_t block_bits_front[SMALL_ZONES];

static inline block_word_t *block_bits_free_front(const page_t *page)
{
    return (block_word_t *)(block_bits_front[page->zone] + (uintptr_t)page * 2);
}

static inline uint64_t block_bits_of(unsigned index)
{
    return (uint64_t)1 << (index % 64);
}

// What is pending or held of the blocks that a word of free tells about.
static inline __attribute__((always_inline)) uint64_t block_bits_elsewhere(const page_t *page, const block_word_t *word)
{
    size_t plane_words = block_bits_plane_words(page);
    return atomic_load_explicit(word + plane_words, memory_order_relaxed) |
           atomic_load_explicit(word + 2 * plane_words, memory_order_relaxed);
}

// The block was freed, by whoever, and has not been handed out since.
static inline bool block_bits_is_freed(const page_t *page, unsigned index)
{
    const block_word_t *word = block_bits_free(page) + index / 64;
    return (atomic_load_explicit(word, memory_order_relaxed) | block_bits_elsewhere(page, word)) >> (index % 64) & 1;
}

// Chance for where blocks go, one state a heap: Knuth's linear congruences (MMIX), whose upper half is what is used.
static inline uint64_t block_bits_random(uint64_t *state)
{
    return *state = *state * 6364136223846793005u + 1442695040888963407u;
}

// A set bit, by a chance of 0 to 63 that is spread over what lies between the lowest and the highest one. (Spread over the
// whole word, the few blocks that a carve step leaves in a word of its own came in the order of their addresses.)
static inline unsigned block_bits_within(uint64_t word, unsigned chance)
{
    unsigned low = bits_lowest(word), width = bits_highest(word) - low + 1;
    unsigned turn = low + chance * width / 64;
    return bits_lowest(word >> turn) + turn;
}

// Takes a free block by chance, of the first word that has any: so what is free gathers at the page's end. There must be
// one. The caller counts it as used. [owner]
static inline unsigned block_bits_take(page_t *page, uint64_t random)
{
    unsigned at = bits_lowest(page->free_words);
    block_word_t *word = block_bits_free(page) + at;
    uint64_t free = atomic_load_explicit(word, memory_order_relaxed);
    unsigned bit = block_bits_within(free, (unsigned)(random >> 58));
    free &= ~((uint64_t)1 << bit);
    atomic_store_explicit(word, free, memory_order_relaxed);
    if (unlikely(free == 0))
        page->free_words &= ~((uint64_t)1 << at);
    return at * 64 + bit;
}

// The block is free again. The caller counts it. [owner]
static inline void block_bits_put(page_t *page, unsigned index)
{
    block_word_t *word = block_bits_free(page) + index / 64;
    uint64_t free = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, free | block_bits_of(index), memory_order_relaxed);
    page->free_words |= (uint64_t)1 << index / 64;
}

// A page has come from its zone. False: no memory for the bits. [owner]
bool block_bits_begin(page_t *page);
// As page_carve, any step. [owner]
bool block_bits_carve(page_t *page, uint64_t random);
// A free by another. True: the caller must put the page on its owner's inbox. *already: it was pending before.
bool block_bits_free_remote(page_t *page, unsigned index, bool *already);
// Makes free what `word`, from remote_take, says is pending, and counts it. Blocks that were free already are left in
// *twice: the last of them, *twice_count in all (freed by owner and another thread at the same moment). [owner]
unsigned block_bits_collect(page_t *page, uint64_t word, unsigned *twice, unsigned *twice_count);
// Blocks freed by others or held back, and not yet free. Any thread.
unsigned block_bits_waiting(const page_t *page);
// Takes the free blocks of these steps away, as if they had never been carved. [owner]
void block_bits_forget(page_t *page, unsigned steps);
// NULL, or what is wrong. [owner] or quiet
const char *block_bits_check(const page_t *page);
// The tables' ranges; true while index is below their number.
bool block_bits_bounds(unsigned index, char **start, char **end);

#endif
