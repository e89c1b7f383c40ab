// bench.h - what the benchmark programs share: options, chance, the clock, resident memory, blocks and their marks.
//
// A program asks one question, takes its sizes as `name=value`, and prints `key value` lines. It uses the standard
// allocation interface and nothing else of any allocator, so that LD_PRELOAD alone decides which one is measured.
//
//   busy_ns               time spent working, where the program also sleeps; stands for the wall time then
//   rss_after_free_bytes  resident right after the last free
//   live_bytes            what the program asked for and still held at that moment
//   checksum              sum of the marks of all blocks freed: the same under every allocator, or one of them is wrong
//
// Bookkeeping (the arrays of block pointers) is mapped, not allocated: it is the same for every allocator.

#ifndef BENCH_H
#define BENCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OS_PAGE_BYTES = 4096,
    KIB = 1024,
    MIB = 1024 * KIB,
    MARK_BYTES = 8, // every block is at least as large as the mark at its start
};

// --- options: `name=value`, the value a number with an optional k or m (KiB, MiB) -----------------------------------

typedef struct option {
    const char *name; // NULL ends the list
    uint64_t *value;  // holds the default until it is read
} option_t;

// Fills in what the command line says. An unknown name or a bad number ends the program with status 2 and the list.
void options_read(int argc, char **argv, const option_t *options);

// --- chance: deterministic, one stream a thread ---------------------------------------------------------------------

typedef struct rng {
    uint64_t state; // never 0
} rng_t;

rng_t rng_seed(uint64_t seed);

// Marsaglia's xorshift with a final multiplication: three shifts, so that it does not show beside a malloc.
static inline uint64_t rng_next(rng_t *rng)
{
    uint64_t x = rng->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rng->state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

// Uniform in [0, bound), bound < 2^32.
static inline uint64_t rng_below(rng_t *rng, uint64_t bound)
{
    return ((rng_next(rng) >> 32) * bound) >> 32;
}

// Uniform in [low, high].
static inline uint64_t rng_between(rng_t *rng, uint64_t low, uint64_t high)
{
    return low + rng_below(rng, high - low + 1);
}

// How sizes are drawn: uniform in [low, high], or, if `log`, every doubling from low to high (powers of two) as likely
// as the next and uniform within.
typedef struct sizes {
    size_t low; // above MARK_BYTES
    size_t high;
    bool log;
} sizes_t;

size_t size_pick(rng_t *rng, sizes_t sizes);

void shuffle(rng_t *rng, void **items, size_t count);

// --- the clock and the kernel's figures -----------------------------------------------------------------------------

uint64_t time_ns(void);
void sleep_ms(uint64_t ms);
size_t resident_bytes(void);

// --- blocks ---------------------------------------------------------------------------------------------------------

// Keeps the compiler from removing a malloc whose block is freed at once. Never a call, in a build without optimization either:
// bench/instructions counts the calls that a function makes.
static inline __attribute__((always_inline)) void escape(void *pointer)
{
    __asm__ volatile("" : : "g"(pointer) : "memory");
}

static inline void block_mark(void *block, uint64_t mark)
{
    *(uint64_t *)block = mark;
}

static inline uint64_t block_read(const void *block)
{
    return *(const uint64_t *)block;
}

void *block_take(size_t bytes, uint64_t mark);         // never NULL: without memory the program ends with status 1
void *block_take_touched(size_t bytes, uint64_t mark); // and a byte of each of its OS pages is written
uint64_t block_give(void *block);                      // frees it and returns its mark

// A heap of touched blocks, each marked with its size.
typedef struct heap {
    void **blocks;
    size_t count;
    size_t bytes; // the sum of the sizes of all blocks still here
    size_t capacity;
} heap_t;

heap_t heap_fill(rng_t *rng, size_t volume, sizes_t sizes);
uint64_t heap_thin(heap_t *heap, rng_t *rng, uint64_t percent_kept); // frees the others in random order
uint64_t heap_empty(heap_t *heap);                                   // frees all, in the order of the array
                                                                     // both: the sum of the marks freed

void *array_map(size_t count, size_t item_bytes); // zeroed, outside the heap
void array_unmap(void *array, size_t count, size_t item_bytes);

// --- threads and output ---------------------------------------------------------------------------------------------

pthread_t thread_start(void *(*body)(void *), void *argument);
void *thread_join(pthread_t thread);

void report(const char *key, uint64_t value);
_Noreturn void fail(const char *what);

#endif
