// tools/profile_rest.c - what the classes have left of a metric: shared out by the samples of all, and what remains after that.
#include "profile_close.h"

#include "amount.h"
#include "memory.h"
#include "shares.h"

#include <stdlib.h>

// The weight of each stack, and what all of them estimate.
typedef struct pool {
    double *weights; // by stack
    estimate_t estimate;
} pool_t;

static pool_t pool_new(const build_t *build)
{
    return (pool_t){.weights = memory_get(build->profile->stack_count, sizeof(double))};
}

static void pool_add(pool_t *pool, const build_t *build, uint32_t site, double weight, double samples)
{
    pool->weights[build->stack_of[site]] += weight;
    estimate_add(&pool->estimate, weight, samples);
}

// The part of the rest, total - given, that the samples account for.
static double pool_share(const pool_t *pool, uint64_t total, uint64_t given)
{
    uint64_t target = shares_target(total, pool->estimate.sum, estimate_samples(&pool->estimate));
    return total > given && target > given ? (double)(target - given) / (double)(total - given) : 0;
}

static uint64_t metric_sum(const profile_t *profile, profile_moment_t moment, profile_metric_t metric)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i + 1 < profile->stack_count; i++)
        sum += profile->stacks[i].metrics[moment][metric];
    return sum;
}

// Gives that part of what is left of a metric to the stacks, by their weights.
static void pool_give(const build_t *build, const double *weights, profile_moment_t moment, profile_metric_t metric,
                      double share)
{
    profile_t *profile = build->profile;
    uint64_t *parts = memory_get(profile->stack_count, sizeof *parts);
    uint64_t rest = minus(profile_total(profile, moment, metric), metric_sum(profile, moment, metric));
    shares_divide(weights, profile->stack_count, amount_whole((double)rest * share), parts);
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile->stacks[i].metrics[moment][metric] += parts[i];
        if (metric == METRIC_REQUESTED || metric == METRIC_ROUNDING)
            profile->stacks[i].metrics[moment][METRIC_LIVE_BYTES] += parts[i];
    }
    free(parts);
}

void profile_rest_live(const build_t *build, profile_moment_t moment)
{
    pool_t pool = pool_new(build);
    double *blocks = memory_get(build->profile->stack_count, sizeof *blocks);
    for (uint32_t i = 0; i < build->site_count; i++) {
        recording_counts_t counts = profile_counts_at(build, site_at(build, i), moment);
        pool_add(&pool, build, i, (double)counts.bytes, profile_samples_behind(build, site_at(build, i), moment));
        blocks[build->stack_of[i]] += (double)counts.blocks;
    }
    estimate_scale(&pool.estimate, build->then[moment]);
    double share = pool_share(&pool, profile_total(build->profile, moment, METRIC_LIVE_BYTES),
                              metric_sum(build->profile, moment, METRIC_LIVE_BYTES));
    pool_give(build, pool.weights, moment, METRIC_REQUESTED, share);
    pool_give(build, pool.weights, moment, METRIC_ROUNDING, share);
    pool_give(build, blocks, moment, METRIC_LIVE_BLOCKS, share);
    free(pool.weights);
    free(blocks);
}

void profile_rest_pinned(const build_t *build, profile_moment_t moment)
{
    uint32_t place = profile_place_at(build, moment);
    pool_t pool = pool_new(build);
    for (uint32_t i = 0; place != NO_PLACE && i < build->site_count; i++) {
        const recording_site_t *site = site_at(build, i);
        pool_add(&pool, build, i, (double)site->pinned_bytes[place],
                 (double)site->pinned_samples[place] * build->sparse);
    }
    double share = pool_share(&pool, profile_total(build->profile, moment, METRIC_PINNED),
                              metric_sum(build->profile, moment, METRIC_PINNED));
    pool_give(build, pool.weights, moment, METRIC_PINNED, share);
    free(pool.weights);
}

static void allocated_pool(const build_t *build, uint64_t blocks, uint64_t bytes)
{
    profile_t *profile = build->profile;
    uint64_t given = 0, *parts = memory_get(profile->stack_count, sizeof *parts);
    pool_t pool = pool_new(build);
    for (uint32_t i = 0; i < build->site_count; i++) {
        const recording_site_t *site = site_at(build, i);
        pool_add(&pool, build, i, (double)site->allocated.blocks / RECORDING_BLOCK, (double)site->allocated_samples);
    }
    for (uint32_t i = 0; i + 1 < profile->stack_count; i++)
        given += profile->stacks[i].allocated_blocks;
    double share = pool_share(&pool, blocks, given), rest = (double)minus(blocks, given);
    shares_divide(pool.weights, profile->stack_count, amount_whole(rest * share), parts);
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile->stacks[i].allocated_blocks += parts[i];
        profile->stacks[i].allocated_bytes += rest > 0 ? amount_whole((double)bytes * ((double)parts[i] / rest)) : 0;
    }
    free(pool.weights);
    free(parts);
}

// [unattributed] is what remains. In a damaged recording nothing may remain, and more: then all are cut down.
void profile_rest_close(build_t *build, profile_moment_t moment, profile_metric_t metric)
{
    profile_t *profile = build->profile;
    uint64_t total = profile_total(profile, moment, metric), sum = metric_sum(profile, moment, metric);
    for (uint32_t i = 0; sum > total && i + 1 < profile->stack_count; i++) {
        uint64_t *value = &profile->stacks[i].metrics[moment][metric];
        long double part = (long double)*value * total / sum;
        *value = part < (long double)total ? (uint64_t)part : total;
    }
    profile->stacks[build->unattributed].metrics[moment][metric] = minus(total, metric_sum(profile, moment, metric));
}

void profile_rest_allocated(build_t *build)
{
    profile_t *profile = build->profile;
    profile_stack_t *rest = &profile->stacks[build->unattributed];
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    uint64_t blocks = 0, bytes = 0, all_bytes = 0;
    for (uint32_t i = 0; i + 1 < profile->stack_count; i++)
        bytes += profile->stacks[i].allocated_bytes;
    for (uint32_t i = 0; i < last->class_count; i++)
        all_bytes += last->classes[i].allocated_total * last->classes[i].block_bytes;
    allocated_pool(build, last->balance.allocated_total, minus(all_bytes, bytes));
    bytes = 0;
    for (uint32_t i = 0; i + 1 < profile->stack_count; i++) {
        blocks += profile->stacks[i].allocated_blocks;
        bytes += profile->stacks[i].allocated_bytes;
    }
    rest->allocated_blocks = minus(last->balance.allocated_total, blocks);
    rest->allocated_bytes = minus(all_bytes, bytes);
}
