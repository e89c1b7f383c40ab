// tests/unit/test_lock.c - mutual exclusion, order of locks, and that nobody waits for a fork forever.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "extent.h"
#include "os_linux.h"
#include "reserve.h"
#include "support.h"

static lock_t low = {.rank = LOCK_HEAPS}, high = {.rank = LOCK_LARGE};

#define THREADS 4u
#define ROUNDS  50000u

static unsigned long counter; // no atomic: the lock guards it

static void *count_up(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < ROUNDS; i++) {
        lock_take(&low);
        counter++;
        lock_give(&low);
    }
    return NULL;
}

TestSuite(lock, .timeout = 60);

Test(lock, only_one_thread_holds_it)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(counter, THREADS * ROUNDS);
}

static void is_not_mine(void *unused)
{
    (void)unused;
    cr_assert_not(lock_is_mine(&low));
}

Test(lock, it_knows_its_holder)
{
    cr_assert_not(lock_is_mine(&low));
    cr_assert(lock_take(&low));
    cr_assert(lock_is_mine(&low));
    support_thread(is_not_mine, NULL);
    lock_give(&low);
    cr_assert_not(lock_is_mine(&low));
}

Test(lock, locks_of_rising_rank_can_be_held_together)
{
    cr_assert(lock_take(&low));
    cr_assert(lock_take(&high));
    lock_give(&high);
    lock_give(&low);
}

#ifndef NDEBUG
Test(lock, taking_a_lower_rank_second_is_an_assertion, .signal = SIGABRT)
{
    lock_take(&high);
    lock_take(&low);
}

Test(lock, taking_it_twice_is_an_assertion, .signal = SIGABRT)
{
    lock_take(&low);
    lock_take(&low);
}
#endif

static bool taken, hangs, hangs_again;
static uint64_t waited_ms;

static void try_to_take(void *lock)
{
    uint64_t since_ms = os_now_ms();
    taken = lock_take(lock);
    waited_ms = os_now_ms() - since_ms;
    hangs = lock_fork_hangs();
    hangs_again = lock_fork_hangs();
    if (taken)
        lock_give(lock);
}

Test(lock, whoever_waits_for_a_fork_that_hangs_gives_up_and_is_told_so_once)
{
    lock_take(&low);
    lock_fork_begin(20);
    support_thread(try_to_take, &low);
    cr_assert_not(taken);
    cr_assert(hangs);
    cr_assert_not(hangs_again);
    cr_assert_geq(waited_ms, 10, "the usual fork takes up to some milliseconds");
    lock_fork_end();
    lock_give(&low);
    support_thread(try_to_take, &low);
    cr_assert(taken);
    cr_assert_not(hangs);
}

static _Atomic bool held;

static void *give_later(void *unused)
{
    (void)unused;
    lock_take(&low);
    held = true;
    usleep(100 * 1000); // far longer than the patience with forks
    lock_give(&low);
    return NULL;
}

Test(lock, without_a_fork_it_is_waited_for_as_long_as_it_takes)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, give_later, NULL), 0);
    while (!lock_is_mine(&low) && atomic_load(&low.owner) == 0)
        os_yield();
    cr_assert(lock_take(&low));
    lock_give(&low);
    cr_assert_not(lock_fork_hangs());
    pthread_join(thread, NULL);
}

static _Atomic bool told;

static void *give_when_told(void *unused)
{
    lock_take(&low);
    held = true;
    while (!told)
        usleep(1000);
    lock_give(&low);
    return unused;
}

Test(lock, whoever_can_do_without_it_waits_only_so_long)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, give_when_told, NULL), 0);
    while (!held)
        os_yield();
    cr_assert_not(lock_take_within(&low, 20));
    told = true;
    cr_assert(lock_take_within(&low, 50000));
    lock_give(&low);
    pthread_join(thread, NULL);
}

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
Test(lock, while_a_fork_hangs_requests_are_served_from_the_reserve)
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

Test(lock, a_fork_passes_over_a_lock_that_its_thread_holds)
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

Test(lock, a_fork_in_the_midst_of_a_fork_leaves_it_its_locks)
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
Test(lock, the_child_of_a_fork_in_the_midst_of_a_fork_holds_nothing)
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
Test(lock, the_forking_thread_itself_is_served_and_fork_keeps_its_locks)
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
Test(lock, a_fork_out_of_order_gets_its_locks_beside_other_forks)
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
