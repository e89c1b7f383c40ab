// tests/tools/test_comparison.c - tools/comparison.c and its verdict on runs that are made up.
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "comparison.h"

enum { RUNS = 10, ROWS = 3 };

// In percent of the first row's: what a row takes in time and in memory, and how far its runs are apart in time.
typedef struct kind {
    unsigned time, memory, spread;
} kind_t;

static row_t rows[ROWS];
static allocator_t allocators[ROWS] = {{"base", NULL, "1"}, {"one", "/one.so", "1"}, {"other", "/other.so", "1"}};

// Each run a little longer and larger than the one before: 0.01 % of memory, `spread` over all of the time.
static measurement_t run_make(kind_t kind, int run)
{
    uint64_t wall_ns = 1000000ULL * (kind.time * 1000 + kind.spread * 1000 * (unsigned)run / RUNS) / 1000;
    uint64_t bytes = 1000000ULL * kind.memory + 100ULL * (unsigned)run * kind.memory;
    return (measurement_t){.wall_ns = wall_ns,
                           .user_ns = wall_ns / 2,
                           .peak_bytes = bytes,
                           .mean_bytes = bytes / 2,
                           .minor_faults = 1000,
                           .samples = 9};
}

static comparison_t compared(const kind_t kinds[ROWS], int runs)
{
    comparison_t comparison = {.rows = rows, .count = ROWS, .runs = runs};
    for (int row = 0; row < ROWS; row++) {
        rows[row] = (row_t){.allocator = &allocators[row], .count = runs, .is_out = kinds[row].time == 0};
        for (int run = 0; run < runs; run++)
            rows[row].runs[run] = run_make(kinds[row], run);
    }
    comparison_evaluate(&comparison);
    return comparison;
}

static void expect_headline(const kind_t kinds[ROWS], int runs, const char *headline)
{
    static verdict_t verdict;
    comparison_t comparison = compared(kinds, runs);
    verdict_make(&comparison, &verdict);
    verdict.text[strcspn(verdict.text, "\n")] = '\0';
    cr_assert_str_eq(verdict.text, headline);
}

#define HEADLINE(TEXT, ...) expect_headline((const kind_t[ROWS]){__VA_ARGS__}, RUNS, TEXT)

Test(comparison, equals_are_no_difference)
{
    HEADLINE("no difference beyond noise, neither in time nor in memory", {100, 100, 5}, {100, 100, 5}, {101, 100, 5});
}

Test(comparison, the_faster_and_smaller_one_suits)
{
    HEADLINE("one suits this command, in time and in memory", {100, 100, 5}, {80, 70, 5}, {95, 90, 5});
}

Test(comparison, one_for_time_and_another_for_memory)
{
    HEADLINE("one for time, other for memory", {100, 100, 5}, {70, 100, 5}, {85, 60, 5});
}

Test(comparison, who_cannot_be_told_from_the_best_is_as_good)
{
    HEADLINE("other suits this command: best in memory, level with the best in time", {100, 100, 5}, {70, 100, 5},
             {71, 60, 5});
    HEADLINE("one suits this command: best in time, level with the best in memory", {1000, 1000, 5}, {700, 600, 5},
             {850, 597, 5});
}

Test(comparison, one_side_alone)
{
    HEADLINE("one suits this command in time; in memory none is better than base", {100, 100, 5}, {70, 100, 5},
             {100, 120, 5});
    HEADLINE("other suits this command in memory; in time none is better than base", {100, 100, 5}, {130, 100, 5},
             {100, 80, 5});
}

Test(comparison, the_base_can_be_the_best)
{
    HEADLINE("none is better than base, neither in time nor in memory", {100, 100, 5}, {130, 100, 5}, {100, 120, 5});
}

Test(comparison, what_is_out_does_not_count)
{
    HEADLINE("no difference beyond noise, neither in time nor in memory", {100, 100, 5}, {0, 0, 0}, {100, 100, 5});
    HEADLINE("none: only base was left to run", {100, 100, 5}, {0, 0, 0}, {0, 0, 0});
}

Test(comparison, too_few_runs_have_no_verdict)
{
    static const kind_t kinds[ROWS] = {{100, 100, 5}, {50, 50, 5}, {50, 50, 5}};
    expect_headline(kinds, 6, "none: 6 runs are too few to tell a difference from noise; -n 7 is the least");
    expect_headline(kinds, 7, "one suits this command, in time and in memory");
}

// All runs of the one lie below all runs of the other, but not by one percent.
Test(comparison, a_trifle_is_no_difference)
{
    comparison_t comparison = compared((const kind_t[ROWS]){{1000, 1000, 0}, {995, 995, 0}, {985, 985, 0}}, RUNS);
    const cell_t *trifle = &comparison.rows[1].cells[METRIC_PEAK], *more = &comparison.rows[2].cells[METRIC_PEAK];
    cr_assert_lt(trifle->p, COMPARISON_ALARM);
    cr_assert_eq(trifle->difference, DIFFERENCE_NONE);
    cr_assert_eq(more->difference, DIFFERENCE_LESS);
}

Test(comparison, a_wide_spread_hides_a_difference)
{
    comparison_t comparison = compared((const kind_t[ROWS]){{100, 100, 60}, {90, 100, 60}, {90, 100, 1}}, RUNS);
    cr_assert_eq(comparison.rows[1].cells[METRIC_WALL].difference, DIFFERENCE_NONE);
    comparison = compared((const kind_t[ROWS]){{100, 100, 5}, {90, 100, 4}, {90, 100, 1}}, RUNS);
    cr_assert_eq(comparison.rows[1].cells[METRIC_WALL].difference, DIFFERENCE_LESS);
}

// By itself such an uneven deal is one of 146; among ten figures one like it is nothing.
Test(comparison, what_would_be_seen_alone_may_be_chance_among_many)
{
    comparison_t comparison = compared((const kind_t[ROWS]){{100, 100, 60}, {74, 100, 60}, {100, 100, 60}}, RUNS);
    const row_t *base = &comparison.rows[0], *row = &comparison.rows[1];
    double alone = statistics_rank_sum_p(comparison_values(row, METRIC_WALL), comparison_values(base, METRIC_WALL));
    cr_assert_lt(alone, COMPARISON_ALARM);
    cr_assert_gt(row->cells[METRIC_WALL].p, COMPARISON_ALARM);
    cr_assert_eq(row->cells[METRIC_WALL].difference, DIFFERENCE_NONE);
}

Test(comparison, the_typical_run_has_the_median_peak)
{
    comparison_t comparison = compared((const kind_t[ROWS]){{100, 100, 5}, {100, 100, 5}, {100, 100, 5}}, 5);
    rows[1].runs[0].peak_bytes *= 2;
    rows[1].runs[3].peak_bytes /= 2;
    comparison_evaluate(&comparison);
    cr_assert_eq((double)comparison_typical_run(&rows[1])->peak_bytes, rows[1].cells[METRIC_PEAK].median);
}

Test(comparison, too_short_to_be_sampled_has_no_mean)
{
    comparison_t comparison = compared((const kind_t[ROWS]){{100, 100, 5}, {100, 100, 5}, {100, 100, 5}}, RUNS);
    cr_assert(comparison_has(&comparison, METRIC_MEAN));
    rows[2].runs[4].samples = 1;
    comparison_evaluate(&comparison);
    cr_assert_not(comparison_has(&comparison, METRIC_MEAN));
    cr_assert(comparison_has(&comparison, METRIC_PEAK));
    cr_assert_eq(comparison.note_count, 1);
}

Test(comparison, quantities_have_three_digits_and_a_unit)
{
    static const struct {
        metric_t metric;
        double value;
        const char *text;
    } table[] = {
        {METRIC_WALL, 1.5e9, "1.50 s"},
        {METRIC_WALL, 12.34e6, "12.3 ms"},
        {METRIC_CPU, 999.4e3, "999 us"},
        {METRIC_WALL, 7, "7 ns"},
        {METRIC_PEAK, 1 << 20, "1.00 MiB"},
        {METRIC_MEAN, 1000, "1000 B"},
        {METRIC_PEAK, 150.0 * (1 << 30), "150 GiB"},
        {METRIC_FAULTS, 20682, "20682"},
        {METRIC_FAULTS, 0, "0"},
    };
    char text[COMPARISON_QUANTITY_BYTES];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        cr_assert_str_eq(metric_quantity(table[i].metric, table[i].value, text), table[i].text);
}

Test(comparison, the_command_is_quoted_for_a_shell)
{
    char *words[] = {"sh", "-c", "it's $1 \"so\"", "", "a=b", NULL}, *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    comparison_t comparison = {.command = words};
    comparison_command_write(&comparison, file);
    fclose(file);
    cr_assert_str_eq(text, "sh -c 'it'\\''s $1 \"so\"' '' a=b");
    free(text);
}
