// tests/unit/test_lock.c - mutual exclusion, order of locks, and that nobody waits for a fork forever.
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "os_linux.h"
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

static bool fork_gave_up;

static void fork_tries_to_take(void *lock)
{
    lock_fork_begin(20);
    fork_gave_up = !lock_fork_take(lock);
    lock_fork_end();
}

// Its holder may be a fork that waits for what this thread's interrupted call holds.
Test(lock, a_fork_does_not_wait_forever_though_it_was_the_last_to_begin)
{
    lock_take(&low);
    support_thread(fork_tries_to_take, &low);
    cr_assert(fork_gave_up);
    lock_give(&low);
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
