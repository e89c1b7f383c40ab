// tests/tools/test_statistics.c - tools/statistics.c against tables, against counting by hand, and against chance.
#include <criterion/criterion.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "statistics.h"

#define VALUES(...) ((values_t){(const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double)})

static void expect_close(double actual, double expected, const char *what)
{
    cr_assert(fabs(actual - expected) <= 1e-9 * fmax(1, fabs(expected)), "%s: %.12g, not %.12g", what, actual,
              expected);
}

// --- chance: every seed is fixed, so that a failure replays ----------------------------------------------------------

static uint64_t chance;

static double uniform(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (double)(chance >> 11) / (double)(1ULL << 53);
}

static double normal(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

// Like a time: a floor, a skewed spread, and now and then a run that something disturbed.
static double skewed(double centre)
{
    double value = centre * exp(0.05 * normal());
    return uniform() < 0.1 ? value * (1 + uniform()) : value;
}

static values_t skewed_fill(double *items, int count, double centre)
{
    for (int i = 0; i < count; i++)
        items[i] = skewed(centre);
    return (values_t){items, count};
}

// --- medians and ratios ----------------------------------------------------------------------------------------------

Test(statistics, the_median_is_the_middle_or_between_the_two_middle_ones)
{
    expect_close(statistics_median(VALUES(3)), 3, "one");
    expect_close(statistics_median(VALUES(9, 1, 5)), 5, "three");
    expect_close(statistics_median(VALUES(9, 1, 5, 6)), 5.5, "four");
}

Test(statistics, the_ratio_is_the_median_of_all_ratios)
{
    // 1/2, 1/4, 4/2, 4/4, 6/2, 6/4 in order: .25 .5 1 1.5 2 3
    expect_close(statistics_ratio(VALUES(1, 4, 6), VALUES(2, 4)).estimate, 1.25, "estimate");
    expect_close(statistics_ratio(VALUES(8, 8, 8, 8), VALUES(4, 4, 4, 4)).estimate, 2, "equal ones");
}

// Tables of the critical value of U at 0.025 on each side: 4 x 4: 0, 5 x 5: 2, 8 x 8: 13, 10 x 10: 23, 20 x 20: 127.
// The interval runs from the ratio behind as many as that to the one before as many.
Test(statistics, the_interval_agrees_with_the_tables)
{
    static const struct {
        int runs, critical;
    } table[] = {{4, 0}, {5, 2}, {8, 13}, {10, 23}, {20, 127}};
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++) {
        int runs = table[row].runs;
        double high[STATISTICS_RUNS_MAX], low[STATISTICS_RUNS_MAX];
        for (int i = 0; i < runs; i++) {
            high[i] = pow(1.001, i * runs); // so that all ratios differ: 1.001 to the power of 0 .. runs^2 - 1
            low[i] = pow(1.001, -i);
        }
        ratio_t ratio = statistics_ratio((values_t){high, runs}, (values_t){low, runs});
        cr_assert(ratio.bounded);
        expect_close(log(ratio.low) / log(1.001), table[row].critical, "low");
        expect_close(log(ratio.high) / log(1.001), runs * runs - 1 - table[row].critical, "high");
    }
}

Test(statistics, three_runs_have_no_interval)
{
    cr_assert_not(statistics_ratio(VALUES(1, 2, 3), VALUES(1, 2, 3)).bounded);
    cr_assert(statistics_ratio(VALUES(1, 2, 3, 4), VALUES(1, 2, 3, 4)).bounded);
}

Test(statistics, over_zero_there_is_no_ratio)
{
    ratio_t ratio = statistics_ratio(VALUES(1, 2, 3, 4), VALUES(0, 1, 1, 1));
    cr_assert(isnan(ratio.estimate));
    cr_assert_not(ratio.bounded);
}

// 10 runs a side leave 0.0432 outside; of 2000 intervals 4.3 % +- 0.45 % then miss the truth.
Test(statistics, the_interval_holds_the_true_ratio_as_often_as_it_says)
{
    enum { ROUNDS = 2000, RUNS = 10 };
    double one[RUNS], other[RUNS];
    int missed = 0;
    chance = 20260419;
    for (int round = 0; round < ROUNDS; round++) {
        ratio_t ratio = statistics_ratio(skewed_fill(one, RUNS, 0.8), skewed_fill(other, RUNS, 1));
        missed += ratio.low > 0.8 || ratio.high < 0.8;
    }
    cr_assert_lt(missed, ROUNDS * 6 / 100, "%d of %d", missed, ROUNDS);
    cr_assert_gt(missed, ROUNDS * 2 / 100, "%d of %d: wider than need be", missed, ROUNDS);
}

// --- the test --------------------------------------------------------------------------------------------------------

Test(statistics, p_is_the_share_of_deals_that_are_as_uneven)
{
    expect_close(statistics_rank_sum_p(VALUES(1, 2, 3, 4, 5), VALUES(6, 7, 8, 9, 10)), 2.0 / 252, "5 x 5 apart");
    expect_close(statistics_rank_sum_p(VALUES(6, 7, 8, 9, 10), VALUES(1, 2, 3, 4, 5)), 2.0 / 252, "the other way");
    expect_close(statistics_rank_sum_p(VALUES(1, 2, 3), VALUES(4, 5)), 2.0 / 10, "3 x 2 apart");
    // Sums of two of 1 2 3 4: 3 4 5 5 6 7. As far from 5 as 4 are all but 5 and 5.
    expect_close(statistics_rank_sum_p(VALUES(1, 3), VALUES(2, 4)), 4.0 / 6, "2 x 2 crossed");
}

// Hollander and Wolfe, example 4.1: permeability of the chorioamnion at 12 to 26 weeks and at term, W = 30.
Test(statistics, p_agrees_with_the_book)
{
    double p = statistics_rank_sum_p(VALUES(1.15, 0.88, 0.90, 0.74, 1.21),
                                     VALUES(0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46));
    cr_assert(fabs(p / 2 - 0.1272) < 0.0001, "one-sided %.4f", p / 2);
}

// Mean ranks 1.5 1.5 3 | 4.5 4.5: the sums of three: 6 (1 way), 7.5 (4), 9 (1 + 1 + ...), counted below.
Test(statistics, equal_values_share_their_ranks)
{
    double ranks[] = {1.5, 1.5, 3, 4.5, 4.5};
    int beyond = 0, all = 0;
    for (int a = 0; a < 5; a++)
        for (int b = a + 1; b < 5; b++)
            for (int c = b + 1; c < 5; c++, all++)
                beyond += fabs(ranks[a] + ranks[b] + ranks[c] - 9) >= 3;
    expect_close(statistics_rank_sum_p(VALUES(7, 7, 8), VALUES(9, 9)), (double)beyond / all, "ties");
    expect_close(statistics_rank_sum_p(VALUES(7, 7, 7, 7), VALUES(7, 7, 7, 7)), 1, "all equal");
}

Test(statistics, the_most_runs_are_tested_exactly_too)
{
    double one[STATISTICS_RUNS_MAX], other[STATISTICS_RUNS_MAX];
    for (int i = 0; i < STATISTICS_RUNS_MAX; i++) {
        one[i] = i;
        other[i] = i + STATISTICS_RUNS_MAX;
    }
    double p = statistics_rank_sum_p((values_t){one, STATISTICS_RUNS_MAX}, (values_t){other, STATISTICS_RUNS_MAX});
    cr_assert(fabs(p * 1.00891344545564193e29 / 2 - 1) < 1e-9, "%g", p); // C(100, 50)
}

// --- many questions --------------------------------------------------------------------------------------------------

Test(statistics, holm_corrects_step_by_step)
{
    double p[] = {0.01, 0.04, 0.03, 0.005};
    statistics_holm(p, 4);
    expect_close(p[3], 0.02, "smallest x 4");
    expect_close(p[0], 0.03, "next x 3");
    expect_close(p[2], 0.06, "next x 2");
    expect_close(p[1], 0.06, "largest: not below the one before");
    double certain[] = {0.9, 0.8};
    statistics_holm(certain, 2);
    expect_close(certain[0], 1, "at most 1");
}

Test(statistics, the_runs_needed_are_just_enough)
{
    for (int comparisons = 1; comparisons <= 40; comparisons++) {
        double runs[STATISTICS_RUNS_MAX], more[STATISTICS_RUNS_MAX];
        int needed = statistics_runs_needed(comparisons, 0.01);
        for (int i = 0; i < needed; i++) {
            runs[i] = i;
            more[i] = i + needed;
        }
        double enough = statistics_rank_sum_p((values_t){runs, needed}, (values_t){more, needed});
        double too_few = statistics_rank_sum_p((values_t){runs, needed - 1}, (values_t){more + 1, needed - 1});
        cr_assert(enough * comparisons <= 0.01);
        cr_assert(too_few * comparisons > 0.01);
    }
}

// Five figures of four allocators that are all the same one, two and three of them bound to each other as wall and CPU
// time are: at most one comparison in a hundred may claim a difference anywhere. 1000 of them: 10 +- 3.2.
Test(statistics, equals_are_told_apart_in_one_comparison_of_a_hundred)
{
    enum { ROUNDS = 1000, RUNS = 10, ROWS = 5, FIGURES = 5 };
    static double value[ROWS][FIGURES][RUNS];
    int alarms = 0;
    chance = 4711;
    for (int round = 0; round < ROUNDS; round++) {
        double p[(ROWS - 1) * FIGURES];
        for (int row = 0; row < ROWS; row++)
            for (int run = 0; run < RUNS; run++)
                for (int figure = 0; figure < FIGURES; figure++)
                    value[row][figure][run] = figure % 2 == 0 ? skewed(1) : value[row][figure - 1][run] * skewed(1);
        for (int i = 0; i < (ROWS - 1) * FIGURES; i++)
            p[i] = statistics_rank_sum_p((values_t){value[1 + i / FIGURES][i % FIGURES], RUNS},
                                         (values_t){value[0][i % FIGURES], RUNS});
        statistics_holm(p, (ROWS - 1) * FIGURES);
        for (int i = 0; i < (ROWS - 1) * FIGURES; i++)
            if (p[i] <= 0.01) {
                alarms++;
                break;
            }
    }
    cr_assert_lt(alarms, 20, "%d of %d", alarms, ROUNDS);
}

// Fifteen percent less at a spread of five is seen nearly always, though it is one of twenty questions.
Test(statistics, a_difference_is_found)
{
    enum { ROUNDS = 200, RUNS = 10 };
    double one[RUNS], other[RUNS];
    int found = 0;
    chance = 99;
    for (int round = 0; round < ROUNDS; round++) {
        for (int run = 0; run < RUNS; run++) {
            one[run] = 0.85 * exp(0.05 * normal());
            other[run] = exp(0.05 * normal());
        }
        found += statistics_rank_sum_p((values_t){one, RUNS}, (values_t){other, RUNS}) * 20 <= 0.01;
    }
    cr_assert_gt(found, ROUNDS * 9 / 10, "%d of %d", found, ROUNDS);
}
