// tools/report_metrics.c - see report_metrics.h. In both formats all samples of a family stand together, so the
// families are the outer loop, the processes and snapshots the inner ones.
#include "report_metrics.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct metrics {
    FILE *out;
    profile_t *const *profiles;
    size_t count;
    unsigned top;
    bool open; // OpenMetrics
} metrics_t;

// "tarn_purged_bytes" of purged_total_bytes: a counter's _total stands at the end of its samples' names, not in the
// family's.
static char *family_of(const balance_field_t *field)
{
    const char *total = strstr(field->name, "_total");
    if (total == NULL)
        return memory_format("tarn_%s", field->name);
    return memory_format("tarn_%.*s%s", (int)(total - field->name), field->name, total + strlen("_total"));
}

static bool counts_bytes(const char *family)
{
    size_t length = strlen(family), unit = strlen("_bytes");
    return length > unit && strcmp(family + length - unit, "_bytes") == 0;
}

static void write_family(const metrics_t *metrics, const char *family, bool counter, const char *help)
{
    const char *suffix = counter && !metrics->open ? "_total" : "";
    fprintf(metrics->out, "# HELP %s%s %s\n", family, suffix, help);
    fprintf(metrics->out, "# TYPE %s%s %s\n", family, suffix, counter ? "counter" : "gauge");
    if (metrics->open && counts_bytes(family))
        fprintf(metrics->out, "# UNIT %s bytes\n", family);
}

// Backslash, quote and newline are escaped in a label's value; what is no UTF-8 must not be there.
static void write_label(FILE *out, const char *name, const char *value, const char *before)
{
    fprintf(out, "%s%s=\"", before, name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"')
            fputc('\\', out);
        fputc((unsigned char)*value < ' ' || (unsigned char)*value >= 0x7f ? '?' : *value, out);
    }
    fputc('"', out);
}

static void write_sample(const metrics_t *metrics, const profile_t *profile, const char *name, const char *site,
                         uint64_t value, const profile_snapshot_t *snapshot)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%lu", profile->pid);
    fprintf(metrics->out, "%s{", name);
    write_label(metrics->out, "program", profile->program, "");
    write_label(metrics->out, "pid", pid, ",");
    if (site != NULL)
        write_label(metrics->out, "site", site, ",");
    fprintf(metrics->out, "} %lu", value);
    if (metrics->open) {
        uint64_t unix_ms = profile->started_unix_ms + snapshot->time_ms;
        fprintf(metrics->out, " %lu.%03lu", unix_ms / 1000, unix_ms % 1000);
    }
    fputc('\n', metrics->out);
}

// --- the balance sheet -----------------------------------------------------------------------------------------------

static void write_history(const metrics_t *metrics, const profile_t *profile, const balance_field_t *field,
                          const char *name)
{
    uint64_t before_ms = UINT64_MAX; // times of one series must grow
    for (uint32_t i = 0; i < profile->snapshot_count; i++) {
        const profile_snapshot_t *snapshot = &profile->snapshots[i];
        bool last = i + 1 == profile->snapshot_count;
        bool newer = last || profile->snapshots[i + 1].time_ms != snapshot->time_ms;
        if ((metrics->open || last) && newer && snapshot->time_ms != before_ms)
            write_sample(metrics, profile, name, NULL, balance_value(&snapshot->balance, field), snapshot);
        before_ms = snapshot->time_ms;
    }
}

static void write_field(const metrics_t *metrics, const balance_field_t *field)
{
    char *family = family_of(field);
    char *name = memory_format("%s%s", family, field->counts_up ? "_total" : "");
    write_family(metrics, family, field->counts_up != 0,
                 field->meaning != NULL ? field->meaning : "see docs/statistics.md");
    for (size_t i = 0; i < metrics->count; i++)
        write_history(metrics, metrics->profiles[i], field, name);
    free(family);
    free(name);
}

// --- call sites ------------------------------------------------------------------------------------------------------

typedef struct ranking {
    const profile_t *profile;
    profile_metric_t metric;
} ranking_t;

static uint64_t ranked(const ranking_t *ranking, uint32_t site)
{
    return ranking->profile->sites[site].metrics[MOMENT_LAST][ranking->metric];
}

static int sites_compare(const void *left, const void *right, void *context)
{
    uint64_t first = ranked(context, *(const uint32_t *)left), second = ranked(context, *(const uint32_t *)right);
    return (first < second) - (first > second);
}

static void write_process_sites(const metrics_t *metrics, const ranking_t *ranking, const char *name)
{
    const profile_t *profile = ranking->profile;
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    uint32_t *order = memory_get(profile->site_count, sizeof *order);
    uint64_t others = profile_total(profile, MOMENT_LAST, ranking->metric);
    for (uint32_t i = 0; i < profile->site_count; i++)
        order[i] = i;
    qsort_r(order, profile->site_count, sizeof *order, sites_compare, (void *)ranking);
    for (uint32_t i = 0; i < profile->site_count && i < metrics->top && ranked(ranking, order[i]) != 0; i++) {
        write_sample(metrics, profile, name, profile->sites[order[i]].text, ranked(ranking, order[i]), last);
        others -= ranked(ranking, order[i]);
    }
    write_sample(metrics, profile, name, "[others]", others, last);
    free(order);
}

static void write_sites(const metrics_t *metrics, profile_metric_t metric, const char *help)
{
    char *name = memory_format("tarn_site_%s", profile_metric_name(metric));
    write_family(metrics, name, false, help);
    for (size_t i = 0; i < metrics->count; i++)
        write_process_sites(metrics, &(ranking_t){metrics->profiles[i], metric}, name);
    free(name);
}

static void write_all(const metrics_t *metrics)
{
    for (size_t i = 0; i < balance_field_count; i++)
        write_field(metrics, &balance_fields[i]);
    write_sites(metrics, METRIC_PINNED, "holes that the blocks of a call site keep from being given back");
    write_sites(metrics, METRIC_ROUNDING, "block size minus request, by call site");
    write_sites(metrics, METRIC_LIVE_BYTES, "live blocks, by call site");
}

// A process that executed itself anew has two recordings, and its labels must be there once: the bigger one stays.
static bool is_repeated(profile_t *const *profiles, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (profiles[i]->pid == profiles[index]->pid && profiles[i]->program == profiles[index]->program) // kept texts
            return true;
    return false;
}

static void write_distinct(FILE *out, profile_t *const *profiles, size_t count, unsigned top, bool open)
{
    profile_t **distinct = memory_get(count, sizeof *distinct);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_repeated(profiles, i))
            distinct[kept++] = profiles[i];
    write_all(&(metrics_t){out, distinct, kept, top, open});
    free(distinct);
}

void report_openmetrics(FILE *out, profile_t *const *profiles, size_t count, unsigned top)
{
    write_distinct(out, profiles, count, top, true);
    fputs("# EOF\n", out);
}

void report_prometheus(FILE *out, profile_t *const *profiles, size_t count, unsigned top)
{
    write_distinct(out, profiles, count, top, false);
}
