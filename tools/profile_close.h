// tools/profile_close.h - what the files share that close the metrics of the stacks against the balance sheet.
//
//   1  profile_groups.c      class by class: what the samples of a class estimate, against what the sheet knows exactly of it
//                            (shares.h)
//   2                        a class with too little in it for a live sample: who allocated there, by what part of it survives
//   3  profile_rest.c        pooled: where the samples of all classes together account for what is left, too, as far as chance
//                            goes, it is shared out likewise
//   4                        what remains is [unattributed]: blocks from before the first sample, or of the parent, sites
//                            without room
//
//   profile_neighbours.c     who left the holes that a stack's survivors pin
//   profile_close.c          calls them in their order
//
// Blocks and bytes are as in the recording (recording.h): counts of a site are in units of 1 / RECORDING_BLOCK blocks, and those of
// the sheet are whole. Nothing here fails: in a damaged recording less is known. One thread.
#ifndef TARN_TOOLS_PROFILE_CLOSE_H
#define TARN_TOOLS_PROFILE_CLOSE_H

#include "profile_build.h"

// One profile being closed. The arrays of a class have room for all sites; they are reused from one class to the next.
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

static inline const recording_site_t *site_at(const build_t *build, uint32_t site)
{
    return recording_row(build->recording, RECORDING_SITES, site);
}

// The difference, or 0.
static inline uint64_t minus(uint64_t left, uint64_t right)
{
    return left > right ? left - right : 0;
}

// A sum of contributions of samples, and how many equal ones would be as certain: (sum)^2 / sum of squares. Samples
// that contribute nothing make nothing more certain.
typedef struct estimate {
    double sum, squares;
} estimate_t;

static inline void estimate_add(estimate_t *estimate, double sum, double samples)
{
    estimate->sum += sum;
    estimate->squares += samples > 0 ? sum * sum / samples : 0;
}

static inline double estimate_samples(const estimate_t *estimate)
{
    return estimate->squares > 0 ? estimate->sum * estimate->sum / estimate->squares : 0;
}

// The same when there were `times` as many samples.
static inline void estimate_scale(estimate_t *estimate, double times)
{
    estimate->sum *= times;
    estimate->squares *= times;
}

// What a site's samples estimate of it at a moment.
recording_counts_t profile_counts_at(const build_t *build, const recording_site_t *site, profile_moment_t moment);
// How many samples stand behind an estimate. Of the peak that is not noted: as many a block as at birth. Where sampling
// became rarer meanwhile, those that are there are mostly of the time before, and tell less of the time since.
double profile_samples_behind(const build_t *build, const recording_site_t *site, profile_moment_t moment);
// Each site has the pinned bytes of so many snapshots: pinned_number of the header says which (recording.h).
enum { PLACES = 3, NO_PLACE = PLACES };
// Which of a site's places has the pinned bytes of a moment. The recorder may have been killed between its last
// snapshot and that one's pinned bytes: then those before them. NO_PLACE: it has none.
uint32_t profile_place_at(const build_t *build, profile_moment_t moment);

// Shares out what the sheet has of the class at the moment: blocks and bytes; what was allocated, with its deaths (of the whole
// run); the pinned bytes.
void profile_group_live(build_t *build, const group_t *group, profile_moment_t moment);
void profile_group_allocated(build_t *build, const group_t *group);
void profile_group_pinned(build_t *build, const group_t *group, profile_moment_t moment);

// Of each site of the class, its pinned bytes: those go to whoever freed most blocks of the class.
void profile_neighbours_add(build_t *build, const group_t *group, const uint64_t *pinned);
// The first few of each stack stay, the most bytes first.
void profile_neighbours_sort(profile_t *profile);

// Shares out what the classes have left, as far as the samples of all account for it. After all classes.
void profile_rest_live(const build_t *build, profile_moment_t moment);
void profile_rest_pinned(const build_t *build, profile_moment_t moment);
// After those: what remains of the metric is [unattributed].
void profile_rest_close(build_t *build, profile_moment_t moment, profile_metric_t metric);
// All of it for what was allocated.
void profile_rest_allocated(build_t *build);

#endif
