// tools/profile_close.c - the metrics of the stacks, closed against the balance sheet: in which order, and from what. See
// profile_close.h.
#include "profile_close.h"

#include "memory.h"

#include <stdlib.h>

recording_counts_t profile_counts_at(const build_t *build, const recording_site_t *site, profile_moment_t moment)
{
    return moment == MOMENT_PEAK ? recording_site_at_peak(site, build->recording->header.peak_epoch) : site->live;
}

double profile_samples_behind(const build_t *build, const recording_site_t *site, profile_moment_t moment)
{
    if (moment != MOMENT_PEAK)
        return (double)site->live_samples * build->sparse;
    double blocks = (double)profile_counts_at(build, site, moment).blocks, born = (double)site->allocated.blocks;
    return born > 0 ? blocks / born * (double)site->allocated_samples * build->sparse : 0;
}

uint32_t profile_place_at(const build_t *build, profile_moment_t moment)
{
    const recording_header_t *header = &build->recording->header;
    uint64_t number = profile_snapshot(build->profile, moment)->number;
    for (uint32_t place = 0; place < PLACES; place++)
        if (header->pinned_number[place] == number && number != 0)
            return place;
    return moment == MOMENT_LAST && header->pinned_last < PLACES ? header->pinned_last : NO_PLACE;
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
    profile_group_live(build, group, moment);
    profile_group_allocated(build, group);
    profile_group_pinned(build, group, moment);
}

// --- what is asked of the whole recording first ----------------------------------------------------------------------

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

// A process that runs, or was killed, has gone on since its last snapshot: its samples are as of now, the balance sheet
// is not. Each snapshot notes what the samples estimated then.
static void then_find(build_t *build)
{
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++) {
        double now = 0, then = (double)profile_snapshot(build->profile, moment)->weighted_bytes;
        for (uint32_t i = 0; i < build->site_count; i++)
            now += (double)profile_counts_at(build, site_at(build, i), moment).bytes;
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
            survival[build->stack_of[i]] += (double)profile_counts_at(build, site_at(build, i), moment).blocks;
        for (uint32_t i = 0; i < stacks; i++)
            survival[i] = allocated[i] > 0 ? survival[i] / allocated[i] : 0;
    }
    free(allocated);
}

// --- all of it -------------------------------------------------------------------------------------------------------

static int sites_compare(const void *left, const void *right, void *context)
{
    const build_t *build = context;
    uint32_t first = *(const uint32_t *)left, second = *(const uint32_t *)right;
    uint32_t first_class = site_at(build, first)->class, second_class = site_at(build, second)->class;
    return first_class != second_class ? (first_class > second_class) - (first_class < second_class)
                                       : (first > second) - (first < second);
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
    groups_close(&build, MOMENT_PEAK, profile_group_live);
    groups_close(&build, MOMENT_WORST, profile_group_pinned);
    profile_rest_live(&build, MOMENT_LAST);
    profile_rest_live(&build, MOMENT_PEAK);
    profile_rest_pinned(&build, MOMENT_LAST);
    profile_rest_pinned(&build, MOMENT_WORST);
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++)
            if (profile_knows(moment, metric))
                profile_rest_close(&build, moment, metric);
    profile_rest_allocated(&build);
    profile_neighbours_sort(profile);
    build_free(&build);
}
