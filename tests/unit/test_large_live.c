// tests/unit/test_large_live.c - which large blocks live: told apart by address, and counted.
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>

#include "fixture.h"
#include "large.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)

TestSuite(large_live, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(large_live, an_address_that_is_no_blocks_is_told_apart)
{
    size_t bytes;
    int elsewhere;
    char *block = pool_malloc(MIB);
    cr_assert_eq(large_usable(block, &bytes), LARGE_DONE);
    cr_assert_eq(bytes, MIB);
    cr_assert_eq(large_usable(block + 16, &bytes), LARGE_INTERIOR);
    cr_assert_eq(large_usable(block + LARGE_GRAIN_BYTES, &bytes), LARGE_INTERIOR);
    cr_assert_eq(large_usable(&elsewhere, &bytes), LARGE_FOREIGN);
    pool_free(block);
    cr_assert_eq(large_usable(block, &bytes), LARGE_FREED);
    cr_assert_eq(large_free(block), LARGE_FREED);
}

Test(large_live, what_lives_is_counted)
{
    large_counts_t before = large_counts();
    void *a = pool_malloc(MIB + 1), *b = pool_malloc(2 * MIB);
    b = pool_realloc(b, 3 * MIB + 5);
    large_counts_t counts = large_counts();
    cr_assert_eq(counts.live_blocks - before.live_blocks, 2);
    cr_assert_eq(counts.allocated_total - before.allocated_total, 2);
    cr_assert_eq(counts.requested_bytes - before.requested_bytes, 4 * MIB + 6);
    cr_assert_eq(counts.live_bytes - before.live_bytes, 4 * MIB + 2 * os_page_bytes());
    pool_free(a);
    pool_free(b);
    counts = large_counts();
    cr_assert_eq(counts.live_bytes, before.live_bytes);
    cr_assert_eq(counts.requested_bytes, before.requested_bytes);
}

Test(large_live, behind_each_block_an_os_page_at_least_is_left)
{
    for (size_t bytes = os_page_bytes(); bytes < MIB; bytes += os_page_bytes()) {
        size_t grains = large_live_grains(bytes);
        cr_assert_geq(grains << LARGE_GRAIN_SHIFT, bytes + os_page_bytes());
        cr_assert_lt((grains - 1) << LARGE_GRAIN_SHIFT, bytes + os_page_bytes());
    }
}

Test(large_live, check_sees_a_count_that_is_off)
{
    cr_assert_not_null(pool_malloc(MIB));
    large_live_counts.live_bytes++;
    cr_assert_not_null(check_pool());
    large_live_counts.live_bytes--;
    large_live_moved++;
    cr_assert_not_null(check_pool());
    large_live_moved--;
}

// --- a moved block's memory that the kernel refuses, while a fork holds the lock -----------------------------------------

static bool refuses;
static sem_t taken, give;
static pthread_t forker;

static void *fork_hangs(void *unused)
{
    lock_fork_begin(1);
    cr_assert(lock_fork_take(&extent_lock));
    sem_post(&taken);
    sem_wait(&give);
    lock_fork_give(&extent_lock);
    lock_fork_end();
    return unused;
}

bool __wrap_os_refresh(void *start, size_t bytes);
bool __real_os_refresh(void *start, size_t bytes);

bool __wrap_os_refresh(void *start, size_t bytes)
{
    if (!refuses)
        return __real_os_refresh(start, bytes);
    refuses = false;
    pthread_create(&forker, NULL, fork_hangs, NULL);
    sem_wait(&taken);
    return false;
}

Test(large_live, a_moved_block_that_comes_late_is_counted_as_moved)
{
    sem_init(&taken, 0, 0);
    sem_init(&give, 0, 0);
    char *block = pool_malloc(2 * MIB);
    cr_assert_not_null(pool_malloc(MIB)); // in the way
    cr_assert_not_null(block = pool_realloc(block, 8 * MIB));
    cr_assert_eq(large_live_moved, 1);
    refuses = true;
    pool_free(block); // more than may be kept
    sem_post(&give);
    pthread_join(forker, NULL);
    cr_assert_not_null(pool_malloc(MIB)); // whoever has the lock next
    cr_assert_eq(large_live_moved, 1);
    require_whole();
    pool_trim(0);
    cr_assert_eq(large_live_moved, 0);
}
