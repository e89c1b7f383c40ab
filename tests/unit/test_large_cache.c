// tests/unit/test_large_cache.c - freed large blocks that are kept: which one fits, and which goes first.
#include <criterion/criterion.h>

#include "books.h"
#include "budget.h"
#include "fixture.h"
#include "large.h"
#include "large_cache.h"

#define MIB ((size_t)1 << 20)

TestSuite(large_cache, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(large_cache, a_freed_block_is_cached_and_served_again)
{
    char *block = pool_malloc(MIB / 2);
    memset(block, 0x5a, MIB / 2);
    pool_free(block);
    cr_assert_eq(budget_retained(), MIB / 2);
    cr_assert_eq(books_resident(block, block + MIB / 2), MIB / 2);
    cr_assert_eq(pool_malloc(MIB / 2), block);
    cr_assert_eq(budget_retained(), 0);
}

Test(large_cache, of_several_cached_blocks_the_best_fit_is_served)
{
    static const size_t sizes[] = {436 << 10, 316 << 10, 380 << 10};
    char *blocks[3];
    pool_malloc(40 * MIB); // so that the budget has room
    for (unsigned i = 0; i < 3; i++)
        memset(blocks[i] = pool_malloc(sizes[i]), 0x5a, sizes[i]);
    for (unsigned i = 0; i < 3; i++)
        pool_free(blocks[i]);
    cr_assert_eq(pool_malloc(376 << 10), blocks[2]);
    cr_assert_eq(pool_malloc(300 << 10), blocks[1]);
}

Test(large_cache, a_much_larger_cached_block_is_left_alone)
{
    char *block = pool_malloc(MIB);
    pool_free(block);
    cr_assert_neq(pool_malloc(MIB / 2), block);
}

Test(large_cache, beyond_the_budget_nothing_is_kept)
{
    char *block = pool_malloc(64 * MIB);
    memset(block, 0x5a, 64 * MIB);
    pool_free(block);
    cr_assert_eq(books_resident(block, block + 64 * MIB), 0);
    cr_assert_leq(budget_retained(), BUDGET_FLOOR_BYTES);
}

Test(large_cache, they_stand_in_the_order_in_which_they_came_until_they_are_taken)
{
    extent_id_t id[3];
    cr_assert(lock_take(&extent_lock));
    cr_assert_eq(large_cache_oldest(), 0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_neq(id[i] = extent_get(16, LARGE_GRAIN_BYTES), 0);
    for (unsigned i = 0; i < 3; i++)
        large_cache_add(id[i]);
    cr_assert_eq(large_cache_oldest(), id[0]);
    large_cache_remove(id[0]);
    cr_assert_eq(large_cache_oldest(), id[1]);
    large_cache_remove(id[2]);
    cr_assert_eq(large_cache_oldest(), id[1]);
    large_cache_remove(id[1]);
    cr_assert_eq(large_cache_oldest(), 0);
    for (unsigned i = 0; i < 3; i++)
        extent_put(id[i]);
    lock_give(&extent_lock);
}

Test(large_cache, the_shortest_that_is_long_and_aligned_enough_is_found)
{
    static const uint32_t grains[] = {20, 12, 16};
    extent_id_t id[3];
    cr_assert(lock_take(&extent_lock));
    for (unsigned i = 0; i < 3; i++)
        large_cache_add(id[i] = extent_get(grains[i], LARGE_GRAIN_BYTES));
    cr_assert_eq(large_cache_find(10, 30, LARGE_GRAIN_BYTES), id[1]);
    cr_assert_eq(large_cache_find(13, 30, LARGE_GRAIN_BYTES), id[2]);
    cr_assert_eq(large_cache_find(17, 30, LARGE_GRAIN_BYTES), id[0]);
    cr_assert_eq(large_cache_find(17, 19, LARGE_GRAIN_BYTES), 0, "too long");
    cr_assert_eq(large_cache_find(21, 30, LARGE_GRAIN_BYTES), 0, "too short");
    cr_assert_eq(large_cache_find(10, 30, (size_t)1 << 46), 0, "not aligned");
    for (unsigned i = 0; i < 3; i++) {
        large_cache_remove(id[i]);
        extent_put(id[i]);
    }
    lock_give(&extent_lock);
}
