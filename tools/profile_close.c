// tools/profile_close.c - the metrics of the stacks: what samples estimate, closed against the balance sheet.
//
//   1  class by class: what the samples of a class estimate, against what the sheet knows exactly of it (shares.h)
//   2  a class with too little in it for a live sample: who allocated there, by what part of it survives
//   3  pooled: where the samples of all classes together account for what is left, too, as far as chance goes, it is
//      shared out likewise
//   4  what remains is [unattributed]: blocks from before the first sample, or of the parent, sites without room
#include "profile_build.h"

#include "amount.h"
#include "memory.h"
#include "shares.h"

#include <math.h>
#include <stdlib.h>

// A class's holes were left by many; the first few tell.
enum { FREERS = 6, NEIGHBOURS = 3 };

typedef struct build {
    profile_t *profile;
    const recording_t *recording;
    uint32_t site_count;
    const uint32_t *stack_of; // of each site
    uint32_t unattributed;    // the stack of what has none
    uint32_t *sites;          // the sites in order of their class
    double sparse;            // how many of the samples asked for were taken, on average: 1 unless time ran short
    double then[PROFILE_MOMENTS]; // what all samples estimated at the snapshot of the moment, by what they do now
    double *survival[PROFILE_MOMENTS]; // of each stack: what part of what it allocated was live
    double *weights;          // for one class at a time, as are the next
    uint64_t *blocks, *bytes, *rounding;
} build_t;

// The sites of one class, and what the balance sheet has of it at a moment.
typedef struct group {
    uint32_t class; // its number; 0: large blocks
    const uint32_t *sites;
    uint32_t count;
    uint64_t block_bytes; // 0: large blocks
    uint64_t live_blocks, live_bytes, rounding_bytes, holes_bytes, allocated_blocks;
} group_t;

static const recording_site_t *site_at(const build_t *build, uint32_t site)
{
    return recording_row(build->recording, RECORDING_SITES, site);
}

static uint64_t minus(uint64_t left, uint64_t right)
{
    return left > right ? left - right : 0;
}

// A sum of contributions of samples, and how many equal ones would be as certain: (sum)^2 / sum of squares. Samples
// that contribute nothing make nothing more certain.
typedef struct estimate {
    double sum, squares;
} estimate_t;

static void estimate_add(estimate_t *estimate, double sum, double samples)
{
    estimate->sum += sum;
    estimate->squares += samples > 0 ? sum * sum / samples : 0;
}

static double estimate_samples(const estimate_t *estimate)
{
    return estimate->squares > 0 ? estimate->sum * estimate->sum / estimate->squares : 0;
}

// The same when there were `times` as many samples.
static void estimate_scale(estimate_t *estimate, double times)
{
    estimate->sum *= times;
    estimate->squares *= times;
}

// --- closing a class -------------------------------------------------------------------------------------------------

static recording_counts_t counts_at(const build_t *build, const recording_site_t *site, profile_moment_t moment)
{
    return moment == MOMENT_PEAK ? recording_site_at_peak(site, build->recording->header.peak_epoch) : site->live;
}

// How many samples stand behind an estimate. Of the peak that is not noted: as many a block as at birth. Where sampling
// became rarer meanwhile, those that are there are mostly of the time before, and tell less of the time since.
static double samples_behind(const build_t *build, const recording_site_t *site, profile_moment_t moment)
{
    if (moment != MOMENT_PEAK)
        return (double)site->live_samples * build->sparse;
    double blocks = (double)counts_at(build, site, moment).blocks, born = (double)site->allocated.blocks;
    return born > 0 ? blocks / born * (double)site->allocated_samples * build->sparse : 0;
}

static double weigh_blocks(build_t *build, const group_t *group, profile_moment_t moment, double *samples)
{
    double sum = 0;
    *samples = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        recording_counts_t counts = counts_at(build, site_at(build, group->sites[i]), moment);
        build->weights[i] = (double)counts.blocks / RECORDING_BLOCK;
        *samples += samples_behind(build, site_at(build, group->sites[i]), moment);
        sum += build->weights[i];
    }
    return sum;
}

static double weigh_bytes(build_t *build, const group_t *group, profile_moment_t moment)
{
    double sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        build->weights[i] = (double)counts_at(build, site_at(build, group->sites[i]), moment).bytes;
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
        recording_counts_t counts = counts_at(build, site_at(build, group->sites[i]), moment);
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

static void group_close_live(build_t *build, const group_t *group, profile_moment_t moment)
{
    uint64_t bytes = group->block_bytes != 0 ? group_divide(build, group, moment) : large_divide(build, group, moment);
    double share = group->live_bytes == 0 ? 0 : (double)bytes / (double)group->live_bytes;
    weigh_rounding(build, group, moment);
    shares_divide_limited(build->weights, build->bytes, group->count,
                          amount_whole((double)group->rounding_bytes * (share < 1 ? share : 1)), build->rounding);
    group_add(build, group, moment);
}

static void group_close_allocated(build_t *build, const group_t *group)
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

// --- pinned bytes ----------------------------------------------------------------------------------------------------

enum { PLACES = 3, NO_PLACE = PLACES };

// Which of a site's places has the pinned bytes of a moment. The recorder may have been killed between its last
// snapshot and that one's pinned bytes: then those before them.
static uint32_t place_at(const build_t *build, profile_moment_t moment)
{
    const recording_header_t *header = &build->recording->header;
    uint64_t number = profile_snapshot(build->profile, moment)->number;
    for (uint32_t place = 0; place < PLACES; place++)
        if (header->pinned_number[place] == number && number != 0)
            return place;
    return moment == MOMENT_LAST && header->pinned_last < PLACES ? header->pinned_last : NO_PLACE;
}

static void neighbours_add(build_t *build, const group_t *group, const uint64_t *pinned);

static void group_close_pinned(build_t *build, const group_t *group, profile_moment_t moment)
{
    estimate_t estimate = {0};
    uint32_t place = place_at(build, moment);
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
        neighbours_add(build, group, build->bytes);
}

// --- neighbours ------------------------------------------------------------------------------------------------------

// Blocks of one class share pages. So the holes beside a stack's survivors are, in proportion, those that the stacks
// left which freed most blocks of the class.
typedef struct freers {
    uint32_t stacks[FREERS];
    double bytes[FREERS];
    double all_bytes;
    uint32_t count;
} freers_t;

static void freers_add(freers_t *freers, uint32_t stack, double bytes)
{
    uint32_t place = freers->count < FREERS ? freers->count++ : FREERS;
    freers->all_bytes += bytes;
    while (place > 0 && freers->bytes[place - 1] < bytes) {
        if (place < FREERS) {
            freers->stacks[place] = freers->stacks[place - 1];
            freers->bytes[place] = freers->bytes[place - 1];
        }
        place--;
    }
    if (place < FREERS) {
        freers->stacks[place] = stack;
        freers->bytes[place] = bytes;
    }
}

static void neighbour_add(profile_stack_t *stack, uint32_t other, uint64_t bytes)
{
    uint32_t place = 0;
    while (place < stack->neighbour_count && stack->neighbours[place].stack != other)
        place++;
    if (place == stack->neighbour_count) {
        stack->neighbours = memory_push(stack->neighbours, stack->neighbour_count, sizeof *stack->neighbours);
        stack->neighbours[stack->neighbour_count++] = (profile_neighbour_t){.stack = other};
    }
    stack->neighbours[place].bytes += bytes;
}

static void neighbours_add(build_t *build, const group_t *group, const uint64_t *pinned)
{
    freers_t freers = {0};
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        double bytes = (double)site->freed.bytes;
        if (bytes > 0 && build->stack_of[group->sites[i]] != build->unattributed)
            freers_add(&freers, build->stack_of[group->sites[i]], bytes);
    }
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t j = 0; pinned[i] != 0 && j < freers.count; j++)
            neighbour_add(&build->profile->stacks[build->stack_of[group->sites[i]]], freers.stacks[j],
                          amount_whole((double)pinned[i] * freers.bytes[j] / freers.all_bytes));
}

static int neighbours_compare(const void *left, const void *right)
{
    const profile_neighbour_t *first = left, *second = right;
    return (first->bytes < second->bytes) - (first->bytes > second->bytes);
}

static void neighbours_sort(profile_t *profile)
{
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile_stack_t *stack = &profile->stacks[i];
        if (stack->neighbour_count > 1)
            qsort(stack->neighbours, stack->neighbour_count, sizeof *stack->neighbours, neighbours_compare);
        if (stack->neighbour_count > NEIGHBOURS)
            stack->neighbour_count = NEIGHBOURS;
    }
}

// --- the classes one by one ------------------------------------------------------------------------------------------

static group_t group_of_class(const profile_class_t *class)
{
    uint64_t live = class->live_blocks * class->block_bytes;
    return (group_t){
        .block_bytes = class->block_bytes,
        .live_blocks = class->live_blocks,
        .live_bytes = live,
        .rounding_bytes = class->rounding_bytes < live ? class->rounding_bytes : live,
        .holes_bytes = class->holes_bytes,
        .allocated_blocks = class->allocated_total,
    };
}

// What the classes leave of the sheet.
static group_t group_of_large(const profile_snapshot_t *snapshot)
{
    const balance_t *balance = &snapshot->balance;
    group_t group = {
        .live_blocks = balance->large_blocks,
        .live_bytes = balance->live_bytes,
        .rounding_bytes = balance->rounding_bytes,
        .allocated_blocks = balance->large_allocated_total,
    };
    for (uint32_t i = 0; i < snapshot->class_count; i++) {
        group_t class = group_of_class(&snapshot->classes[i]);
        group.live_bytes = minus(group.live_bytes, class.live_bytes);
        group.rounding_bytes = minus(group.rounding_bytes, class.rounding_bytes);
    }
    return group;
}

static uint32_t class_of(const build_t *build, uint32_t place)
{
    return site_at(build, build->sites[place])->class;
}

// Calls `close` for each class with sites, as the sheet of this moment has it.
static void groups_close(build_t *build, profile_moment_t moment,
                         void (*close)(build_t *build, const group_t *group, profile_moment_t moment))
{
    const profile_snapshot_t *snapshot = profile_snapshot(build->profile, moment);
    for (uint32_t i = 0, end; i < build->site_count; i = end) {
        uint32_t class = class_of(build, i);
        for (end = i + 1; end < build->site_count && class_of(build, end) == class;)
            end++;
        if (class > snapshot->class_count)
            continue; // no such class: damage
        group_t group = class == 0 ? group_of_large(snapshot) : group_of_class(&snapshot->classes[class - 1]);
        group.class = class;
        group.sites = build->sites + i;
        group.count = end - i;
        close(build, &group, moment);
    }
}

static void close_last(build_t *build, const group_t *group, profile_moment_t moment)
{
    group_close_live(build, group, moment);
    group_close_allocated(build, group);
    group_close_pinned(build, group, moment);
}

// The worst snapshot for pinned bytes is the one that the recorder took for the worst.
static void worst_find(build_t *build)
{
    const recording_header_t *header = &build->recording->header;
    profile_t *profile = build->profile;
    uint64_t number = header->pinned_worst < PLACES ? header->pinned_number[header->pinned_worst] : 0;
    profile->at[MOMENT_WORST] = profile->at[MOMENT_LAST];
    for (uint32_t i = 0; i < profile->snapshot_count; i++)
        if (profile->snapshots[i].number == number)
            profile->at[MOMENT_WORST] = i;
}

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

static void live_pool(const build_t *build, profile_moment_t moment)
{
    pool_t pool = pool_new(build);
    double *blocks = memory_get(build->profile->stack_count, sizeof *blocks);
    for (uint32_t i = 0; i < build->site_count; i++) {
        recording_counts_t counts = counts_at(build, site_at(build, i), moment);
        pool_add(&pool, build, i, (double)counts.bytes, samples_behind(build, site_at(build, i), moment));
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

static void pinned_pool(const build_t *build, profile_moment_t moment)
{
    uint32_t place = place_at(build, moment);
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
static void moment_close(build_t *build, profile_moment_t moment, profile_metric_t metric)
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

static void allocated_close(build_t *build)
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

static int sites_compare(const void *left, const void *right, void *context)
{
    const build_t *build = context;
    uint32_t first = *(const uint32_t *)left, second = *(const uint32_t *)right;
    uint32_t first_class = site_at(build, first)->class, second_class = site_at(build, second)->class;
    return first_class != second_class ? (first_class > second_class) - (first_class < second_class)
                                       : (first > second) - (first < second);
}

// A process that runs, or was killed, has gone on since its last snapshot: its samples are as of now, the balance sheet
// is not. Each snapshot notes what the samples estimated then.
static void then_find(build_t *build)
{
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++) {
        double now = 0, then = (double)profile_snapshot(build->profile, moment)->weighted_bytes;
        for (uint32_t i = 0; i < build->site_count; i++)
            now += (double)counts_at(build, site_at(build, i), moment).bytes;
        build->then[moment] = now > 0 && then > 0 ? then / now : 1;
    }
}

static double sparse_find(const recording_header_t *header)
{
    double asked = (double)header->sample_bytes, taken = (double)header->sample_bytes_now;
    double mean = header->sampled_total != 0 ? (double)header->clock_bytes / (double)header->sampled_total : 0;
    taken = mean > taken ? mean : taken;
    return asked > 0 && taken > asked ? asked / taken : 1;
}

static void survival_find(build_t *build)
{
    uint32_t stacks = build->profile->stack_count;
    double *allocated = memory_get(stacks, sizeof *allocated);
    for (uint32_t i = 0; i < build->site_count; i++)
        allocated[build->stack_of[i]] += (double)site_at(build, i)->allocated.blocks;
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++) {
        double *survival = build->survival[moment] = memory_get(stacks, sizeof *survival);
        for (uint32_t i = 0; i < build->site_count; i++)
            survival[build->stack_of[i]] += (double)counts_at(build, site_at(build, i), moment).blocks;
        for (uint32_t i = 0; i < stacks; i++)
            survival[i] = allocated[i] > 0 ? survival[i] / allocated[i] : 0;
    }
    free(allocated);
}

static build_t build_new(profile_t *profile, const recording_t *recording, const uint32_t *stack_of)
{
    uint32_t count = (uint32_t)recording_count(recording, RECORDING_SITES);
    build_t build = {
        .profile = profile,
        .recording = recording,
        .site_count = count,
        .stack_of = stack_of,
        .unattributed = profile->stack_count - 1,
        .sites = memory_get(count, sizeof(uint32_t)),
        .weights = memory_get(count, sizeof(double)),
        .blocks = memory_get(count, sizeof(uint64_t)),
        .bytes = memory_get(count, sizeof(uint64_t)),
        .rounding = memory_get(count, sizeof(uint64_t)),
    };
    for (uint32_t i = 0; i < count; i++)
        build.sites[i] = i;
    qsort_r(build.sites, count, sizeof(uint32_t), sites_compare, &build);
    return build;
}

static void build_free(build_t *build)
{
    free(build->sites);
    free(build->weights);
    free(build->blocks);
    free(build->bytes);
    free(build->rounding);
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        free(build->survival[moment]);
}

void profile_close(profile_t *profile, const recording_t *recording, const uint32_t *stack_of)
{
    build_t build = build_new(profile, recording, stack_of);
    worst_find(&build);
    build.sparse = sparse_find(&recording->header);
    then_find(&build);
    survival_find(&build);
    groups_close(&build, MOMENT_LAST, close_last);
    groups_close(&build, MOMENT_PEAK, group_close_live);
    groups_close(&build, MOMENT_WORST, group_close_pinned);
    live_pool(&build, MOMENT_LAST);
    live_pool(&build, MOMENT_PEAK);
    pinned_pool(&build, MOMENT_LAST);
    pinned_pool(&build, MOMENT_WORST);
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++)
            if (profile_knows(moment, metric))
                moment_close(&build, moment, metric);
    allocated_close(&build);
    neighbours_sort(profile);
    build_free(&build);
}
