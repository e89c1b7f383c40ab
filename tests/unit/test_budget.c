// tests/unit/test_budget.c - numbers alone: limit, regret, and the clock, which stands in this file (-Wl,--wrap).
#include <criterion/criterion.h>

#include "budget.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)

static uint64_t now_ms = 1000000;

uint64_t __wrap_os_now_ms(void);

uint64_t __wrap_os_now_ms(void)
{
    return now_ms;
}

// 100 MiB in use, 300 MiB at the peak, and memory was just given back.
static void budget_begin(void)
{
    budget_start(BUDGET_WASTE_PERCENT);
    budget_purged(10 * MIB); // the first one sets the clock by which credit and peak age
    budget_use(300 * MIB);
    budget_unuse(200 * MIB);
}

static size_t base_limit(void)
{
    return 100 * MIB / 100 * BUDGET_WASTE_PERCENT;
}

Test(budget, a_small_heap_may_keep_the_floor)
{
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
    budget_use(2 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
}

Test(budget, a_large_heap_may_keep_its_percentage)
{
    budget_use(1000 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), 1000 * MIB / 100 * 3);
    budget_start(0);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
    budget_start(50);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), 1000 * MIB / 100 * 50);
}

Test(budget, what_nearly_empty_pages_hold_free_earns_no_percentage)
{
    budget_use(1000 * MIB);
    budget_hollow(800 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), 200 * MIB / 100 * 3);
    budget_hollow(300 * MIB); // about: it may be told late that less is in use
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
    budget_unhollow(1100 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), 1000 * MIB / 100 * 3);
}

Test(budget, what_is_kept_beyond_the_limit_is_excess)
{
    cr_assert_eq(budget_excess(), 0);
    budget_retain(BUDGET_FLOOR_BYTES);
    cr_assert_eq(budget_excess(), 0);
    budget_retain(5);
    cr_assert_eq(budget_excess(), 5);
    budget_release(5);
    cr_assert_eq(budget_excess(), 0);
}

Test(budget, what_fits_the_limit_alone_may_be_kept)
{
    budget_retain(BUDGET_FLOOR_BYTES);
    cr_assert(budget_fits(BUDGET_FLOOR_BYTES));
    cr_assert_not(budget_fits(BUDGET_FLOOR_BYTES + 1));
    budget_use(1000 * MIB);
    cr_assert(budget_fits(1000 * MIB / 100 * BUDGET_WASTE_PERCENT));
    cr_assert_not(budget_fits(1000 * MIB / 100 * BUDGET_WASTE_PERCENT + 1));
}

Test(budget, the_counters_count)
{
    budget_use(10 * MIB);
    budget_use(5 * MIB);
    budget_unuse(7 * MIB);
    cr_assert_eq(budget_used(), 8 * MIB);
    cr_assert_eq(budget_used_peak(), 15 * MIB);
    budget_purged(3);
    budget_purged(4);
    cr_assert_eq(budget_purged_total(), 7);
}

Test(budget, without_a_purge_there_is_nothing_to_regret)
{
    budget_use(100 * MIB);
    size_t before = budget_limit(BUDGET_WHOLE);
    budget_regret(BUDGET_WHOLE, 50 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), before);
}

Test(budget, what_is_wanted_again_within_a_second_gives_credit_of_twice_its_size, .init = budget_begin)
{
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit());
    now_ms += 900;
    budget_regret(BUDGET_WHOLE, 4 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 8 * MIB);
    budget_regret(BUDGET_WHOLE, 2 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 12 * MIB);
}

Test(budget, what_is_wanted_again_later_gives_none, .init = budget_begin)
{
    now_ms += 1100;
    budget_regret(BUDGET_WHOLE, 4 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit());
}

Test(budget, credit_halves_every_second_and_is_gone_after_a_minute, .init = budget_begin)
{
    budget_regret(BUDGET_WHOLE, 16 * MIB);
    size_t credit = 32 * MIB;
    for (unsigned second = 0; second < 8; second++) {
        cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + credit, "after %u s", second);
        now_ms += 1000;
        credit /= 2;
    }
    now_ms += 100000;
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit());
}

Test(budget, a_pause_of_seconds_halves_as_often_as_one_second_after_another, .init = budget_begin)
{
    budget_regret(BUDGET_WHOLE, 16 * MIB);
    now_ms += 4000;
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 2 * MIB);
}

Test(budget, credit_counts_no_further_than_the_way_back_to_the_peak, .init = budget_begin)
{
    budget_regret(BUDGET_WHOLE, 1000 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 200 * MIB);
}

Test(budget, what_others_have_freed_is_no_reason_to_keep_more, .init = budget_begin)
{
    budget_regret(BUDGET_WHOLE, 200 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 200 * MIB);
    budget_pend(90 * MIB); // 10 are left, of which 2 count for nothing
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 4 * 8 * MIB);
    budget_pend(8 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit());
    budget_unpend(98 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 200 * MIB);
    budget_unpend(8 * MIB); // taken back before its freer has told of it
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit() + 200 * MIB);
    budget_pend(8 * MIB);
    cr_assert_eq(budget_pending(), 0);
}

Test(budget, what_is_ahead_of_its_use_is_excused_until_half_of_the_heap_has_gone, .init = budget_begin)
{
    budget_fill_begins();
    budget_excuse(BUDGET_FILLING, 2 * MIB);
    budget_retain(2 * MIB);
    cr_assert_eq(budget_kept(), 0);
    budget_unuse(49 * MIB);
    cr_assert_eq(budget_kept(), 0);
    budget_unuse(2 * MIB);
    cr_assert_eq(budget_kept(), 2 * MIB);
}

Test(budget, as_much_may_be_ahead_as_is_used_and_where_it_was_used_before_as_is_regretted, .init = budget_begin)
{
    cr_assert(budget_may_fill(100 * MIB, true));
    cr_assert_not(budget_may_fill(101 * MIB, true));
    budget_regret(BUDGET_WHOLE, 10 * MIB);
    cr_assert(budget_may_fill(120 * MIB, true));
    cr_assert_not(budget_may_fill(121 * MIB, true));
    cr_assert_not(budget_may_fill(101 * MIB, false));
    budget_regret(BUDGET_WHOLE, 200 * MIB);
    cr_assert_not(budget_may_fill(219 * MIB, true), "6 %% above the peak");
    now_ms += 3000;
    cr_assert_not(budget_may_fill(160 * MIB, true), "it has halved three times");
}

Test(budget, what_is_regretted_lets_one_region_more_lie_ahead_however_much_it_is, .init = budget_begin)
{
    budget_regret(BUDGET_WHOLE, 50 * MIB);
    budget_excuse(BUDGET_FILLING, 100 * MIB);
    cr_assert(budget_may_fill(2 * MIB, true));
    budget_excuse(BUDGET_FILLING, 2 * MIB);
    cr_assert_not(budget_may_fill(2 * MIB, true));
}

Test(budget, a_heap_at_its_peak_has_no_use_for_whole_pages_of_credit)
{
    budget_begin();
    budget_regret(BUDGET_WHOLE, 16 * MIB);
    budget_use(200 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), 300 * MIB / 100 * BUDGET_WASTE_PERCENT);
}

Test(budget, pages_and_what_is_inside_of_them_have_credits_of_their_own, .init = budget_begin)
{
    budget_regret(BUDGET_INSIDE, 4 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), base_limit());
    cr_assert_eq(budget_limit(BUDGET_INSIDE), base_limit() + 8 * MIB);
    budget_regret(BUDGET_INSIDE, 100 * MIB);
    cr_assert_eq(budget_limit(BUDGET_INSIDE), base_limit() + 50 * MIB, "half of what is in use");
}

// One turn: `bytes` come into use, go, are given back and are wanted again.
static void swings(unsigned turns, size_t bytes)
{
    while (turns-- > 0) {
        budget_use(bytes);
        budget_unuse(bytes);
        budget_purged(bytes);
        budget_regret(BUDGET_WHOLE, bytes);
        now_ms += 5;
    }
}

Test(budget, a_heap_that_was_emptied_a_few_dozen_times_keeps_the_floor)
{
    swings(30, 32 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
}

Test(budget, a_heap_that_swings_on_and_on_keeps_what_it_needs_at_its_peak)
{
    swings(34, 32 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES + 32 * MIB);
    budget_use(20 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES + 12 * MIB);
    cr_assert_eq(budget_limit(BUDGET_INSIDE), BUDGET_FLOOR_BYTES + 20 * MIB);
}

Test(budget, a_small_heap_is_trusted_sooner)
{
    swings(10, 6 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES + 6 * MIB);
}

Test(budget, a_heap_of_next_to_nothing_is_trusted_at_once)
{
    swings(3, 2 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES + 2 * MIB);
}

Test(budget, trust_does_not_go_beyond_the_heap_that_has_earned_it)
{
    swings(3, 2 * MIB);
    budget_use(64 * MIB);
    budget_unuse(64 * MIB);
    size_t limit = budget_limit(BUDGET_WHOLE);
    cr_assert(limit >= BUDGET_FLOOR_BYTES + 2 * MIB && limit <= BUDGET_FLOOR_BYTES + 3 * MIB, "%zu may be kept", limit);
}

Test(budget, a_small_heap_that_was_emptied_a_few_times_keeps_the_floor)
{
    swings(5, 6 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
}

Test(budget, trust_ends_after_seconds_and_a_peak_that_is_past_counts_no_more)
{
    swings(34, 32 * MIB);
    now_ms += 2500;
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
    swings(34, 32 * MIB);
    now_ms += 5000;
    budget_use(32 * MIB);
    budget_unuse(32 * MIB);
    cr_assert_eq(budget_limit(BUDGET_WHOLE), BUDGET_FLOOR_BYTES);
}

Test(budget, a_heap_has_sunk_when_more_than_an_eighth_is_gone, .init = budget_begin)
{
    cr_assert(budget_has_sunk());
    budget_use(200 * MIB);
    cr_assert_not(budget_has_sunk());
    budget_unuse(300 * MIB / 9 - MIB);
    cr_assert_not(budget_has_sunk());
    budget_unuse(2 * MIB);
    cr_assert(budget_has_sunk());
}

Test(budget, a_heap_that_stays_small_has_not_sunk_any_more, .init = budget_begin)
{
    cr_assert(budget_has_sunk());
    now_ms += 60 * 1000;
    cr_assert_not(budget_has_sunk());
}

// --- what is stale ---------------------------------------------------------------------------------------------------

#define KIB ((size_t)1 << 10)

static size_t stale(void)
{
    return budget_has_risen() ? budget_stale() : 0;
}

// 1 MiB was in use, and all but 100 KiB of it is kept. To that height by steps, as a heap gets there.
static void stale_begin(void)
{
    budget_start(BUDGET_WASTE_PERCENT);
    for (unsigned i = 0; i < 256; i++) {
        budget_use(4 * KIB);
        cr_assert_eq(stale(), 0);
    }
    budget_retain(924 * KIB);
    budget_unuse(924 * KIB);
    cr_assert_eq(stale(), 0);
}

// Until something is stale; by how much the heap grew until then.
static size_t grow_until_stale(size_t *given)
{
    size_t grown = 0;
    while ((*given = stale()) == 0 && grown < MIB) {
        budget_use(4 * KIB);
        grown += 4 * KIB;
    }
    return grown;
}

Test(budget, what_lies_idle_while_the_heap_rises_to_a_new_height_is_stale, .init = stale_begin)
{
    size_t given, grown = grow_until_stale(&given);
    cr_assert_leq(grown, 128 * KIB + 8 * KIB, "%zu", grown); // two steps: in the first it was still asked for
    cr_assert_eq(given, 924 * KIB - budget_waste());
    cr_assert_eq(stale(), 0); // said once
    budget_release(given);
    cr_assert_eq(grow_until_stale(&given), MIB); // and up to there it has been before
}

// It has seen the rise as well, and asks after the other one has: what came to be kept just now is not stale.
Test(budget, a_thread_that_asks_at_once_with_another_is_told_nothing, .init = stale_begin)
{
    budget_use(256 * KIB);
    cr_assert(budget_has_risen());
    budget_stale();
    cr_assert_eq(budget_stale(), 0);
}

Test(budget, what_was_asked_for_meanwhile_is_not_stale, .init = stale_begin)
{
    for (unsigned i = 0; i < 256; i++) {
        budget_use(8 * KIB);
        budget_use(924 * KIB); // all that is kept comes, and goes again
        budget_release(924 * KIB);
        budget_retain(924 * KIB);
        budget_unuse(924 * KIB);
        cr_assert_eq(stale(), 0);
    }
}

Test(budget, what_the_waste_allows_for_is_not_stale)
{
    budget_use(1000 * MIB);
    cr_assert_eq(stale(), 0);
    budget_retain(30 * MIB);
    budget_unuse(30 * MIB);
    budget_use(200 * MIB);
    cr_assert_eq(stale(), 0);
    budget_use(200 * MIB);
    cr_assert_eq(stale(), 0);
    budget_retain(10 * MIB); // 40 MiB, since the last look but 30
    budget_use(200 * MIB);
    cr_assert_eq(stale(), 0);
    budget_use(200 * MIB);
    cr_assert_eq(stale(), 0); // 53 MiB are allowed for now
    budget_start(1);
    budget_use(200 * MIB);
    cr_assert_eq(stale(), 40 * MIB - budget_waste());
}

Test(budget, nothing_is_stale_while_what_was_given_back_is_regretted, .init = stale_begin)
{
    size_t given;
    budget_purged(4 * KIB);
    budget_regret(BUDGET_WHOLE, 64 * KIB);
    cr_assert_eq(grow_until_stale(&given), MIB);
    now_ms += 60000;
    cr_assert_leq(grow_until_stale(&given), 2 * (2 * MIB >> 4) + 8 * KIB);
    cr_assert_gt(given, 0);
}
