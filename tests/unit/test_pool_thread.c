// tests/unit/test_pool_thread.c - a thread's heap, to its end and behind it.
#include <criterion/criterion.h>

#include "fixture.h"

TestSuite(pool_thread, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

static void end_again_and_again(void *unused)
{
    (void)unused;
    for (unsigned round = 0; round < 3; round++) {
        cr_assert_not_null(pool_malloc(100));
        cr_assert_neq(heap_self, &heap_none, "round %u", round);
        pool_thread_exit();
        cr_assert_eq(heap_self, &heap_none);
    }
    for (size_t size = 100; size < 1000000; size *= 10) {
        void *block = pool_malloc(size);
        cr_assert_not_null(block);
        cr_assert_eq(heap_self, &heap_none, "at its very end it borrows a heap for the call");
        pool_free(block);
    }
}

Test(pool_thread, a_thread_can_allocate_behind_its_end)
{
    support_thread(end_again_and_again, NULL);
}

static void free_at_once(void *block)
{
    pool_free(block);
    cr_assert_neq(heap_self, &heap_none);
}

Test(pool_thread, a_thread_that_only_frees_has_a_heap_to_gather_in)
{
    support_thread(free_at_once, pool_malloc(100));
}

static void free_behind_the_end(void *block)
{
    pool_malloc(1);
    pool_thread_exit();
    pool_free(block);
    cr_assert_eq(heap_self, &heap_none);
}

Test(pool_thread, behind_its_end_it_gets_none_to_free)
{
    support_thread(free_behind_the_end, pool_malloc(100));
}
