// instruction_loops.c - the loops under which bench/instructions counts what each call of the allocator executes.
//
//   instruction_loops CASE COUNT
//
// Every call of the allocator is made by one of the call_* functions and nothing else is called there. Under callgrind
// the inclusive cost of the calls that call_malloc makes is thus the cost of malloc, whatever the library names it,
// and neither the loop nor the dice are in it.

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define NOINLINE __attribute__((noinline))

enum {
    NEIGHBOURS = 1000,
    BATCH = 100,
    SLOTS = 10000,
    SLOT_BYTES_MIN = 16,
    SLOT_BYTES_MAX = 1024,
    MEDIUM_SLOTS = 1000,
    HANDED = 10000,
};

// escape() after the call keeps it from becoming a jump: it stays a call made by this function.
NOINLINE static void *call_malloc(size_t bytes)
{
    void *block = malloc(bytes);
    escape(block);
    return block;
}

NOINLINE static void call_free(void *block)
{
    free(block);
    escape(NULL);
}

NOINLINE static void *call_calloc(size_t bytes)
{
    void *block = calloc(1, bytes);
    escape(block);
    return block;
}

NOINLINE static void *call_realloc(void *block, size_t bytes)
{
    void *moved = realloc(block, bytes);
    escape(moved);
    return moved;
}

NOINLINE static void *call_memalign(size_t alignment, size_t bytes)
{
    void *block = aligned_alloc(alignment, bytes);
    escape(block);
    return block;
}

// Live blocks of the size: the page that serves the loop never becomes empty or full.
static void neighbours_take(size_t bytes)
{
    for (int i = 0; i < NEIGHBOURS; i++) {
        block_mark(block_take(bytes, 0), 0);
    }
}

static void pairs_run(uint64_t count, size_t bytes)
{
    for (uint64_t i = 0; i < count; i++) {
        call_free(call_malloc(bytes));
    }
}

static void neighbours_16(uint64_t count)
{
    neighbours_take(16);
    pairs_run(count, 16);
}

static void pair_64(uint64_t count)
{
    neighbours_take(64);
    pairs_run(count, 64);
}

static void batch_64(uint64_t count)
{
    void *blocks[BATCH];
    for (uint64_t i = 0; i < count; i++) {
        blocks[i % BATCH] = call_malloc(64);
        for (uint64_t left = (i % BATCH == BATCH - 1) ? BATCH : 0; left > 0; left--) {
            call_free(blocks[left - 1]);
        }
    }
}

static void replace_run(uint64_t count, void **slots, uint64_t slot_count, sizes_t sizes)
{
    rng_t rng = rng_seed(0);
    for (uint64_t i = 0; i < count; i++) {
        void **slot = &slots[rng_below(&rng, slot_count)];
        call_free(*slot);
        *slot = call_malloc(size_pick(&rng, sizes));
    }
}

static void replace_random(uint64_t count)
{
    static void *slots[SLOTS];
    replace_run(count, slots, SLOTS, (sizes_t){SLOT_BYTES_MIN, SLOT_BYTES_MAX, false});
}

static void replace_medium(uint64_t count)
{
    static void *slots[MEDIUM_SLOTS];
    replace_run(count, slots, MEDIUM_SLOTS, (sizes_t){KIB, 256 * KIB, true});
}

static void medium(uint64_t count)
{
    pairs_run(count / 2, 4 * KIB);
    pairs_run(count / 2, 64 * KIB);
}

static void large(uint64_t count)
{
    pairs_run(count / 2, 300 * KIB);
    pairs_run(count / 2, MIB);
}

static void calloc_128(uint64_t count)
{
    neighbours_take(128);
    for (uint64_t i = 0; i < count; i++) {
        call_free(call_calloc(128));
    }
}

static void realloc_same(uint64_t count)
{
    void *block = call_malloc(104);
    for (uint64_t i = 0; i < count; i++) {
        block = call_realloc(block, 104 - i % 4); // 101 to 104 B: the same class everywhere
    }
    call_free(block);
}

static void memalign_64(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        call_free(call_memalign(64, 128));
    }
}

// Blocks of mixed sizes that a thread has made which still lives are freed in random order. The two take turns.
static struct {
    void *blocks[HANDED];
    uint64_t rounds;
    sem_t made, freed;
} handed;

static void *handed_make(void *unused)
{
    rng_t rng = rng_seed(1);
    for (uint64_t round = 0; round < handed.rounds; round++) {
        for (int i = 0; i < HANDED; i++) {
            handed.blocks[i] = block_take(rng_between(&rng, SLOT_BYTES_MIN, SLOT_BYTES_MAX), 0);
        }
        shuffle(&rng, handed.blocks, HANDED);
        sem_post(&handed.made);
        sem_wait(&handed.freed);
    }
    return unused;
}

static void others(uint64_t count)
{
    call_free(call_malloc(64)); // a heap of its own
    handed.rounds = count / HANDED;
    sem_init(&handed.made, 0, 0);
    sem_init(&handed.freed, 0, 0);
    pthread_t maker = thread_start(handed_make, NULL);
    for (uint64_t round = 0; round < handed.rounds; round++) {
        sem_wait(&handed.made);
        for (int i = 0; i < HANDED; i++) {
            call_free(handed.blocks[i]);
        }
        sem_post(&handed.freed);
    }
    thread_join(maker);
}

static const struct loop {
    const char *name;
    void (*run)(uint64_t count);
} loops[] = {
    {"pair_64", pair_64},           {"neighbours_16", neighbours_16}, {"batch_64", batch_64},
    {"replace", replace_random},    {"medium", medium},               {"large", large},
    {"calloc_128", calloc_128},     {"realloc_same", realloc_same},   {"memalign_64", memalign_64},
    {"others", others},             {"replace_medium", replace_medium},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof loops / sizeof loops[0]; i++) {
        if (strcmp(argv[1], loops[i].name) == 0) {
            loops[i].run(strtoull(argv[2], NULL, 10));
            return 0;
        }
    }
    fputs("usage: instruction_loops CASE COUNT; cases:", stderr);
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        fprintf(stderr, " %s", loops[i].name);
    }
    fputs("\n", stderr);
    return 2;
}
