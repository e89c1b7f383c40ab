// tests/unit/test_large_direct.c - large blocks outside the range: found by their address, and between guards (harden=2).
#include <criterion/criterion.h>

#include "fixture.h"
#include "large.h"
#include "large_direct.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)

TestSuite(large_direct, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

#define COUNT 3000u // more than the table has places

Test(large_direct, each_is_found_at_its_start_and_met_once_in_a_walk)
{
    static extent_id_t id[COUNT];
    unsigned met = 0;
    cr_assert(lock_take(&extent_lock));
    cr_assert_eq(large_direct_next(0), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_neq(id[i] = large_direct_get(os_page_bytes(), 1), 0);
        extent_node(id[i])->used_bytes = os_page_bytes();
    }
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(large_direct_find(extent_node(id[i])->start), id[i]);
        cr_assert_eq(large_direct_find(extent_node(id[i])->start + 16), 0);
    }
    for (extent_id_t at = large_direct_next(0); at != 0; at = large_direct_next(at))
        met++;
    cr_assert_eq(met, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        const char *start = extent_node(id[i])->start;
        large_direct_free(id[i]);
        cr_assert_eq(large_direct_find(start), 0);
    }
    cr_assert_eq(large_direct_next(0), 0);
    lock_give(&extent_lock);
}

static void begin_guarded(void)
{
    support_harden = 2;
    fixture_begin();
}

TestSuite(large_direct_guarded, .init = begin_guarded, .fini = fixture_end, .timeout = 60);

Test(large_direct_guarded, nothing_can_be_written_before_or_behind_a_block)
{
    char *block = pool_malloc(MIB);
    cr_assert(support_writable(block));
    cr_assert(support_writable(block + MIB - 1));
    cr_assert_not(support_writable(block - 1));
    cr_assert_not(support_writable(block + MIB));
    cr_assert_eq(large_free(block + 16), LARGE_INTERIOR);
    pool_free(block);
}

Test(large_direct_guarded, a_freed_block_cannot_be_written_until_many_more_are_freed)
{
    char *block = pool_malloc(MIB);
    pool_free(block);
    for (unsigned i = 0; i < 63; i++) {
        char *other = pool_malloc(MIB);
        cr_assert_neq(other, block);
        pool_free(other);
        cr_assert_not(support_writable(block));
    }
    cr_assert_eq(support_misuses, 0);
}

Test(large_direct_guarded, it_shrinks_where_it_is_and_its_guard_comes_along)
{
    char *block = pool_malloc(2 * MIB);
    cr_assert_eq(pool_realloc(block, MIB), block);
    cr_assert(support_writable(block + MIB - 1));
    cr_assert_not(support_writable(block + MIB));
    char *grown = pool_realloc(block, 2 * MIB);
    cr_assert_neq(grown, block, "between guards there is no room");
    pool_free(grown);
}
