// tests/conformance/usable.c - malloc_usable_size: all of it is the block's, from the first moment to the last.
#include <malloc.h>
#include <pthread.h>

#include "facts.h"

#define LARGEST_SIZE ((size_t)300000)

// Groups of neighbours of one size, each filled to the last byte.
static void is_writable(size_t size, void *(*call)(size_t size_bytes))
{
    enum { NEIGHBOURS = 6 };
    void *blocks[NEIGHBOURS];
    size_t usable[NEIGHBOURS];
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        blocks[i] = call(size);
        usable[i] = malloc_usable_size(blocks[i]);
        CHECK(usable[i] >= size, "%zu usable of %zu", usable[i], size);
        block_fill(blocks[i], usable[i], i);
    }
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        CHECK(block_is_filled(blocks[i], usable[i], i), "a neighbour of %zu bytes wrote here", size);
        CHECK(malloc_usable_size(blocks[i]) == usable[i], "of %zu bytes", size);
    }
    for (size_t i = 0; i < NEIGHBOURS; i++)
        free(blocks[(i * 5 + 2) % NEIGHBOURS]);
}

FACT(all_of_the_usable_size_can_be_written_at_every_size)
{
    for (size_t size = 0; size <= LARGEST_SIZE; size = size_next(size))
        is_writable(size, malloc);
}

static void *aligned(size_t size_bytes)
{
    return memalign(256, size_bytes);
}

FACT(all_of_the_usable_size_of_aligned_blocks_can_be_written)
{
    for (size_t size = 0; size <= LARGEST_SIZE / 4; size = size_next(size))
        is_writable(size, aligned);
}

// glibc keeps all that was usable, and programs rely on it.
FACT(realloc_keeps_all_that_was_usable)
{
    for (size_t size = 1; size <= LARGEST_SIZE; size = size_next(size)) {
        void *block = malloc(size);
        size_t usable = malloc_usable_size(block);
        block_fill(block, usable, size);
        block = realloc(block, usable);
        CHECK(malloc_usable_size(block) >= usable, "%zu after realloc to %zu", malloc_usable_size(block), usable);
        block = realloc(block, usable * 2 + 1);
        CHECK(block_is_filled(block, usable, size), "%zu bytes, %zu usable", size, usable);
        free(block);
    }
}

// --- constant --------------------------------------------------------------------------------------------------------

enum { BLOCKS = 4000 };

static void *blocks[BLOCKS];
static size_t usable[BLOCKS];

static void *free_every_second(void *unused)
{
    (void)unused;
    for (size_t i = 1; i < BLOCKS; i += 2)
        free(blocks[i]);
    return NULL;
}

static void *thread_run(void *(*run)(void *))
{
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, run, NULL) == 0, "no thread");
    pthread_join(thread, &result);
    return result;
}

static void *allocate_all(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(i * i % 70001);
        usable[i] = malloc_usable_size(blocks[i]);
    }
    return NULL;
}

static void still_usable(const char *after)
{
    for (size_t i = 0; i < BLOCKS; i += 2)
        CHECK(malloc_usable_size(blocks[i]) == usable[i], "block %zu: %zu, not %zu, after %s", i,
              malloc_usable_size(blocks[i]), usable[i], after);
}

// By a thread that ends, so that its pages change hands; then neighbours go, memory is trimmed, others come.
FACT(the_usable_size_is_constant_for_the_life_of_the_block)
{
    thread_run(allocate_all);
    still_usable("the end of the thread that allocated");
    thread_run(free_every_second);
    still_usable("the free of every second block by another thread");
    malloc_trim(0);
    still_usable("malloc_trim");
    for (size_t i = 1; i < BLOCKS; i += 2)
        blocks[i] = malloc(i % 3000);
    still_usable("new neighbours");
}
