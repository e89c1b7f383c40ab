// tests/unit/test_pool_trim.c - everything kept is given back at once. What is kept, and when it goes by itself, is in test_purge.c.
#include <criterion/criterion.h>

#include "budget.h"
#include "fixture.h"
#include "pool_trim.h"

TestSuite(pool_trim, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

static void come_and_go(void)
{
    static void *blocks[1000];
    for (unsigned i = 0; i < 1000; i++)
        memset(blocks[i] = pool_malloc(i * 500 + 1), 1, i * 500 + 1);
    for (unsigned i = 0; i < 1000; i++)
        pool_free(blocks[i]);
}

Test(pool_trim, all_that_is_kept_goes_back_and_then_there_is_nothing)
{
    come_and_go();
    cr_assert(pool_trim_all(heap_self));
    cr_assert_eq(budget_retained(), 0);
    cr_assert_not(pool_trim_all(heap_self));
}

Test(pool_trim, it_leaves_what_is_to_be_kept)
{
    come_and_go();
    size_t kept = budget_retained();
    cr_assert_gt(kept, 0);
    cr_assert_not(pool_trim(kept));
    cr_assert(pool_trim(kept / 2));
    cr_assert_leq(budget_retained(), kept / 2);
}

Test(pool_trim, a_heap_that_was_withdrawn_from_serves_on)
{
    come_and_go();
    pool_trim_withdraw(heap_self);
    cr_assert_eq(budget_retained(), 0);
    come_and_go();
}
