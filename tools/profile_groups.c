// tools/profile_groups.c - the metrics of one class of blocks: what its samples estimate, closed against the balance sheet.
#include "profile_close.h"

#include "amount.h"
#include "shares.h"


static double weigh_blocks(build_t *build, const group_t *group, profile_moment_t moment, double *samples)
{
    double sum = 0;
    *samples = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        recording_counts_t counts = profile_counts_at(build, site_at(build, group->sites[i]), moment);
        build->weights[i] = (double)counts.blocks / RECORDING_BLOCK;
        *samples += profile_samples_behind(build, site_at(build, group->sites[i]), moment);
        sum += build->weights[i];
    }
    return sum;
}

static double weigh_bytes(build_t *build, const group_t *group, profile_moment_t moment)
{
    double sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        build->weights[i] = (double)profile_counts_at(build, site_at(build, group->sites[i]), moment).bytes;
        sum += build->weights[i];
    }
    return sum;
}

// How many samples there should be of the live blocks of a class: as many a block as at birth.
static double samples_expected(const build_t *build, const group_t *group)
{
    double blocks = 0, samples = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        blocks += (double)site->allocated.blocks / RECORDING_BLOCK;
        samples += (double)site->allocated_samples;
    }
    return blocks > 0 ? (double)group->live_blocks * samples / blocks * build->sparse : 0;
}

// For a class without a live sample. Returns the sum: 0 also where it is no chance that there is none.
static double weigh_survivors(build_t *build, const group_t *group, profile_moment_t moment)
{
    double sum = 0;
    bool chance = shares_none_by_chance(samples_expected(build, group));
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        double survival = build->survival[moment][build->stack_of[group->sites[i]]];
        build->weights[i] = chance ? (double)site->allocated.blocks * survival : 0;
        sum += build->weights[i];
    }
    return sum;
}

// By what the samples rounded up; where they show none, by bytes.
static void weigh_rounding(build_t *build, const group_t *group, profile_moment_t moment)
{
    double sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        recording_counts_t counts = profile_counts_at(build, site_at(build, group->sites[i]), moment);
        build->weights[i] = (double)minus(counts.bytes, counts.requested_bytes);
        sum += build->weights[i];
    }
    for (uint32_t i = 0; !(sum > 0) && i < group->count; i++)
        build->weights[i] = (double)build->bytes[i];
}

static void group_add(build_t *build, const group_t *group, profile_moment_t moment)
{
    for (uint32_t i = 0; i < group->count; i++) {
        uint64_t *metrics = build->profile->stacks[build->stack_of[group->sites[i]]].metrics[moment];
        metrics[METRIC_LIVE_BLOCKS] += build->blocks[i];
        metrics[METRIC_LIVE_BYTES] += build->bytes[i];
        metrics[METRIC_ROUNDING] += build->rounding[i];
        metrics[METRIC_REQUESTED] += build->bytes[i] - build->rounding[i];
    }
}

// The blocks of a class and their bytes. Returns the sum of bytes.
static uint64_t group_divide(build_t *build, const group_t *group, profile_moment_t moment)
{
    double samples, then = build->then[moment], estimate = weigh_blocks(build, group, moment, &samples);
    uint64_t bytes = 0, blocks = shares_target(group->live_blocks, estimate * then, samples * then);
    if (!(estimate > 0) && weigh_survivors(build, group, moment) > 0)
        blocks = group->live_blocks;
    shares_divide(build->weights, group->count, blocks, build->blocks);
    for (uint32_t i = 0; i < group->count; i++) {
        build->bytes[i] = build->blocks[i] * group->block_bytes;
        bytes += build->bytes[i];
    }
    return bytes;
}

// Large blocks differ in size: their bytes are an estimate of their own.
static uint64_t large_divide(build_t *build, const group_t *group, profile_moment_t moment)
{
    double samples, then = build->then[moment], estimate = weigh_blocks(build, group, moment, &samples);
    uint64_t blocks = shares_target(group->live_blocks, estimate * then, samples * then);
    shares_divide(build->weights, group->count, blocks, build->blocks);
    estimate = weigh_bytes(build, group, moment);
    return shares_divide(build->weights, group->count,
                         shares_target(group->live_bytes, estimate * then, samples * then), build->bytes);
}

void profile_group_live(build_t *build, const group_t *group, profile_moment_t moment)
{
    uint64_t bytes = group->block_bytes != 0 ? group_divide(build, group, moment) : large_divide(build, group, moment);
    double share = group->live_bytes == 0 ? 0 : (double)bytes / (double)group->live_bytes;
    weigh_rounding(build, group, moment);
    shares_divide_limited(build->weights, build->bytes, group->count,
                          amount_whole((double)group->rounding_bytes * (share < 1 ? share : 1)), build->rounding);
    group_add(build, group, moment);
}

void profile_group_allocated(build_t *build, const group_t *group)
{
    double estimate = 0, samples = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        build->weights[i] = (double)site->allocated.blocks / RECORDING_BLOCK;
        estimate += build->weights[i];
        samples += (double)site->allocated_samples;
    }
    uint64_t blocks = shares_target(group->allocated_blocks, estimate, samples);
    shares_divide(build->weights, group->count, blocks, build->blocks);
    double scale = estimate > 0 ? (double)blocks / estimate : 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        profile_stack_t *stack = &build->profile->stacks[build->stack_of[group->sites[i]]];
        stack->allocated_blocks += build->blocks[i];
        stack->allocated_bytes += group->block_bytes != 0 ? build->blocks[i] * group->block_bytes
                                                          : amount_whole((double)site->allocated.bytes * scale);
        stack->freed[GENERATION_YOUNG] += amount_whole((double)site->died_young.blocks / RECORDING_BLOCK * scale);
        stack->freed[GENERATION_MIDDLE] += amount_whole((double)site->died_middle.blocks / RECORDING_BLOCK * scale);
        stack->freed[GENERATION_OLD] += amount_whole((double)site->died_old.blocks / RECORDING_BLOCK * scale);
        stack->allocated_samples += (uint32_t)site->allocated_samples;
        stack->live_samples += (uint32_t)site->live_samples;
    }
}

void profile_group_pinned(build_t *build, const group_t *group, profile_moment_t moment)
{
    estimate_t estimate = {0};
    uint32_t place = profile_place_at(build, moment);
    for (uint32_t i = 0; place != NO_PLACE && i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        build->weights[i] = (double)site->pinned_bytes[place];
        estimate_add(&estimate, build->weights[i], (double)site->pinned_samples[place] * build->sparse);
    }
    if (place == NO_PLACE)
        return;
    uint64_t target = shares_target(group->holes_bytes, estimate.sum, estimate_samples(&estimate));
    if (!(estimate.sum > 0) && weigh_survivors(build, group, moment) > 0)
        target = group->holes_bytes;
    shares_divide(build->weights, group->count, target, build->bytes);
    for (uint32_t i = 0; i < group->count; i++)
        build->profile->stacks[build->stack_of[group->sites[i]]].metrics[moment][METRIC_PINNED] += build->bytes[i];
    if (moment == MOMENT_WORST)
        profile_neighbours_add(build, group, build->bytes);
}
