// tests/unit/test_pool.c - the pool starts when it is first used.
#include <criterion/criterion.h>

#include "pool.h"

Test(pool, it_starts_by_itself_and_once)
{
    cr_assert_not(pool_started);
    cr_assert_not_null(pool_malloc(1));
    cr_assert(pool_started);
    heap_t *heap = heap_self;
    cr_assert(pool_start());
    cr_assert_eq(heap_self, heap);
}

Test(pool, what_is_freed_before_the_start_starts_nothing)
{
    pool_free(NULL);
    cr_assert_not(pool_started);
}
