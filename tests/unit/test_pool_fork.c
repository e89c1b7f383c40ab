// tests/unit/test_pool_fork.c - fork and the pool's locks: in a handler, within each other, while others fork, and while one hangs.
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "reserve.h"
#include "support.h"

TestSuite(pool_fork, .timeout = 60);

static void *got;
static unsigned char *got_calloc;

static void allocate_during_fork(void *unused)
{
    (void)unused;
    got = pool_malloc(200);
    got_calloc = pool_calloc(3000);
    memset(got, 0x5a, 200);
    for (unsigned i = 0; i < 3000; i++)
        cr_assert_eq(got_calloc[i], 0);
}

// As when fork holds our locks and waits for a lock of the C library, which the thread that asks us holds.
Test(pool_fork, while_a_fork_hangs_requests_are_served_from_the_reserve)
{
    pool_free(pool_malloc(1));
    pool_fork_prepare();
    support_thread(allocate_during_fork, NULL);
    pool_fork_parent();
    cr_assert_not_null(got);
    cr_assert_not_null(got_calloc);
    cr_assert(reserve_has(got));
    pool_free(got);
    pool_free(got_calloc);
    cr_assert_eq(support_misuses, 0);
    cr_assert_not(reserve_has(pool_malloc(200)));
}

Test(pool_fork, a_fork_passes_over_a_lock_that_its_thread_holds)
{
    cr_assert(pool_start());
    lock_take(&heap_lock); // a signal handler that forks interrupted the pool here
    pool_fork_prepare();
    cr_assert(lock_is_mine(&heap_lock) && lock_is_mine(&zone_lock));
    pool_fork_parent();
    cr_assert(lock_is_mine(&heap_lock));
    cr_assert_not(lock_is_mine(&zone_lock));
    lock_give(&heap_lock);
}

static void fork_nested(void)
{
    pool_fork_prepare();
    cr_assert(lock_is_mine(&heap_lock) && lock_is_mine(&zone_lock) && lock_is_mine(&extent_lock));
    pool_fork_parent();
}

static bool any_is_held(void)
{
    return lock_is_mine(&heap_lock) || lock_is_mine(&zone_lock) || lock_is_mine(&extent_lock);
}

Test(pool_fork, a_fork_in_the_midst_of_a_fork_leaves_it_its_locks)
{
    cr_assert(pool_start());
    pool_fork_prepare();
    fork_nested();
    fork_nested();
    cr_assert(lock_is_mine(&heap_lock) && lock_is_mine(&zone_lock) && lock_is_mine(&extent_lock));
    pool_fork_parent();
    cr_assert_not(any_is_held());
}

// A signal handler in the child that never returns to the outer fork.
Test(pool_fork, the_child_of_a_fork_in_the_midst_of_a_fork_holds_nothing)
{
    cr_assert(pool_start());
    pool_fork_prepare();
    pool_fork_prepare();
    pool_fork_child();
    cr_assert_not(any_is_held());
    pool_fork_parent(); // or does return: the outer fork's last step finds nothing to give
    cr_assert_not(any_is_held());
    fork_nested();
    cr_assert_not(any_is_held());
}

// fork may be interrupted by a handler that may do anything, since fork is async-signal-safe.
Test(pool_fork, the_forking_thread_itself_is_served_and_fork_keeps_its_locks)
{
    cr_assert(pool_start());
    pool_fork_prepare();
    void *blocks[] = {pool_malloc(100), pool_malloc(5000), pool_malloc(1000000)};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_not_null(blocks[i]);
        cr_assert_not(reserve_has(blocks[i]));
        pool_free(blocks[i]);
    }
    cr_assert(lock_is_mine(&heap_lock) && lock_is_mine(&zone_lock) && lock_is_mine(&extent_lock));
    pool_fork_parent();
    cr_assert_not(any_is_held());
}

static void fork_in_thread(void *unused)
{
    (void)unused;
    fork_nested();
}

static _Atomic bool other_forks;

static void *fork_again_and_again(void *unused)
{
    while (other_forks)
        fork_in_thread(unused);
    return NULL;
}

// Its handler wants a lock that comes before the one that the interrupted call holds.
Test(pool_fork, a_fork_out_of_order_gets_its_locks_beside_other_forks)
{
    pthread_t thread;
    cr_assert(pool_start());
    other_forks = true;
    cr_assert_eq(pthread_create(&thread, NULL, fork_again_and_again, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert(lock_take(&extent_lock));
        usleep(1000); // the other one holds the first lock by now, and waits for this
        fork_nested();
        lock_give(&extent_lock);
    }
    other_forks = false;
    pthread_join(thread, NULL);
}
