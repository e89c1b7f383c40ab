// pool/sample.h - which blocks a profile samples, and which of those live. Plain numbers and addresses: preload/ sees
// no more of the heap than this.
//
// What is allocated is a line of bytes, and the samples are points on it, `rate` bytes apart on average (a Poisson
// process). A block is sampled if a point falls into it, so with the probability p = 1 - exp(-block / rate), and stands
// for 1 / p blocks: its weight. Sums of weights are unbiased, whatever the sizes.
//
//   small    the process is split by class, which leaves independent processes: each class of a heap knows the number
//            of the next sampled block. A list that would hold it is cut before it when it becomes the head list; so
//            the next miss of malloc's fast path is the sample, and the fast path knows nothing of it
//   medium   the same, but for the lists: blocks are taken one by one
//   large    each heap counts bytes
//
// The sampled blocks that live are in one table, by address. A page that holds one is marked (page.h), so that its
// frees, and only its frees, leave the fast path and look the block up: without a lock. Changes take the table's lock.
#ifndef TARN_SAMPLE_H
#define TARN_SAMPLE_H

#include <stdatomic.h>

#include "size_class.h"

// A weight of one block, in fixed point.
#define SAMPLE_BLOCK ((uint64_t)1 << 16)

// A block that was sampled.
typedef struct sample {
    const void *block;
    size_t requested_bytes;
    size_t block_bytes;
    unsigned class;  // 0: large
    uint64_t weight; // in SAMPLE_BLOCK
} sample_t;

// Hooks, weak as those of pool.h. Called outside all locks of the pool, when the heap is whole; neither may allocate.
// birth:  the block is about to be returned to the program. Returns a number by which death names it, or 0: forget it.
// death:  it is about to be freed.
// resize: realloc has made it another size, and perhaps moved it. Its number stays.
RARE __attribute__((weak)) uint32_t sample_hook_birth(const sample_t *sample);
RARE __attribute__((weak)) void sample_hook_death(uint32_t number, const void *block);
RARE __attribute__((weak)) void sample_hook_resize(uint32_t number, const void *old_block, const sample_t *sample);

// rate_bytes 0: no profile. The seed is for tests; 0: another one in each process.
void sample_start(size_t rate_bytes, uint64_t seed);
// What is sampled from now on; samples that are on their way keep the weight they were drawn with.
RARE void sample_rate_set(size_t rate_bytes);

// The number that birth gave a live sampled block; 0: not sampled. Any thread, no lock.
RARE uint32_t sample_find(const void *block);

// How many live sampled blocks have each value of a hash; 255 stays. Most blocks that are looked up are none, and 0 says so
// without the table: whoever frees a block has it from the malloc that counted it.
#define SAMPLE_CROWDS 4096u
POOL_LOCAL extern _Atomic uint8_t sample_crowds[SAMPLE_CROWDS]; // a child of fork has its parent's, and looks in vain

// Of a block's address, or of another key that differs in these bits. Fibonacci hashing: Knuth, The Art of Computer
// Programming 3, 6.4.
static inline uint64_t sample_hash(uintptr_t key)
{
    return (uint64_t)(key >> GRANULE_SHIFT) * 0x9e3779b97f4a7c15u >> 32;
}

static inline _Atomic uint8_t *sample_crowd(const void *block)
{
    return &sample_crowds[sample_hash((uintptr_t)block) % SAMPLE_CROWDS];
}

// False: sample_find would say 0.
static inline bool sample_may_be(const void *block)
{
    return unlikely(atomic_load_explicit(sample_crowd(block), memory_order_relaxed) != 0);
}

// In a fork's child: pages are marked of which no sample is left. [const] otherwise
POOL_LOCAL extern bool sample_marks_are_stale;

// Without a word to the hooks. True if it was there.
RARE bool sample_forget(const void *block);
// In the child of a fork, where the table may be torn: nothing is sampled any more, until sample_rate_set.
void sample_fork_child(void);

// The table's ranges: index is below their number. That can be asked without a call into code that a process without a
// profile does not have resident.
extern _Atomic unsigned sample_table_count;
void sample_bounds(unsigned index, char **start, char **end);

RARE uint64_t sample_weight(size_t block_bytes, size_t rate_bytes);
RARE uint64_t sample_random(uint64_t *state);
// Exponentially distributed, mean 1: distances of the points.
RARE double sample_gap(uint64_t *state);

#endif
