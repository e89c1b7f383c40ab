// tools/top_text.c - see top_text.h.
#include "top_text.h"

#include "amount.h"
#include "memory.h"
#include "text.h"
#include "verdict.h"

#include <stdlib.h>
#include <string.h>

enum { BAR_COLUMNS = 40, CLASSES_SHOWN = 5 };
enum { SITE_COLUMN = 48, SITE_ROOM_LEAST = 12 }; // behind three figures

static void write_head(FILE *out, const profile_t *profile, live_t now, int columns)
{
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    uint64_t now_ms = profile->duration_ms > last->time_ms ? profile->duration_ms : last->time_ms;
    const char *state = strcmp(profile->ended_by, "unknown") == 0 ? "ended without a word" : profile->ended_by;
    uint64_t threads = now.threads != 0 ? now.threads : last->balance.threads;
    fprintf(out, "tarn top: %s (pid %lu), %s, %lu thread%s, up %.1f s\n", text_printable(profile->program),
            profile->pid, state, threads, text_plural(threads), (double)now_ms / 1000);
    fprintf(out, "rss %s now; the rest as of snapshot %lu, %.1f s ago (%s)\n\n",
            amount_mib(now.rss_bytes != 0 ? now.rss_bytes : last->balance.rss_bytes).text, last->number,
            (double)(now_ms - last->time_ms) / 1000, last->reason);
    text_wrap(out, text_printable(verdict_of(profile).text), 0, columns);
    fputc('\n', out);
}

static void write_bar(FILE *out, uint64_t part, uint64_t whole)
{
    unsigned length = whole == 0 ? 0 : (unsigned)amount_whole((double)part / (double)whole * BAR_COLUMNS + 0.5);
    for (unsigned i = 0; i < BAR_COLUMNS && i < length; i++)
        fputc('#', out);
}

static void write_causes(FILE *out, const balance_t *balance)
{
    for (size_t i = 0; i < balance_field_count; i++) {
        const balance_field_t *field = &balance_fields[i];
        if (field->level != BALANCE_CAUSE && field->level != BALANCE_HALF)
            continue;
        uint64_t value = balance_value(balance, field);
        fprintf(out, "%s%-*s %14s  ", field->level == BALANCE_CAUSE ? "  " : "",
                field->level == BALANCE_CAUSE ? 16 : 18, field->name, amount_mib(value).text);
        write_bar(out, value, balance->rss_bytes);
        fputc('\n', out);
    }
    fputc('\n', out);
}

static double per_second(uint64_t before, uint64_t after, uint64_t ms)
{
    return ms == 0 || after < before ? 0 : (double)(after - before) * 1000 / (double)ms;
}

static void write_rates(FILE *out, const profile_t *profile, int columns)
{
    if (profile->snapshot_count < 2)
        return;
    const profile_snapshot_t *to = profile_snapshot(profile, MOMENT_LAST), *from = to - 1;
    uint64_t ms = to->time_ms - from->time_ms;
    double mib = 1 << 20;
    char *text = memory_format(
        "between the last two snapshots, %.1f s: %.0f allocated/s, %.0f freed/s, %.1f MiB/s given back, %.0f %% of a CPU",
        (double)ms / 1000, per_second(from->balance.allocated_total, to->balance.allocated_total, ms),
        per_second(from->balance.freed_total, to->balance.freed_total, ms),
        per_second(from->balance.purged_total_bytes, to->balance.purged_total_bytes, ms) / mib,
        per_second(from->cpu_ms, to->cpu_ms, ms) / 10);
    text_wrap(out, text, 0, columns);
    fputc('\n', out);
    free(text);
}

static int classes_compare(const void *left, const void *right)
{
    const profile_class_t *const *first = left, *const *second = right;
    uint64_t one = (*first)->pages * (*first)->page_bytes, other = (*second)->pages * (*second)->page_bytes;
    return (one < other) - (one > other);
}

static void write_classes(FILE *out, const profile_snapshot_t *snapshot)
{
    const profile_class_t **order = memory_get(snapshot->class_count, sizeof *order);
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        order[i] = &snapshot->classes[i];
    qsort(order, snapshot->class_count, sizeof *order, classes_compare);
    fprintf(out, "%10s %13s %9s %10s %14s %14s\n", "block size", "live blocks", "pages", "occupancy", "rounding",
            "holes");
    for (uint32_t i = 0; i < snapshot->class_count && i < CLASSES_SHOWN && order[i]->pages != 0; i++)
        fprintf(out, "%10lu %13s %9s %8u %% %14s %14s\n", order[i]->block_bytes,
                amount_count(order[i]->live_blocks).text, amount_count(order[i]->pages).text,
                amount_percent(order[i]->live_blocks * order[i]->block_bytes, order[i]->pages * order[i]->page_bytes),
                amount_bytes(order[i]->rounding_bytes).text, amount_bytes(order[i]->holes_bytes).text);
    fputc('\n', out);
    free(order);
}

static uint64_t site_weight(const profile_site_t *site)
{
    return site->metrics[MOMENT_LAST][METRIC_LIVE_BYTES] + site->metrics[MOMENT_LAST][METRIC_PINNED];
}

static int sites_compare(const void *left, const void *right)
{
    uint64_t one = site_weight(*(const profile_site_t *const *)left);
    uint64_t other = site_weight(*(const profile_site_t *const *)right);
    return (one < other) - (one > other);
}

// Not those that hold nothing.
static void write_sites(FILE *out, const profile_t *profile, unsigned most, int columns)
{
    size_t room = columns > SITE_COLUMN + SITE_ROOM_LEAST ? (size_t)(columns - SITE_COLUMN) : SITE_ROOM_LEAST;
    const profile_site_t **order = memory_get(profile->site_count, sizeof *order);
    for (uint32_t i = 0; i < profile->site_count; i++)
        order[i] = &profile->sites[i];
    qsort(order, profile->site_count, sizeof *order, sites_compare);
    fprintf(out, "%14s %14s %14s   %s\n", "live", "pinned", "rounding", "call site");
    for (uint32_t i = 0; i < profile->site_count && i < most && site_weight(order[i]) != 0; i++) {
        const uint64_t *metrics = order[i]->metrics[MOMENT_LAST];
        fprintf(out, "%14s %14s %14s   %s\n", amount_bytes(metrics[METRIC_LIVE_BYTES]).text,
                amount_bytes(metrics[METRIC_PINNED]).text, amount_bytes(metrics[METRIC_ROUNDING]).text,
                text_site(order[i]->text, room));
    }
    free(order);
}

void top_text(FILE *out, const profile_t *profile, live_t now, unsigned sites, int columns)
{
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    write_head(out, profile, now, columns);
    write_causes(out, &last->balance);
    write_rates(out, profile, columns);
    write_classes(out, last);
    write_sites(out, profile, sites, columns);
}
