// tests/tools/test_shares.c - what is shared out adds up, whatever the weights are.
#include "../../tools/shares.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

enum { ROUNDS = 2000, PARTS_MAX = 50 };

static double weight_random(void)
{
    static const double odd[] = {0, -1, NAN, INFINITY, 1e-300, 1e300};
    return rand() % 20 == 0 ? odd[rand() % 6] : (double)(rand() % 1000);
}

static uint64_t sum_of(const uint64_t *parts, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += parts[i];
    return sum;
}

Test(shares, parts_are_in_proportion)
{
    uint64_t parts[3];
    cr_assert_eq(shares_divide((double[]){1, 2, 1}, 3, 100, parts), 100);
    cr_assert_eq(parts[0], 25);
    cr_assert_eq(parts[1], 50);
    cr_assert_eq(parts[2], 25);
}

Test(shares, no_part_is_off_by_more_than_one)
{
    double weights[PARTS_MAX];
    uint64_t parts[PARTS_MAX];
    for (size_t i = 0; i < PARTS_MAX; i++)
        weights[i] = (double)(i + 1);
    shares_divide(weights, PARTS_MAX, 1000000007, parts);
    for (size_t i = 0; i < PARTS_MAX; i++)
        cr_assert_float_eq((double)parts[i], 1000000007.0 * weights[i] / 1275, 1.0);
}

Test(shares, the_sum_is_the_total_or_nothing)
{
    double weights[PARTS_MAX];
    uint64_t parts[PARTS_MAX];
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = (size_t)(rand() % PARTS_MAX);
        uint64_t total = ((uint64_t)rand() << 33) ^ ((uint64_t)rand() << 11);
        for (size_t i = 0; i < count; i++)
            weights[i] = weight_random();
        uint64_t given = shares_divide(weights, count, total, parts);
        cr_assert(given == total || given == 0);
        cr_assert_eq(sum_of(parts, count), given);
    }
}

Test(shares, limits_hold_and_nothing_is_lost_that_has_room)
{
    double weights[PARTS_MAX];
    uint64_t parts[PARTS_MAX], limits[PARTS_MAX];
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + (size_t)(rand() % (PARTS_MAX - 1));
        for (size_t i = 0; i < count; i++) {
            weights[i] = 1 + rand() % 1000;
            limits[i] = (uint64_t)(rand() % 1000);
        }
        uint64_t total = (uint64_t)(rand() % 30000), room = sum_of(limits, count);
        uint64_t given = shares_divide_limited(weights, limits, count, total, parts);
        cr_assert_eq(given, total < room ? total : room);
        cr_assert_eq(sum_of(parts, count), given);
        for (size_t i = 0; i < count; i++)
            cr_assert_leq(parts[i], limits[i]);
    }
}

// One run of a sampler that takes each of `blocks` blocks with the chance 1 / weight.
static double estimate_of(double *variance, unsigned blocks, double weight)
{
    double samples = 0;
    for (unsigned i = 0; i < blocks; i++)
        samples += drand48() < 1 / weight;
    *variance = samples * weight * weight * (1 - 1 / weight);
    return samples * weight;
}

// A call stack without a sample is not known of, so a run that has none does not count.
static unsigned held_of_100(double weight, unsigned expected_samples)
{
    unsigned blocks = (unsigned)(weight * expected_samples), held = 0, runs = 0;
    while (runs < 100) {
        double variance, estimate = estimate_of(&variance, blocks, weight);
        runs += estimate > 0;
        held += estimate > 0 && fabs(estimate - blocks) <= shares_error(estimate, variance);
    }
    return held;
}

Test(shares, an_error_holds_the_truth_in_95_of_100_seeded_runs)
{
    static const unsigned expected_samples[] = {3, 10, 30, 100, 1000};
    static const double weights[] = {1.5, 50, 700};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned j = 0; j < 3; j++) {
            srand48(100 * i + j);
            unsigned held = held_of_100(weights[j], expected_samples[i]);
            cr_assert_geq(held, 95, "%u of 100 with %u samples of weight %g", held, expected_samples[i], weights[j]);
        }
}

Test(shares, an_estimate_is_closed_up_to_what_chance_can_do)
{
    cr_assert_eq(shares_target(1000, 900, 100), 1000);  // more was there
    cr_assert_eq(shares_target(1000, 2000, 100), 1000); // less was there: always
    cr_assert_eq(shares_target(1000, 100, 100), 100);   // ten times as much is no chance
    cr_assert_eq(shares_target(1000, 100, 1), 1000);    // of one sample it can be
    cr_assert_eq(shares_target(1000, 0, 0), 0);
    cr_assert(shares_none_by_chance(5));
    cr_assert(!shares_none_by_chance(100));
}
