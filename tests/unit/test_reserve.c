// tests/unit/test_reserve.c - memory without a lock: handed out in bounds, until it is used up, and again when all of it
// has come back.
#include <criterion/criterion.h>
#include <pthread.h>

#include "os_linux.h"
#include "reserve.h"
#include "support.h"

static void reserve_begin(void)
{
    os_start();
}

TestSuite(reserve, .init = reserve_begin);

Test(reserve, there_is_none_before_it_is_wanted)
{
    char *start, *end;
    reserve_bounds(&start, &end);
    cr_assert_null(start);
    cr_assert_not(reserve_has(&start));
    cr_assert_not(reserve_has(NULL));
}

Test(reserve, blocks_are_aligned_apart_and_zero)
{
    unsigned char *before = NULL;
    size_t before_bytes = 0;
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2)
        for (size_t size = 1; size < 3000; size = size * 3 + 1) {
            unsigned char *block = reserve_alloc(alignment, size);
            cr_assert_not_null(block);
            cr_assert_eq((uintptr_t)block % size_max(alignment, 16), 0);
            cr_assert(before == NULL || block >= before + before_bytes);
            cr_assert_geq(reserve_usable(block), size);
            for (size_t i = 0; i < reserve_usable(block); i++)
                cr_assert_eq(block[i], 0);
            memset(block, 0x5a, reserve_usable(block));
            cr_assert_eq(reserve_usable(block) % 16, 0, "its size was overwritten");
            before = block;
            before_bytes = reserve_usable(block);
        }
}

Test(reserve, it_knows_its_own_addresses)
{
    char *start, *end, *block = reserve_alloc(16, 100);
    int elsewhere;
    reserve_bounds(&start, &end);
    cr_assert(block >= start && block + 100 <= end);
    cr_assert(reserve_has(block) && reserve_has(start) && reserve_has(end - 1));
    cr_assert_not(reserve_has(start - 1));
    cr_assert_not(reserve_has(end));
    cr_assert_not(reserve_has(&elsewhere));
}

Test(reserve, when_it_is_used_up_the_answer_is_null)
{
    char *start, *end, *last = NULL;
    unsigned count = 0;
    for (char *block; (block = reserve_alloc(16, 64 << 10)) != NULL; count++)
        last = block;
    reserve_bounds(&start, &end);
    cr_assert_gt(count, 100);
    cr_assert_leq(last + (64 << 10), end);
    cr_assert_null(reserve_alloc(16, (size_t)1 << 40));
}

Test(reserve, when_all_blocks_have_come_back_it_is_had_again_and_reads_as_zero)
{
    static char *blocks[1000];
    for (unsigned round = 0; round < 20; round++) {
        unsigned count = 0;
        for (char *block; (block = reserve_alloc(16, 64 << 10)) != NULL; count++) {
            cr_assert(block[0] == 0 && memcmp(block, block + 1, (64 << 10) - 1) == 0);
            memset(blocks[count] = block, 0x5a, 64 << 10);
        }
        cr_assert_gt(count, 100);
        for (unsigned i = 0; i < count; i++)
            cr_assert(reserve_free(blocks[i]));
    }
}

Test(reserve, what_is_no_live_block_is_told_apart)
{
    char *block = reserve_alloc(16, 100), *other = reserve_alloc(16, 100);
    cr_assert_not(reserve_free(block + 16));
    cr_assert_not(reserve_free(block + 8));
    cr_assert_eq(reserve_usable(block + 16), 0);
    cr_assert(reserve_free(block));
    cr_assert_not(reserve_free(block));
    cr_assert_eq(reserve_usable(block), 0);
    cr_assert(reserve_free(other));
    cr_assert_not(reserve_free(other), "all of it was given back");
}

static void *take_and_give(void *mark)
{
    for (unsigned i = 0; i < 500; i++) {
        void **blocks[4];
        for (unsigned j = 0; j < 4; j++) {
            blocks[j] = reserve_alloc(16, 1000);
            cr_assert(blocks[j] != NULL && blocks[j][0] == NULL);
            blocks[j][0] = mark;
        }
        for (unsigned j = 0; j < 4; j++) {
            cr_assert_eq(blocks[j][0], mark);
            cr_assert(reserve_free(blocks[j]));
        }
    }
    return NULL;
}

Test(reserve, threads_share_it, .timeout = 60)
{
    pthread_t threads[4];
    unsigned marks[4];
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_and_give, &marks[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

Test(reserve, a_block_of_it_can_be_freed_and_measured_and_resized_like_any_other)
{
    cr_assert(pool_start());
    char *block = reserve_alloc(16, 100);
    memset(block, 0x5a, 100);
    cr_assert_eq(pool_usable_size(block), 112);
    char *longer = pool_realloc(block, 5000);
    cr_assert_not_null(longer);
    cr_assert_not(reserve_has(longer));
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(longer[i], 0x5a);
    pool_free(reserve_alloc(16, 10));
    cr_assert_eq(support_misuses, 0);
}
