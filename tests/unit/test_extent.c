// tests/unit/test_extent.c - the large range alone, without a pool around it: best fit, cutting, joining, and that the
// extents tile the range whatever happens.
#include <criterion/criterion.h>

#include "extent.h"
#include "os_linux.h"
#include "support.h"

static void extent_begin(void)
{
    os_start();
    cr_assert(extent_start());
}

static void extent_end(void)
{
    support_ends_well(extent_check());
}

static extent_id_t get_live(size_t grains)
{
    extent_id_t id = extent_get(grains, LARGE_GRAIN_BYTES);
    cr_assert_neq(id, 0);
    extent_node(id)->state = EXTENT_LIVE;
    return id;
}

static void put(extent_id_t id)
{
    extent_node(id)->state = EXTENT_BUSY;
    extent_put(id);
}

TestSuite(extent, .init = extent_begin, .fini = extent_end, .timeout = 60);

Test(extent, it_can_be_written_and_is_found_by_its_start_alone)
{
    extent_id_t id = get_live(3);
    extent_t *extent = extent_node(id);
    memset(extent->start, 0x5a, 3 * LARGE_GRAIN_BYTES);
    cr_assert_eq(extent_at(extent->start), id);
    cr_assert_eq(extent_at(extent->start + LARGE_GRAIN_BYTES), 0);
    cr_assert_eq(extent_around(extent->start + LARGE_GRAIN_BYTES), id);
    cr_assert_eq(extent_around(extent->start + 3 * LARGE_GRAIN_BYTES), 0);
    cr_assert_not(extent_in_range(extent->start + 3 * LARGE_GRAIN_BYTES));
}

Test(extent, the_best_fitting_free_one_is_taken)
{
    static const size_t grains[] = {9, 5, 7, 20};
    extent_id_t id[4];
    char *start[4];
    for (unsigned i = 0; i < 4; i++) {
        id[i] = get_live(grains[i]);
        start[i] = extent_node(id[i])->start;
        get_live(1); // keeps them apart
    }
    for (unsigned i = 0; i < 4; i++)
        put(id[i]);
    cr_assert_eq(extent_node(get_live(6))->start, start[2]);
    cr_assert_eq(extent_node(get_live(5))->start, start[1]);
    cr_assert_eq(extent_node(get_live(9))->start, start[0]);
    cr_assert_eq(extent_node(get_live(8))->start, start[3]);
}

Test(extent, what_is_too_much_is_cut_off_and_stays_free)
{
    extent_id_t id = get_live(10);
    char *start = extent_node(id)->start;
    get_live(1);
    put(id);
    cr_assert_eq(extent_node(get_live(4))->start, start);
    cr_assert_eq(extent_node(get_live(6))->start, start + 4 * LARGE_GRAIN_BYTES);
}

Test(extent, free_neighbours_are_joined_from_either_side)
{
    extent_id_t a = get_live(2), b = get_live(3), c = get_live(4);
    char *start = extent_node(a)->start;
    get_live(1);
    put(a);
    put(c);
    put(b);
    extent_id_t joined = extent_first();
    cr_assert_eq(extent_node(joined)->start, start);
    cr_assert_eq(extent_node(joined)->grains, 9);
    cr_assert_eq(extent_node(joined)->state, EXTENT_FREE);
    cr_assert_eq(extent_node(get_live(9))->start, start);
}

Test(extent, it_grows_into_free_grains_behind_it_and_no_further)
{
    extent_id_t a = get_live(2), b = get_live(3);
    get_live(1);
    put(b);
    cr_assert_not(extent_grow(a, 6));
    cr_assert(extent_grow(a, 4));
    cr_assert_eq(extent_node(a)->grains, 4);
    cr_assert(extent_grow(a, 5));
    cr_assert_not(extent_grow(a, 6));
}

Test(extent, the_last_one_grows_into_the_unused_range)
{
    extent_id_t id = get_live(2);
    cr_assert(extent_grow(id, 1000));
    memset(extent_node(id)->start, 0x5a, 1000 * LARGE_GRAIN_BYTES);
    cr_assert_eq(extent_node(id)->grains, 1000);
}

Test(extent, starts_are_aligned_as_wanted)
{
    for (size_t alignment = LARGE_GRAIN_BYTES; alignment <= (size_t)256 << 20; alignment *= 2) {
        extent_id_t id = extent_get(3, alignment);
        cr_assert_neq(id, 0);
        cr_assert_eq((uintptr_t)extent_node(id)->start % alignment, 0);
        extent_node(id)->state = EXTENT_LIVE;
    }
}

Test(extent, one_that_is_to_lie_as_another_address_does)
{
    uint64_t random = 3;
    for (unsigned i = 0; i < 200; i++) {
        size_t alignment = LARGE_GRAIN_BYTES << support_random(&random) % 10, grains = 1 + support_random(&random) % 50;
        uintptr_t address = support_random(&random) & ~(LARGE_GRAIN_BYTES - 1);
        extent_id_t id = extent_get_alike(grains, alignment, (void *)address);
        cr_assert_neq(id, 0);
        cr_assert_eq(((uintptr_t)extent_node(id)->start - address) % alignment, 0);
        cr_assert_eq(extent_node(id)->grains, grains);
        if (i % 3 != 0)
            extent_put(id);
    }
}

Test(extent, more_than_the_range_is_refused)
{
    cr_assert_eq(extent_get((size_t)1 << 40, LARGE_GRAIN_BYTES), 0);
    cr_assert_eq(extent_get(1, (size_t)1 << 62), 0);
}

static unsigned live_length(extent_id_t *live, unsigned most)
{
    unsigned count = 0;
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id))
        if (extent_node(id)->state == EXTENT_LIVE && count < most)
            live[count++] = id;
    return count;
}

Test(extent, random_gets_puts_cuts_and_grows_keep_the_tiling)
{
    uint64_t random = 5;
    static extent_id_t live[1000];
    unsigned count = 0;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned chance = (unsigned)(support_random(&random) % 8), at = count ? support_random(&random) % count : 0;
        size_t grains = 1 + support_random(&random) % (support_random(&random) % 16 == 0 ? 2000 : 70);
        if (count == 0 || (chance < 4 && count < 1000)) {
            live[count++] = get_live(grains);
        } else if (chance < 6) {
            put(live[at]);
            live[at] = live[--count];
        } else if (chance == 6) {
            extent_grow(live[at], extent_node(live[at])->grains + 1 + grains % 8);
        } else if (extent_node(live[at])->grains > 1) {
            extent_cut(live[at], extent_node(live[at])->grains / 2);
        }
        if (i % 64 == 0) {
            const char *wrong = extent_check();
            cr_assert_null(wrong, "step %u: %s", i, wrong);
        }
    }
    static extent_id_t walked[1001];
    cr_assert_eq(live_length(walked, 1001), count, "a live extent is lost");
    for (unsigned i = 0; i < count; i++)
        put(live[i]);
    cr_assert_eq(extent_behind(extent_first()), 0, "all free: one extent");
}

Test(extent, check_sees_two_free_ones_that_touch)
{
    extent_id_t a = get_live(2), b = get_live(2);
    get_live(1);
    put(a);
    extent_node(b)->state = EXTENT_FREE;
    cr_assert_str_eq(extent_check(), "two free extents touch");
    extent_node(b)->state = EXTENT_LIVE;
}

Test(extent, check_sees_a_gap)
{
    extent_id_t a = get_live(4);
    get_live(2);
    extent_node(a)->grains = 3;
    cr_assert_not_null(extent_check());
    extent_node(a)->grains = 4;
}

// --- when memory is refused ------------------------------------------------------------------------------------------

Test(extent, what_is_free_is_withdrawn_and_can_be_had_again)
{
    extent_id_t id[4];
    char *start[4];
    for (unsigned i = 0; i < 4; i++) {
        id[i] = get_live(8);
        start[i] = extent_node(id[i])->start;
    }
    put(id[1]);
    cr_assert_gt(extent_withdraw(), 8 * LARGE_GRAIN_BYTES); // and what was committed ahead
    cr_assert_not(support_writable(start[1]));
    cr_assert(support_writable(start[0]) && support_writable(start[2]));
    cr_assert_eq(extent_withdraw(), 0);
    put(id[2]); // joins it
    cr_assert_geq(extent_withdraw(), 8 * LARGE_GRAIN_BYTES);
    extent_id_t again = get_live(3), behind = get_live(5), more = get_live(20);
    cr_assert_eq(extent_node(again)->start, start[1]);
    memset(extent_node(again)->start, 1, 3 * LARGE_GRAIN_BYTES);
    memset(extent_node(behind)->start, 1, 5 * LARGE_GRAIN_BYTES);
    memset(extent_node(more)->start, 1, 20 * LARGE_GRAIN_BYTES);
}

Test(extent, one_can_grow_into_what_was_withdrawn)
{
    extent_id_t id = get_live(2), behind = get_live(8), last = get_live(1);
    put(behind);
    cr_assert_gt(extent_withdraw(), 0);
    cr_assert(extent_grow(id, 6));
    memset(extent_node(id)->start, 1, 6 * LARGE_GRAIN_BYTES);
    cr_assert_not(support_writable(extent_node(id)->start + 6 * LARGE_GRAIN_BYTES), "the rest stays as it was");
    cr_assert(extent_grow(last, 3));
    memset(extent_node(last)->start, 1, 3 * LARGE_GRAIN_BYTES);
}
