// tests/conformance/calloc.c - zeroed, whatever was there before.
#include <malloc.h>
#include <pthread.h>

#include "facts.h"

#define DIRT 0xa5
#define LARGEST_SIZE MIB

enum { BLOCKS = 8 };

static void *blocks[BLOCKS];

static void dirty_allocate(size_t size)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(size);
        memset(blocks[i], DIRT, malloc_usable_size(blocks[i]));
    }
}

static void all_free(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static void zeroed_allocate(size_t count, size_t size)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = calloc(count, size);
        CHECK(block_is_zero(blocks[i], count * size), "calloc(%zu, %zu) is not zero", count, size);
        memset(blocks[i], DIRT, count * size);
    }
    all_free();
}

// From a size to the next more room the larger it is, to keep the time even.
static size_t size_further(size_t size)
{
    return size < 20000 ? size_next(size) : size + size / 16 + 1;
}

FACT(calloc_is_zeroed_after_dirty_blocks_of_the_same_size)
{
    for (size_t size = 1; size <= LARGEST_SIZE; size = size_further(size)) {
        dirty_allocate(size);
        all_free();
        zeroed_allocate(1, size);
    }
}

FACT(calloc_is_zeroed_when_count_and_size_both_count)
{
    for (size_t count = 1; count <= 3000; count = count * 5 + 2)
        for (size_t size = 1; size <= 300; size = size * 3 + 1) {
            dirty_allocate(count * size);
            all_free();
            zeroed_allocate(count, size);
        }
}

// Blocks of other sizes were there before: memory changes its class.
FACT(calloc_is_zeroed_after_dirty_blocks_of_another_size)
{
    for (size_t size = 16; size <= LARGEST_SIZE; size = size * 2 + 16) {
        dirty_allocate(size * 3 + 5);
        all_free();
        zeroed_allocate(1, size);
        dirty_allocate(size / 3 + 5);
        all_free();
        zeroed_allocate(1, size);
    }
}

static void *all_free_there(void *unused)
{
    (void)unused;
    all_free();
    return NULL;
}

FACT(calloc_is_zeroed_after_frees_by_another_thread)
{
    for (size_t size = 16; size <= LARGEST_SIZE; size = size * 3 / 2) {
        pthread_t thread;
        dirty_allocate(size);
        CHECK(pthread_create(&thread, NULL, all_free_there, NULL) == 0, "no thread");
        pthread_join(thread, NULL);
        zeroed_allocate(1, size);
    }
}

// What a large block gives up and what it gains by realloc must not come back as fresh zero pages.
FACT(calloc_is_zeroed_after_realloc_of_dirty_blocks)
{
    for (size_t size = 4096; size <= 8 * MIB; size *= 2) {
        dirty_allocate(size);
        for (size_t i = 0; i < BLOCKS; i++)
            blocks[i] = realloc(blocks[i], size / 2 + 100);
        zeroed_allocate(1, size / 2);
        dirty_allocate(size / 2);
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = realloc(blocks[i], size);
            memset(blocks[i], DIRT, size);
        }
        all_free();
        zeroed_allocate(1, size);
    }
}

FACT(calloc_is_zeroed_after_malloc_trim)
{
    for (size_t size = 100; size <= 4 * MIB; size *= 3) {
        dirty_allocate(size);
        all_free();
        malloc_trim(0);
        zeroed_allocate(1, size);
    }
}

FACT(calloc_is_zeroed_among_many_sizes_at_random)
{
    enum { LIVE = 2000, STEPS = 300000 };
    static unsigned char *live[LIVE];
    static size_t sizes[LIVE];
    const uint64_t start = 77;
    uint64_t state = start;
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = random_next(&state) % LIVE, size = 1 + (random_next(&state) >> 48 >> random_next(&state) % 16);
        free(live[i]);
        live[i] = calloc(1, size);
        CHECK(block_is_zero(live[i], size), "seed %zu, step %zu, %zu bytes", (size_t)start, step, size);
        memset(live[i], DIRT, sizes[i] = malloc_usable_size(live[i]));
    }
}
