// tests/conformance/errno.c - free keeps errno, as POSIX has it since 2024, and so does whatever succeeds.
#include <malloc.h>

#include "facts.h"

#define UNUSUAL 4242 // no error has this number

static const size_t sizes[] = {0, 1, 64, 512, 1000, 2000, 20000, 200000, 300000, 5000000, 100000000};

static void kept(const char *function, size_t size_bytes)
{
    CHECK(errno == UNUSUAL, "%s, %zu bytes", function, size_bytes);
}

FACT(free_keeps_errno)
{
    errno = UNUSUAL;
    free(NULL);
    kept("free(NULL)", 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = malloc(sizes[i]);
        errno = UNUSUAL;
        free(block);
        kept("free", sizes[i]);
    }
}

// Many: so that pages are emptied, given back and purged, all of it in free.
FACT(free_keeps_errno_while_memory_goes_back_to_the_kernel)
{
    enum { BLOCKS = 20000 };
    void **blocks = malloc(BLOCKS * sizeof *blocks);
    for (size_t i = 0; i < COUNT(sizes) && sizes[i] <= 20000; i++) {
        for (size_t j = 0; j < BLOCKS / 10; j++) {
            blocks[j] = malloc(sizes[i]);
            memset(blocks[j], 1, sizes[i]);
        }
        errno = UNUSUAL;
        for (size_t j = 0; j < BLOCKS / 10; j++)
            free(blocks[j]);
        kept("free", sizes[i]);
    }
    free(blocks);
}

FACT(what_succeeds_keeps_errno)
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *aligned = NULL;
        errno = UNUSUAL;
        void *blocks[] = {malloc(sizes[i]), calloc(1, sizes[i]), memalign(64, sizes[i]), valloc(sizes[i])};
        kept("malloc, calloc, memalign, valloc", sizes[i]);
        CHECK(posix_memalign(&aligned, 4096, sizes[i]) == 0, "%zu", sizes[i]);
        kept("posix_memalign", sizes[i]);
        blocks[0] = realloc(blocks[0], sizes[i] + 100000);
        blocks[0] = realloc(blocks[0], sizes[i] / 2 + 1);
        CHECK(malloc_usable_size(blocks[0]) > sizes[i] / 2, "%zu", sizes[i]);
        kept("realloc, malloc_usable_size", sizes[i]);
        for (size_t j = 0; j < COUNT(blocks); j++)
            free(blocks[j]);
        free(aligned);
    }
}
