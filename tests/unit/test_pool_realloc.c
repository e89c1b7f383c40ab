// tests/unit/test_pool_realloc.c - realloc through the front: what stays, what moves, and what becomes large.
#include <criterion/criterion.h>

#include "fixture.h"
#include "misused.h"

#define MIB ((size_t)1 << 20)

TestSuite(pool_realloc, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(pool_realloc, realloc_keeps_what_is_there_from_every_class_to_every_other)
{
    for (size_t from = 1; from < 2 * MIB; from = from * 3 + 1)
        for (size_t to = 1; to < 2 * MIB; to = to * 3 + 1) {
            unsigned char *block = pool_malloc(from);
            for (size_t i = 0; i < from; i++)
                block[i] = (unsigned char)(i * 7 + i / 251);
            block = pool_realloc(block, to);
            cr_assert_geq(pool_usable_size(block), to);
            for (size_t i = 0; i < size_min(from, to); i++)
                cr_assert_eq(block[i], (unsigned char)(i * 7 + i / 251), "%zu to %zu", from, to);
            pool_free(block);
        }
}

Test(pool_realloc, a_block_that_grows_becomes_large_and_goes_on_growing_where_it_is)
{
    size_t least = large_growing_least();
    char *block = pool_malloc(least / 2);
    memset(block, 3, least / 2);
    cr_assert(!large_in_range(block));
    char *grown = pool_realloc(block, least);
    cr_assert(large_in_range(grown));
    char *next_to_it = pool_realloc(pool_malloc(least / 2), least);
    for (size_t size = least; size <= MEDIUM_MAX_BYTES; size += size / 8) {
        cr_assert_eq(pool_realloc(grown, size), grown, "moved at %zu", size);
        cr_assert_geq(pool_usable_size(grown), size);
        grown[size - 1] = 5;
    }
    cr_assert_eq(grown[0], 3);
    cr_assert_eq(grown[least / 2 - 1], 3);
    pool_free(next_to_it);
    pool_free(grown);
}

Test(pool_realloc, a_block_that_grew_and_shrinks_to_little_is_in_a_page_again)
{
    size_t least = large_growing_least();
    char *block = pool_realloc(pool_malloc(least / 2), least);
    block[0] = 7;
    char *shorter = pool_realloc(block, least / 2 + 1);
    cr_assert(large_in_range(shorter));
    char *little = pool_realloc(shorter, 100);
    cr_assert(!large_in_range(little));
    cr_assert_eq(little[0], 7);
    pool_free(little);
}

Test(pool_realloc, requests_of_the_same_size_that_do_not_grow_stay_in_pages)
{
    char *block = pool_malloc(MEDIUM_MAX_BYTES);
    cr_assert(!large_in_range(block));
    cr_assert(!large_in_range(pool_realloc(block, MEDIUM_MAX_BYTES / 3)), "a shrink is no growth");
}

Test(pool_realloc, realloc_within_the_block_leaves_it_where_it_is)
{
    void *block = pool_malloc(1000);
    cr_assert_eq(pool_realloc(block, 1008), block);
    cr_assert_eq(pool_realloc(block, 600), block);
    cr_assert_neq(pool_realloc(block, 100), block, "less than half: the rest would be waste");
}

// Its page is there, and the block on no list: the step that it lay in was given back.
Test(pool_realloc, realloc_of_a_block_whose_carve_step_went_back_is_reported)
{
    static void *blocks[2000];
    unsigned reported = 0;
    for (unsigned i = 0; i < 2000; i++)
        blocks[i] = pool_malloc(256);
    for (unsigned i = 0; i < 2000; i++)
        if (i % 64 != 0)
            pool_free(blocks[i]);
    pool_trim(0);
    for (unsigned i = 0; i < 2000 && reported < 10; i++) {
        page_t *page = support_page(blocks[i]);
        size_t step = (size_t)((char *)blocks[i] - page->start) / CARVE_BYTES;
        if (page_owner(page) == NULL || page->carved >> step & 1)
            continue;
        cr_assert_null(pool_realloc(blocks[i], 5000));
        misused("realloc", blocks[i], "not a live block");
        reported++;
    }
    cr_assert_eq(reported, 10);
}
