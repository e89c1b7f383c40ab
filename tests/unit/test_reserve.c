// tests/unit/test_reserve.c - memory without a lock: handed out once, in bounds, until it is used up.
#include <criterion/criterion.h>

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
