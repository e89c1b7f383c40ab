// tools/profile.c - names and lookups of a profile; see profile.h.
#include "profile.h"

#include <string.h>

static const struct {
    const char *name;      // of a stack's field
    const char *field;     // of the balance sheet: what all stacks add up to
} metrics[PROFILE_METRICS] = {
    [METRIC_LIVE_BYTES] = {"live_bytes", "live_bytes"},
    [METRIC_LIVE_BLOCKS] = {"live_blocks", "live_blocks"},
    [METRIC_REQUESTED] = {"requested_bytes", "requested_bytes"},
    [METRIC_ROUNDING] = {"rounding_bytes", "rounding_bytes"},
    [METRIC_PINNED] = {"pinned_bytes", "holes_bytes"},
};

const profile_snapshot_t *profile_snapshot(const profile_t *profile, profile_moment_t moment)
{
    return &profile->snapshots[profile->at[moment]];
}

bool profile_knows(profile_moment_t moment, profile_metric_t metric)
{
    return moment == MOMENT_LAST || (moment == MOMENT_WORST) == (metric == METRIC_PINNED);
}

uint64_t profile_total(const profile_t *profile, profile_moment_t moment, profile_metric_t metric)
{
    return balance_value(&profile_snapshot(profile, moment)->balance, balance_field(metrics[metric].field));
}

const char *profile_metric_name(profile_metric_t metric)
{
    return metrics[metric].name;
}

int profile_metric_find(const char *name)
{
    for (int metric = 0; metric < PROFILE_METRICS; metric++) {
        const char *full = metrics[metric].name;
        size_t length = strlen(name);
        bool is_bytes = strncmp(full, name, length) == 0 && strcmp(full + length, "_bytes") == 0;
        if (is_bytes || strcmp(full, name) == 0)
            return metric;
    }
    return -1;
}
