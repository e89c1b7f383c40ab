// tools/shares.h - shares out an exact figure by estimates, so that the parts add up to the whole.
//
// The balance sheet is exact, what the samples say is an estimate. Where both tell of the same blocks (those of one
// size class), the exact figure is shared out in proportion to the estimates: that removes the part of their error that
// they have in common.
#ifndef TARN_TOOLS_SHARES_H
#define TARN_TOOLS_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// How much of `exact` the samples may be charged with, when they estimate it as `estimate` and are `samples` in number:
// all of it, unless it exceeds the estimate by more than chance does. Then there are blocks that were never sampled
// (the parent's, in a child of a fork), and the rest of them is nobody's.
uint64_t shares_target(uint64_t exact, double estimate, double samples);

// Half of an interval that holds the truth in 95 cases of 100, on both sides of an estimate that samples give, and of
// which they give the variance, too. Where few samples make both too small together, it is wider than 1.96 standard errors.
double shares_error(double estimate, double variance);

// Whether it can be chance that there is no sample where so many are expected.
bool shares_none_by_chance(double expected_samples);

// parts[i] becomes total * weights[i] / sum of weights, rounded so that the sum is `total`; all 0 when the weights are.
// Returns the sum: `total` or 0.
uint64_t shares_divide(const double *weights, size_t count, uint64_t total, uint64_t *parts);

// The same with no part above its limit. Returns the sum: `total`, or less where the limits allow no more.
uint64_t shares_divide_limited(const double *weights, const uint64_t *limits, size_t count, uint64_t total,
                               uint64_t *parts);

#endif
