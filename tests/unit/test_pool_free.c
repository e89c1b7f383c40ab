// tests/unit/test_pool_free.c - frees of what is not live: each is reported by its name, and the heap stays whole.
#include <criterion/criterion.h>

#include "fixture.h"
#include "misused.h"

#define MIB ((size_t)1 << 20)

TestSuite(pool_free, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(pool_free, a_double_free_is_reported_and_the_heap_stays_whole)
{
    void *block = pool_malloc(100);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free");
    cr_assert_eq(support_misuse.block_bytes, 112);
    cr_assert_neq(pool_malloc(100), pool_malloc(100));
}

Test(pool_free, a_double_free_of_a_large_block_is_reported)
{
    void *block = pool_malloc(MIB);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free, or never allocated");
}

static void free_twice(void *block)
{
    pool_free(block);
    pool_free(block);
}

Test(pool_free, a_double_free_of_another_threads_block_is_reported)
{
    void *block = pool_malloc(100);
    pool_malloc(100);
    support_thread(free_twice, block);
    misused("free", block, "double free");
}

Test(pool_free, a_free_inside_a_block_is_reported)
{
    char *medium = pool_malloc(5000), *large = pool_malloc(MIB);
    pool_free(medium + 16);
    misused("free", medium + 16, "not the start of a block");
    pool_free(large + 4096);
    misused("free", large + 4096, "not the start of a block");
    memset(medium, 0x5a, 5000);
    memset(large, 0x5a, MIB);
}

Test(pool_free, a_free_of_a_page_that_went_back_is_reported)
{
    static void *blocks[2000];
    for (unsigned i = 0; i < 2000; i++)
        blocks[i] = pool_malloc(64);
    for (unsigned i = 0; i < 2000; i++)
        pool_free(blocks[i]);
    cr_assert_null(page_owner(support_page(blocks[0])));
    pool_free(blocks[0]);
    misused("free", blocks[0], "double free, or never allocated");
}
