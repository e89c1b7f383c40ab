// tests/conformance/edges.c - sizes of zero and null pointers, as the GNU C library answers them.
#include <malloc.h>

#include "facts.h"

enum { MANY = 1000 };

static int order(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t) * (void *const *)left, b = (uintptr_t) * (void *const *)right;
    return (a > b) - (a < b);
}

// Each a block of its own that can be freed.
static void gives_blocks(const char *function, void *(*call)(void))
{
    static void *blocks[MANY];
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = call();
        CHECK(blocks[i] != NULL && (uintptr_t)blocks[i] % 16 == 0, "%s gave %p", function, blocks[i]);
    }
    qsort(blocks, MANY, sizeof *blocks, order);
    for (size_t i = 1; i < MANY; i++)
        CHECK(blocks[i] != blocks[i - 1], "%s gave %p twice", function, blocks[i]);
    for (size_t i = 0; i < MANY; i++)
        free(blocks[i]);
}

static void *malloc_0(void)
{
    return malloc(0);
}

static void *calloc_0_n(void)
{
    return calloc(0, 100);
}

static void *calloc_n_0(void)
{
    return calloc(100, 0);
}

static void *realloc_null_0(void)
{
    return realloc(NULL, 0);
}

static void *reallocarray_null_0(void)
{
    return reallocarray(NULL, 0, 100);
}

static void *memalign_0(void)
{
    return memalign(64, 0);
}

static void *aligned_alloc_0(void)
{
    return aligned_alloc(64, 0);
}

static void *posix_memalign_0(void)
{
    void *block = NULL;
    CHECK(posix_memalign(&block, 64, 0) == 0, "an error");
    return block;
}

static void *valloc_0(void)
{
    return valloc(0);
}

static void *pvalloc_0(void)
{
    return pvalloc(0);
}

FACT(a_size_of_zero_gives_a_block_of_its_own)
{
    gives_blocks("malloc(0)", malloc_0);
    gives_blocks("calloc(0, n)", calloc_0_n);
    gives_blocks("calloc(n, 0)", calloc_n_0);
    gives_blocks("realloc(NULL, 0)", realloc_null_0);
    gives_blocks("reallocarray(NULL, 0, n)", reallocarray_null_0);
    gives_blocks("memalign(64, 0)", memalign_0);
    gives_blocks("aligned_alloc(64, 0)", aligned_alloc_0);
    gives_blocks("posix_memalign(64, 0)", posix_memalign_0);
    gives_blocks("valloc(0)", valloc_0);
    gives_blocks("pvalloc(0)", pvalloc_0);
}

static const size_t sizes[] = {1, 64, 2000, 20000, 200000, 300000, 5000000};

// Not an error: errno stays. That it freed shows in the memory.
FACT(realloc_to_zero_frees_and_returns_null)
{
    size_t before = rss_bytes();
    for (size_t round = 0; round < 300; round++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            char *block = malloc(sizes[i]);
            memset(block, 1, sizes[i] < 4096 ? sizes[i] : 4096);
            errno = EXDEV;
            void *left = round % 2 == 0 ? realloc(block, 0) : reallocarray(block, round % 3, round % 3 == 0 ? 100 : 0);
            CHECK(left == NULL && errno == EXDEV, "%p left of %zu bytes", left, sizes[i]);
        }
    CHECK(rss_bytes() < before + 4 * MIB, "grown from %zu to %zu", before, rss_bytes());
}

FACT(realloc_of_null_is_malloc)
{
    for (size_t size = 0; size < 2 * MIB; size = size * 2 + 1) {
        char *block = realloc(NULL, size), *other = reallocarray(NULL, size, 2);
        CHECK(block != NULL && malloc_usable_size(block) >= size, "%zu", size);
        CHECK(other != NULL && malloc_usable_size(other) >= 2 * size, "%zu", size);
        memset(block, 1, size);
        memset(other, 1, 2 * size);
        free(block);
        free(other);
    }
}

FACT(free_of_null_does_nothing)
{
    for (size_t i = 0; i < MANY; i++)
        free(NULL);
}

FACT(the_usable_size_of_null_is_zero)
{
    CHECK(malloc_usable_size(NULL) == 0, "%zu", malloc_usable_size(NULL));
}
