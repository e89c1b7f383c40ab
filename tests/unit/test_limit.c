// tests/unit/test_limit.c - limit=BYTES: what is counted, to the byte, and that everything kept goes before a request is
// refused.
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "budget.h"
#include "extent.h"
#include "fixture.h"
#include "support.h"

#define MIB ((size_t)1 << 20)
#define BLOCKS_MAX 200000u
#define THREADS 4u

static void *blocks[BLOCKS_MAX];
static unsigned count;
static _Atomic unsigned told;
static _Atomic size_t told_bytes; // of the last refusal, whichever thread's

void pool_hook_limit(size_t size_bytes)
{
    told++;
    told_bytes = size_bytes;
}

// Until it is refused. What has been had is in blocks[].
static unsigned fill(size_t size_bytes)
{
    unsigned before = count;
    while (count < BLOCKS_MAX && (blocks[count] = pool_malloc(size_bytes)) != NULL)
        memset(blocks[count++], 0x5a, size_bytes);
    cr_assert_lt(count, BLOCKS_MAX);
    return count - before;
}

static void empty(void)
{
    while (count != 0)
        pool_free(blocks[--count]);
}

static size_t counted_bytes(void)
{
    return budget_used() + budget_retained();
}

TestSuite(limit, .fini = fixture_end, .timeout = 60);

// A page that changes its class counts a block whole that is dirty in part.
Test(limit, pages_that_change_their_class_do_not_pass_it)
{
    static const size_t sizes[] = {3000, 5000, 7000, 9000, 26000, 60000};
    uint64_t random = 11;
    support_limit_bytes = 2 * MIB;
    for (unsigned round = 0; round < 300; round++) {
        size_t size = sizes[support_random(&random) % (sizeof sizes / sizeof sizes[0])];
        for (unsigned i = (unsigned)(support_random(&random) % 300); i-- > 0 && (blocks[count] = pool_malloc(size)) != NULL;) {
            count++;
            cr_assert_leq(counted_bytes(), 2 * MIB, "%u blocks of %zu bytes", count, size);
        }
        if (support_random(&random) % 3 == 0)
            empty();
    }
    empty();
}

Test(limit, large_blocks_count_whole_os_pages)
{
    support_limit_bytes = 8 * MIB;
    cr_assert_eq(fill(MIB), 8);
    cr_assert_eq(counted_bytes(), 8 * MIB);
    cr_assert_eq(told, 1);
    cr_assert_eq(told_bytes, MIB);
    pool_free(blocks[--count]);
    cr_assert_eq(fill(MIB - 1), 1); // the same pages
    empty();
}

Test(limit, small_blocks_count_the_carve_steps_they_are_in)
{
    support_limit_bytes = MIB;
    cr_assert_eq(fill(1024), MIB / 1024);
    cr_assert_eq(counted_bytes(), MIB);
    cr_assert_eq(fill(1), 0);
    empty();
}

Test(limit, medium_blocks_count_one_by_one)
{
    support_limit_bytes = MIB;
    cr_assert_eq(fill(2048), MIB / 2048);
    cr_assert_eq(counted_bytes(), MIB);
    empty();
}

// A full page's first few free blocks are passed over as long as there is memory (FULL_PAGE_RETURN_SHIFT).
Test(limit, a_block_that_was_freed_can_be_had_again_at_the_limit)
{
    static const size_t sizes[] = {48, 700, 2048, 20000, 65536, 200000, MIB};
    support_limit_bytes = 8 * MIB;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        while (count < BLOCKS_MAX && (blocks[count] = pool_malloc(sizes[i])) != NULL)
            count++;
        bool full = count < BLOCKS_MAX;
        for (unsigned j = 0; full && j < count; j += 1 + count / 20) {
            pool_free(blocks[j]);
            cr_assert_not_null(blocks[j] = pool_malloc(sizes[i]), "%zu bytes", sizes[i]);
        }
        empty();
    }
}

Test(limit, what_is_kept_goes_before_a_request_is_refused)
{
    support_limit_bytes = 4 * MIB;
    fill(1000);
    empty();
    fill(5000);
    empty();
    fill(300000);
    empty();
    void *block = pool_malloc(4 * MIB - 4 * 4096); // head lists and what is on them stay
    cr_assert_not_null(block);
    pool_free(block);
}

Test(limit, a_block_may_grow_where_it_could_not_stand_beside_itself)
{
    support_limit_bytes = 8 * MIB;
    char *block = pool_malloc(5 * MIB);
    memset(block, 1, 5 * MIB);
    char *grown = pool_realloc(block, 7 * MIB);
    cr_assert_not_null(grown);
    cr_assert_eq(budget_used(), 7 * MIB);
    cr_assert_null(pool_realloc(grown, 9 * MIB));
    cr_assert_eq(grown[5 * MIB - 1], 1);
    cr_assert_eq(budget_used(), 7 * MIB);
    grown = pool_realloc(grown, 3 * MIB);
    cr_assert_eq(budget_used(), 3 * MIB);
    pool_free(grown);
}

// They would be resident ahead of their use, and that is not counted.
Test(limit, a_full_block_that_grows_asks_for_no_huge_pages)
{
    support_limit_bytes = 200 * MIB;
    char *block = pool_malloc(40 * MIB);
    memset(block, 1, 40 * MIB);
    cr_assert_not_null(block = pool_realloc(block, 60 * MIB));
    cr_assert_not(extent_node(extent_at(block))->huge);
    pool_free(block);
}

Test(limit, a_request_beyond_the_limit_takes_nothing)
{
    support_limit_bytes = 2 * MIB;
    cr_assert_null(pool_malloc(3 * MIB));
    cr_assert_null(pool_aligned_alloc(MIB, 2 * MIB + 1));
    cr_assert_null(pool_calloc(16 * MIB));
    cr_assert_eq(counted_bytes(), 0);
    cr_assert_eq(told, 3); // preload/ says it once
}

static void *fill_beside(void *argument)
{
    unsigned *had = argument;
    while (pool_malloc(64 << 10) != NULL)
        ++*had;
    pool_thread_exit();
    return NULL;
}

Test(limit, threads_share_it_to_the_last_block)
{
    pthread_t threads[THREADS];
    unsigned had[THREADS] = {0}, sum = 0;
    support_limit_bytes = 16 * MIB;
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, fill_beside, &had[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += had[i];
    }
    cr_assert_eq(sum, 16 * MIB / (64 << 10));
    cr_assert_eq(counted_bytes(), 16 * MIB);
}

Test(limit, without_one_nothing_is_refused)
{
    count = 64;
    for (unsigned i = 0; i < count; i++)
        cr_assert_not_null(blocks[i] = pool_malloc(MIB));
    empty();
    cr_assert_eq(told, 0);
}
