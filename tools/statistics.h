// tools/statistics.h - what a few runs of one thing say against a few runs of another: medians, ratios, tests.
//
// Made for 5 to 30 runs whose distribution nobody knows: times are skewed, peaks of memory are often all equal. So
// everything here rests on ranks and assumes no distribution.
//
//   median        the middle value
//   ratio         the median of all n x m ratios between the two sides (the Hodges-Lehmann estimate, on a ratio scale),
//                 between two of those n x m ratios in order of size as its interval (Moses)
//   test          Wilcoxon's rank-sum test, exact, with mean ranks for ties: of all ways to deal the n + m values into
//                 two such heaps, how many come out at least as uneven as this one?
//   correction    Holm's, for asking many such questions at once
//
// M. Hollander, D. Wolfe, E. Chicken: Nonparametric Statistical Methods, 3rd ed., 2014, chapter 4 (all but the last);
// S. Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.
#ifndef TARN_TOOLS_STATISTICS_H
#define TARN_TOOLS_STATISTICS_H

#include <stdbool.h>

enum {
    STATISTICS_RUNS_MAX = 50, // on each side: the exact test takes some 30 ms then, and n^4 beyond
    STATISTICS_CONFIDENCE_PERCENT = 95,
};

typedef struct values {
    const double *items; // in any order; none is negative or NaN
    int count;           // 1 .. STATISTICS_RUNS_MAX
} values_t;

typedef struct ratio {
    double estimate;
    bool bounded; // the interval is known: takes 4 runs on each side
    double low, high;
} ratio_t;

double statistics_median(values_t values);

// `values` over `base`. Where a base value is 0 there is no ratio: NaN, not bounded.
ratio_t statistics_ratio(values_t values, values_t base);

// Two-sided: how likely two equal things come out at least this different.
double statistics_rank_sum_p(values_t one, values_t other);

// Corrects the p of `count` questions asked together, in place: each may then be held against the same limit.
void statistics_holm(double *p, int count);

// The fewest runs on each side with which one of `comparisons` can come out below `limit` at all.
int statistics_runs_needed(int comparisons, double limit);

#endif
