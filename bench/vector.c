// vector.c - what does it cost to grow one block by realloc, as a vector, a string builder or a file buffer does?
//
// The vector fills each step's new bytes (one write an OS page) before it grows again. `grow_ns` is the time inside
// realloc alone: copying, and touching what is copied to. The rest, the first touch, is the same for all.

#include <stdlib.h>

#include "bench.h"

static uint64_t mib = 512, percent = 50, rounds = 1;

enum {
    FIRST_BYTES = 64,
    NEIGHBOURS_MAX = 1024, // steps: enough for growth by 2 %
};

static uint64_t grow_ns = 0;

static char *vector_grow(char *vector, size_t bytes)
{
    uint64_t start = time_ns();
    char *grown = realloc(vector, bytes);
    grow_ns += time_ns() - start;
    if (grown == NULL) {
        fail("realloc");
    }
    return grown;
}

static void vector_fill(char *vector, size_t from, size_t to)
{
    for (size_t offset = from; offset < to; offset += OS_PAGE_BYTES) {
        vector[offset] = (char)(offset / OS_PAGE_BYTES);
    }
    vector[to - 1] = 1;
}

// A neighbour taken after each step stands in the way, as other blocks of a program do.
static uint64_t vector_run(void)
{
    void *neighbours[NEIGHBOURS_MAX];
    size_t bytes = FIRST_BYTES, steps = 0;
    char *vector = vector_grow(NULL, bytes);
    vector_fill(vector, 0, bytes);
    while (bytes < mib * MIB && steps < NEIGHBOURS_MAX) {
        size_t larger = bytes + bytes * percent / 100;
        larger = larger < mib * MIB ? larger : mib * MIB;
        vector = vector_grow(vector, larger);
        vector_fill(vector, bytes, larger);
        bytes = larger;
        neighbours[steps] = block_take(OS_PAGE_BYTES, steps);
        steps++;
    }
    uint64_t sum = (uint64_t)vector[bytes - 1] + bytes;
    free(vector);
    while (steps > 0) {
        sum += block_give(neighbours[--steps]);
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){{"mib", &mib}, {"percent", &percent}, {"rounds", &rounds}, {NULL, NULL}});
    uint64_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        sum += vector_run();
    }
    report("grow_ns", grow_ns);
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
