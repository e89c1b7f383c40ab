// tests/conformance/realloc.c - contents move with the block, whatever it grows or shrinks to.
#include <malloc.h>

#include "facts.h"

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

FACT(contents_are_kept_from_every_size_to_every_other)
{
    static const size_t sizes[] = {1,     8,     16,    17,    24,     32,     48,     63,     64,     100,    128,   200,
                                   255,   256,   257,   400,   500,    512,    513,    640,    1000,   1024,   1025,  1500,
                                   2048,  3000,  4095,  4096,  4097,   5000,   8192,   10000,  16384,  20000,  32767, 32768,
                                   32769, 40000, 65536, 65537, 100000, 131072, 131073, 200000, 262143, 262144, 262145,
                                   300000, 524288, 700000, 1000000, 1048577, 2000000, 3000000};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t j = 0; j < COUNT(sizes); j++) {
            void *block = malloc(sizes[i]), *neighbour = malloc(sizes[i]);
            block_fill(block, sizes[i], j);
            block_fill(neighbour, sizes[i], j + 1);
            block = realloc(block, sizes[j]);
            CHECK(block != NULL && malloc_usable_size(block) >= sizes[j], "%zu to %zu", sizes[i], sizes[j]);
            CHECK(block_is_filled(block, smaller(sizes[i], sizes[j]), j), "%zu to %zu", sizes[i], sizes[j]);
            block_fill(block, sizes[j], j + 2);
            CHECK(block_is_filled(neighbour, sizes[i], j + 1), "%zu to %zu, neighbour", sizes[i], sizes[j]);
            free(block);
            free(neighbour);
        }
}

// Log-uniform sizes to 4 MiB; the start is printed with every failure.
FACT(contents_are_kept_on_a_random_walk)
{
    enum { BLOCKS = 50, STEPS = 20000 };
    const uint64_t start = 20231;
    uint64_t state = start;
    void *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    for (size_t step = 0; step < STEPS; step++) {
        size_t i = random_next(&state) % BLOCKS, size = 1 + (random_next(&state) >> 42 >> random_next(&state) % 22);
        blocks[i] = realloc(blocks[i], size);
        CHECK(blocks[i] != NULL && block_is_filled(blocks[i], smaller(sizes[i], size), i),
              "seed %zu, step %zu: %zu to %zu bytes", (size_t)start, step, sizes[i], size);
        sizes[i] = size;
        block_fill(blocks[i], size, i);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

// 300 MiB in steps of an eighth, then back down to nothing.
FACT(a_vector_keeps_its_contents_while_it_grows_and_shrinks)
{
    const size_t largest = 300 * MIB / sizeof(uint64_t), stride = 512;
    size_t filled = 0, size;
    uint64_t *block = NULL;
    for (size = 100; size < largest; size += size / 8) {
        block = realloc(block, size * sizeof *block);
        CHECK(block != NULL, "no %zu bytes", size * sizeof *block);
        for (; filled < size; filled += stride)
            block[filled] = filled;
    }
    for (; size > 100; size = size * 3 / 4) {
        block = realloc(block, size * sizeof *block);
        for (size_t i = 0; i < size && i < filled; i += stride)
            CHECK(block[i] == i, "%zu at %zu of %zu", (size_t)block[i], i, size);
    }
    free(block);
}

FACT(shrinking_gives_memory_back)
{
    const size_t size = 64 * MIB;
    char *block = malloc(size);
    memset(block, 1, size);
    size_t before = rss_bytes();
    block = realloc(block, 1000);
    CHECK(rss_bytes() < before - size + 4 * MIB, "%zu before, %zu after", before, rss_bytes());
    free(block);
}

// More than there is memory, with three pages of it touched: copied instead of moved, it would take all memory.
FACT(a_sparse_block_stays_sparse_when_it_grows)
{
    for (size_t size = 100 * MIB; size <= 4000000 * MIB; size *= 4) {
        char *block = malloc(size);
        if (block == NULL && size > 1000 * MIB)
            return; // the kernel does not promise so much
        block[0] = block[size / 2] = block[size - 1] = 's';
        size_t before = rss_bytes();
        alarm(3); // before it has taken much
        block = realloc(block, size * 2);
        alarm(0);
        CHECK(block != NULL && rss_bytes() < before + 4 * MIB, "%zu MiB: from %zu to %zu", size / MIB, before, rss_bytes());
        CHECK(block[0] == 's' && block[size / 2] == 's' && block[size - 1] == 's', "%zu MiB", size / MIB);
        free(block);
    }
}
