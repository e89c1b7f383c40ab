// tests/conformance/enomem.c - what cannot be had is refused with ENOMEM, by every function, and nothing else happens.
#include <malloc.h>

#include "facts.h"

// Over PTRDIFF_MAX, near the end of size_t where adding anything overflows, and more than there are addresses.
static volatile const size_t unservable[] = {
    (size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX + 4096, SIZE_MAX / 4 * 3, SIZE_MAX - 65536, SIZE_MAX - 4096,
    SIZE_MAX - 4095,         SIZE_MAX - 64,              SIZE_MAX - 15,    SIZE_MAX - 1,     SIZE_MAX,
    (size_t)PTRDIFF_MAX,     (size_t)PTRDIFF_MAX - 4096, (size_t)1 << 62,  (size_t)1 << 48,
};

// A block of each tier.
static const size_t sizes[] = {1, 64, 512, 2000, 20000, 200000, 300000, 5000000};

static void refuses(const char *function, void *(*call)(size_t size_bytes))
{
    for (size_t i = 0; i < COUNT(unservable); i++) {
        errno = 0;
        void *block = call(unservable[i]);
        CHECK(block == NULL && errno == ENOMEM, "%s of %zu gave %p", function, unservable[i], block);
    }
}

// The block must be there after the refusal, with its contents, its place and its size.
static void refuses_and_keeps(const char *function, void *(*call)(void *block, size_t size_bytes))
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = malloc(sizes[i]);
        size_t usable = malloc_usable_size(block);
        block_fill(block, usable, i);
        for (size_t j = 0; j < COUNT(unservable); j++) {
            errno = 0;
            void *moved = call(block, unservable[j]);
            CHECK(moved == NULL && errno == ENOMEM, "%s of %zu bytes to %zu", function, sizes[i], unservable[j]);
            CHECK(malloc_usable_size(block) == usable, "%s of %zu bytes failed and changed it", function, sizes[i]);
            CHECK(block_is_filled(block, usable, i), "%s of %zu bytes failed and wrote in it", function, sizes[i]);
        }
        free(block);
    }
}

FACT(malloc_refuses_with_enomem)
{
    refuses("malloc", malloc);
}

static void *calloc_one(size_t size_bytes)
{
    return calloc(1, size_bytes);
}

static void *calloc_many(size_t size_bytes)
{
    return calloc(size_bytes, 1);
}

FACT(calloc_refuses_with_enomem)
{
    refuses("calloc(1, n)", calloc_one);
    refuses("calloc(n, 1)", calloc_many);
}

// Products that overflow to a small number, too: 2^32 * 2^32 is 0.
static volatile const size_t factors[][2] = {
    {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX, 2},          {2, SIZE_MAX},       {SIZE_MAX, SIZE_MAX},
    {SIZE_MAX / 2 + 1, 2},              {3, SIZE_MAX / 3 + 1},  {SIZE_MAX / 16, 17}, {((size_t)1 << 63) + 8, 2},
    {(size_t)1 << 33, (size_t)1 << 30}, {(size_t)1 << 61, 8 + 1},
};

FACT(calloc_refuses_a_product_that_overflows)
{
    for (size_t i = 0; i < COUNT(factors); i++) {
        errno = 0;
        void *block = calloc(factors[i][0], factors[i][1]);
        CHECK(block == NULL && errno == ENOMEM, "calloc(%zu, %zu) gave %p", factors[i][0], factors[i][1], block);
    }
}

static void *realloc_none(size_t size_bytes)
{
    return realloc(NULL, size_bytes);
}

FACT(realloc_of_null_refuses_with_enomem)
{
    refuses("realloc(NULL, n)", realloc_none);
}

FACT(realloc_that_fails_leaves_the_block_as_it_was)
{
    refuses_and_keeps("realloc", realloc);
}

static void *reallocarray_one(void *block, size_t size_bytes)
{
    return reallocarray(block, 1, size_bytes);
}

FACT(reallocarray_that_fails_leaves_the_block_as_it_was)
{
    refuses_and_keeps("reallocarray", reallocarray_one);
}

FACT(reallocarray_refuses_a_product_that_overflows)
{
    void *block = malloc(100);
    block_fill(block, 100, 1);
    for (size_t i = 0; i < COUNT(factors); i++) {
        errno = 0;
        CHECK(reallocarray(block, factors[i][0], factors[i][1]) == NULL && errno == ENOMEM, "%zu * %zu", factors[i][0],
              factors[i][1]);
        errno = 0;
        CHECK(reallocarray(NULL, factors[i][0], factors[i][1]) == NULL && errno == ENOMEM, "%zu * %zu", factors[i][0],
              factors[i][1]);
        CHECK(block_is_filled(block, 100, 1), "the block was touched");
    }
    free(block);
}

// --- with an alignment -----------------------------------------------------------------------------------------------

static size_t alignment;

static void *memalign_now(size_t size_bytes)
{
    return memalign(alignment, size_bytes);
}

static void *aligned_alloc_now(size_t size_bytes)
{
    return aligned_alloc(alignment, size_bytes);
}

static void refuses_at_every_alignment(const char *function, void *(*call)(size_t size_bytes))
{
    for (alignment = 1; alignment <= (size_t)1 << 62; alignment *= 2)
        refuses(function, call);
}

FACT(memalign_refuses_with_enomem_at_every_alignment)
{
    refuses_at_every_alignment("memalign", memalign_now);
}

FACT(aligned_alloc_refuses_with_enomem_at_every_alignment)
{
    refuses_at_every_alignment("aligned_alloc", aligned_alloc_now);
}

// The size is small, the alignment is more than there are addresses.
FACT(an_alignment_beyond_the_address_space_is_refused_with_enomem)
{
    for (volatile size_t huge = (size_t)1 << 48; huge != 0; huge *= 2)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            errno = 0;
            CHECK(memalign(huge, sizes[i]) == NULL && errno == ENOMEM, "memalign(%#zx, %zu)", huge, sizes[i]);
            errno = 0;
            CHECK(aligned_alloc(huge, sizes[i]) == NULL && errno == ENOMEM, "aligned_alloc(%#zx, %zu)", huge, sizes[i]);
            void *block = NULL;
            CHECK(posix_memalign(&block, huge, sizes[i]) == ENOMEM, "posix_memalign(%#zx, %zu)", huge, sizes[i]);
        }
}

// It says so by its value; what errno is then, nobody promises.
FACT(posix_memalign_returns_enomem_and_leaves_the_result)
{
    for (size_t align = sizeof(void *); align <= MIB; align *= 2)
        for (size_t i = 0; i < COUNT(unservable); i++) {
            void *block = &block;
            int error = posix_memalign(&block, align, unservable[i]);
            CHECK(error == ENOMEM, "posix_memalign(%zu, %zu) gave %d", align, unservable[i], error);
            CHECK(block == (void *)&block, "the result became %p", block);
        }
}

FACT(valloc_refuses_with_enomem)
{
    refuses("valloc", valloc);
}

FACT(pvalloc_refuses_with_enomem_what_overflows_when_rounded_up)
{
    refuses("pvalloc", pvalloc);
}
