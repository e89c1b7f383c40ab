// tools/shares.c - see shares.h.
#include "shares.h"

#include "amount.h"

#include <math.h>
#include <string.h>

// What is beyond four standard errors is not chance: one case in 30,000, and a recording has some 30 classes.
#define CHANCE_ERRORS 4.0

#define NORMAL_95 1.96 // standard errors of a 95 % interval, on either side

// How many times as much as it estimates a number of samples can stand for by chance: the score interval of a Poisson
// count, which holds for few samples, too.
static double chance_factor(double samples)
{
    double square = CHANCE_ERRORS * CHANCE_ERRORS;
    return (samples + square / 2 + CHANCE_ERRORS * sqrt(samples + square / 4)) / samples;
}

// The score interval: the variance of the true sum, not of the estimated one, is what the estimate strays by, and it is
// in proportion to the sum. Its upper end is the farther one.
double shares_error(double estimate, double variance)
{
    if (!(estimate > 0) || !(variance > 0))
        return 0;
    double step = variance / estimate * NORMAL_95 * NORMAL_95 / 2;
    return step + sqrt(NORMAL_95 * NORMAL_95 * variance + step * step);
}

// The interval's upper end for no sample at all.
bool shares_none_by_chance(double expected_samples)
{
    return expected_samples <= CHANCE_ERRORS * CHANCE_ERRORS;
}

uint64_t shares_target(uint64_t exact, double estimate, double samples)
{
    if (!(estimate > 0) || !(samples > 0))
        return 0;
    if ((double)exact <= estimate * chance_factor(samples))
        return exact;
    return amount_whole(estimate);
}

uint64_t shares_divide(const double *weights, size_t count, uint64_t total, uint64_t *parts)
{
    long double sum = 0, before = 0;
    uint64_t given = 0;
    memset(parts, 0, count * sizeof *parts);
    for (size_t i = 0; i < count; i++)
        sum += weights[i] > 0 ? weights[i] : 0;
    if (!(sum > 0) || !isfinite((double)sum))
        return 0;
    for (size_t i = 0; i < count; i++) { // the ends of the shares are rounded, so that no error adds up
        before += weights[i] > 0 ? weights[i] : 0;
        uint64_t end = before >= sum ? total : (uint64_t)((long double)total * (before / sum) + 0.5L);
        end = end > total ? total : end < given ? given : end;
        parts[i] = end - given;
        given = end;
    }
    return given;
}

uint64_t shares_divide_limited(const double *weights, const uint64_t *limits, size_t count, uint64_t total,
                               uint64_t *parts)
{
    uint64_t given = 0;
    shares_divide(weights, count, total, parts);
    for (size_t i = 0; i < count; i++) {
        parts[i] = parts[i] < limits[i] ? parts[i] : limits[i];
        given += parts[i];
    }
    for (size_t i = 0; i < count && given < total; i++) { // what was cut off goes to those that have room
        uint64_t room = limits[i] - parts[i], rest = total - given;
        uint64_t more = room < rest ? room : rest;
        parts[i] += more;
        given += more;
    }
    return given;
}
