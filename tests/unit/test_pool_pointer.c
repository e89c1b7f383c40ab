// tests/unit/test_pool_pointer.c - what a pointer is: its usable size, or the mistake that it is.
#include <criterion/criterion.h>

#include "fixture.h"
#include "misused.h"

#define MIB ((size_t)1 << 20)

TestSuite(pool_pointer, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(pool_pointer, null_can_be_freed_measured_and_resized)
{
    pool_free(NULL);
    cr_assert_eq(pool_usable_size(NULL), 0);
    cr_assert_not_null(pool_realloc(NULL, 100));
    cr_assert_eq(support_misuses, 0);
}

Test(pool_pointer, the_usable_size_stays_the_same_for_the_blocks_life)
{
    static void *blocks[500];
    static size_t usable[500];
    for (unsigned i = 0; i < 500; i++)
        usable[i] = pool_usable_size(blocks[i] = pool_malloc(i * 700));
    for (unsigned i = 0; i < 500; i += 2)
        pool_free(blocks[i]);
    pool_trim(0);
    for (unsigned i = 1; i < 500; i += 2)
        cr_assert_eq(pool_usable_size(blocks[i]), usable[i]);
}

Test(pool_pointer, a_free_of_what_was_never_allocated_is_reported)
{
    char *block = pool_malloc(100);
    page_t *page = support_page(block);
    char *uncarved = page_block(page, page_class(page)->block_count - 1);
    cr_assert_eq(pool_usable_size(uncarved), 0);
    misused("malloc_usable_size", uncarved, "not a live block");
}

Test(pool_pointer, a_foreign_pointer_is_known_by_its_address_alone)
{
    static block_t local;
    void *others = malloc(100), *nowhere = (void *)(uintptr_t)0x123450;
    pool_free(&local);
    misused("free", &local, "not from this heap");
    pool_free(others);
    misused("free", others, "not from this heap");
    pool_free(nowhere);
    misused("free", nowhere, "not from this heap");
    cr_assert_null(pool_realloc(others, 10));
    misused("realloc", others, "not from this heap");
    cr_assert_eq(pool_usable_size(nowhere), 0);
    misused("malloc_usable_size", nowhere, "not from this heap");
    free(others);
}

Test(pool_pointer, realloc_and_usable_size_of_a_freed_block_are_reported)
{
    void *medium = pool_malloc(5000), *large = pool_malloc(MIB);
    pool_free(medium);
    pool_free(large);
    cr_assert_null(pool_realloc(medium, 10));
    misused("realloc", medium, "not a live block");
    cr_assert_eq(pool_usable_size(large), 0);
    misused("malloc_usable_size", large, "not a live block");
}
