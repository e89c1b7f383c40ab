// tools/report_text.c - see report_text.h.
#include "report_text.h"

#include "amount.h"
#include "memory.h"
#include "text.h"
#include "verdict.h"

#include <stdlib.h>
#include <string.h>

// A cause that is a smaller part of the heap has no table of call sites, a class that wastes less of it no line.
#define TABLE_MIN_PERCENT 2
#define CLASSES_SHOWN 6

#define PROCESSES_SHOWN 20
#define PROGRAM_ROOM 20

#define PROCESSES_COLUMNS 104 // with what is resident and live now
#define CLASSES_COLUMNS 80 // a line of that table
#define SITE_COLUMN 26      // behind the figure and its share
#define REMARK_INDENT 27    // below the name of a call site, a little to the right
#define MEANING_COLUMNS 110 // where the balance sheet's fields are explained: two figures each, and the longest meaning but one

static double seconds(uint64_t ms)
{
    return (double)ms / 1000;
}

// --- the process -----------------------------------------------------------------------------------------------------

static const char *end_text(const profile_t *profile, char *room, size_t size)
{
    if (strcmp(profile->ended_by, "running") == 0)
        snprintf(room, size, "running");
    else if (strcmp(profile->ended_by, "unknown") == 0)
        snprintf(room, size, "no end: killed (SIGKILL, out of memory), went on unrecorded (exec), or exited without the C "
                             "library (Go)");
    else if (profile->became != NULL)
        snprintf(room, size, "went on as %s (exec)", text_printable(profile->became));
    else if (strstr(profile->ended_by, "exit") != NULL && profile->end_value != 0)
        snprintf(room, size, "ended by %s, status %d", profile->ended_by, profile->end_value);
    else
        snprintf(room, size, "ended by %s", profile->ended_by);
    return room;
}

// Of a process whose end is not known, or that runs, the time is that of the last event in its recording.
static const char *after_text(const profile_t *profile)
{
    bool open = strcmp(profile->ended_by, "running") == 0 || strcmp(profile->ended_by, "unknown") == 0;
    return open ? "last heard of after" : "after";
}

static void write_process(FILE *out, const profile_t *profile)
{
    char end[128];
    fprintf(out, "tarn: %s (pid %lu), %s, %s %.1f s\n", text_printable(profile->program), profile->pid,
            end_text(profile, end, sizeof end), after_text(profile), seconds(profile->duration_ms));
    if (profile->command_count != 0)
        fprintf(out, "      %s\n", text_command(profile->command, profile->command_count, text_room(6)));
    fprintf(out, "      %s: %u snapshot%s", text_printable(profile->recording), profile->snapshot_count,
            text_plural(profile->snapshot_count));
    if (profile->sample_bytes != 0)
        fprintf(out, ", %u call stack%s, a sample each %s\n\n", profile->stack_count - 1,
                text_plural(profile->stack_count - 1), amount_chosen(profile->sample_bytes).text);
    else
        fprintf(out, ", no profile\n\n");
}

static void write_warnings(FILE *out, const profile_t *profile)
{
    for (uint32_t i = 0; i < profile->warning_count; i++) {
        char *text = memory_format("note: %s", text_printable(profile->warnings[i]));
        text_wrap(out, text, 2, text_columns());
        free(text);
    }
    fputs(profile->warning_count != 0 ? "\n" : "", out);
}

// --- the balance sheet -----------------------------------------------------------------------------------------------

static uint64_t whole_of(const balance_t *balance, const balance_field_t *field)
{
    return field->level == BALANCE_PROCESS ? 0
           : field->level == BALANCE_HALF ? balance->rss_bytes : balance->heap_rss_bytes;
}

static void write_figure(FILE *out, const balance_t *balance, const balance_field_t *field)
{
    uint64_t value = balance_value(balance, field), whole = whole_of(balance, field);
    fprintf(out, "%16s", amount_mib(value).text);
    if (whole != 0)
        fprintf(out, "  %3u %%", amount_percent(value, whole));
    else
        fputs("       ", out);
}

static void write_counts(FILE *out, const profile_snapshot_t *last)
{
    const balance_t *balance = &last->balance;
    char *error = last->requested_exact
                      ? memory_format("%s", "")
                      : memory_format("; requested_bytes +- %s", amount_bytes(balance->requested_error_bytes).text);
    char *text = memory_format("live_blocks %s; %s allocated, %s freed since the start%s",
                               amount_count(balance->live_blocks).text, amount_count(balance->allocated_total).text,
                               amount_count(balance->freed_total).text, error);
    text_wrap(out, text, 2, text_columns());
    free(text);
    free(error);
}

static void write_balance(FILE *out, const profile_t *profile)
{
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    const profile_snapshot_t *peak = &profile->snapshots[profile->peak_rss];
    char peak_title[40];
    snprintf(peak_title, sizeof peak_title, "peak (%.1f s)", seconds(peak->time_ms));
    fprintf(out, "%-26s%16s%23s\n", "  where it is", text_moment(profile, MOMENT_LAST), peak_title);
    for (size_t i = 0; i < balance_field_count && balance_fields[i].level != BALANCE_OTHER; i++) {
        const balance_field_t *field = &balance_fields[i];
        static const char *const indents[] = {"  ", "    ", "      ", "    - "};
        fprintf(out, "%s%-*s", indents[field->level], 26 - (int)strlen(indents[field->level]), field->name);
        write_figure(out, &last->balance, field);
        write_figure(out, &peak->balance, field);
        if (text_columns() >= MEANING_COLUMNS)
            fprintf(out, "  %s", field->meaning);
        fputc('\n', out);
    }
    fprintf(out, "  peak_rss_bytes %s, as the kernel saw it", amount_mib(last->balance.peak_rss_bytes).text);
    if (last->balance.threads != 0) // only what was counted at the end
        fprintf(out, "; %lu thread%s", last->balance.threads, text_plural(last->balance.threads));
    fputc('\n', out);
    write_counts(out, last);
    fputc('\n', out);
}

// --- size classes ----------------------------------------------------------------------------------------------------

static uint64_t class_waste(const profile_class_t *class)
{
    return class->rounding_bytes + class->holes_bytes + class->tail_bytes + class->pending_bytes;
}

static int classes_compare(const void *left, const void *right)
{
    const profile_class_t *const *first = left, *const *second = right;
    return (class_waste(*first) < class_waste(*second)) - (class_waste(*first) > class_waste(*second));
}

// The moment stands behind the titles, or above them where there is no room.
static void write_classes_head(FILE *out, const char *moment)
{
    bool narrow = text_columns() < (int)(CLASSES_COLUMNS + strlen("   ") + strlen(moment));
    if (narrow)
        fprintf(out, "  size classes %s\n", moment);
    fprintf(out, "  %10s %13s %9s %11s %15s %15s%s%s\n", "block size", "live blocks", "pages", "occupancy", "rounding",
            "holes", narrow ? "" : "   ", narrow ? "" : moment);
}

static void write_class(FILE *out, const profile_class_t *class)
{
    fprintf(out, "  %10s %13s %9s %9u %% %15s %15s\n", amount_count(class->block_bytes).text,
            amount_count(class->live_blocks).text, amount_count(class->pages).text,
            amount_percent(class->live_blocks * class->block_bytes, class->pages * class->page_bytes),
            amount_bytes(class->rounding_bytes).text, amount_bytes(class->holes_bytes).text);
}

static void write_classes(FILE *out, const profile_t *profile, profile_moment_t moment)
{
    const profile_snapshot_t *snapshot = profile_snapshot(profile, moment);
    const profile_class_t **order = memory_get(snapshot->class_count, sizeof *order);
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        order[i] = &snapshot->classes[i];
    qsort(order, snapshot->class_count, sizeof *order, classes_compare);
    uint32_t shown = 0;
    while (shown < snapshot->class_count && shown < CLASSES_SHOWN && class_waste(order[shown]) != 0 &&
           amount_percent(class_waste(order[shown]), snapshot->balance.heap_rss_bytes) >= TABLE_MIN_PERCENT)
        shown++;
    if (shown != 0)
        write_classes_head(out, text_moment(profile, moment));
    for (uint32_t i = 0; i < shown; i++)
        write_class(out, order[i]);
    fputs(shown != 0 ? "\n" : "", out);
    free(order);
}

// --- call sites ------------------------------------------------------------------------------------------------------

typedef struct ranking {
    const profile_t *profile;
    profile_moment_t moment;
    profile_metric_t metric;
} ranking_t;

static uint64_t ranked(const ranking_t *ranking, uint32_t site)
{
    return ranking->profile->sites[site].metrics[ranking->moment][ranking->metric];
}

static int sites_compare(const void *left, const void *right, void *context)
{
    uint64_t first = ranked(context, *(const uint32_t *)left), second = ranked(context, *(const uint32_t *)right);
    return (first < second) - (first > second);
}

static const profile_stack_t *heaviest(const ranking_t *ranking, uint32_t site)
{
    const profile_t *profile = ranking->profile;
    const profile_stack_t *most = NULL;
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        const profile_stack_t *stack = &profile->stacks[i];
        if (stack->site == site && (most == NULL || stack->metrics[ranking->moment][ranking->metric] >
                                                        most->metrics[ranking->moment][ranking->metric]))
            most = stack;
    }
    return most;
}

// "21,491 live blocks of 1,203,456 (from 6 samples), 93 % of them old", or of a table that is about an earlier time, where
// the blocks' ages are not known, "243,447 blocks since the start, of which 12 were live at exit". Both are estimates.
static void write_blocks(FILE *out, const ranking_t *ranking, const profile_site_t *site)
{
    uint64_t kept = site->kept[0] + site->kept[1] + site->kept[2];
    uint64_t live = site->metrics[MOMENT_LAST][METRIC_LIVE_BLOCKS];
    if (ranking->moment != MOMENT_LAST)
        fprintf(out, "%s block%s since the start, %s of them live %s", amount_count(site->allocated_blocks).text,
                text_plural(site->allocated_blocks), live == 0 ? "none" : amount_count(live).text,
                text_moment(ranking->profile, MOMENT_LAST));
    else
        fprintf(out, "%s live block%s", amount_count(live).text, text_plural(live));
    if (ranking->moment == MOMENT_LAST && site->allocated_blocks >= live)
        fprintf(out, " of %s", amount_count(site->allocated_blocks).text);
    if (live != 0 && site->live_samples < PROFILE_SAMPLES_FEW)
        fprintf(out, " (from %u sample%s)", site->live_samples, text_plural(site->live_samples));
    if (kept != 0)
        fprintf(out, ", %u %% of %s old", amount_percent(site->kept[GENERATION_OLD], kept),
                ranking->moment == MOMENT_LAST ? "them" : "these");
}

// ... "; 80 % of the freed ones died young; thread worker"
static void write_remark(FILE *out, const ranking_t *ranking, const profile_site_t *site, const profile_stack_t *stack)
{
    const profile_t *profile = ranking->profile;
    uint64_t freed = site->freed[0] + site->freed[1] + site->freed[2];
    write_blocks(out, ranking, site);
    if (freed != 0)
        fprintf(out, "; %u %% of the freed ones died young", amount_percent(site->freed[GENERATION_YOUNG], freed));
    if (stack->thread >= 0 && profile->thread_count > 2 && *profile->threads[stack->thread].name != '\0')
        fprintf(out, "; thread %s", text_printable(profile->threads[stack->thread].name));
}

static void write_neighbour(FILE *out, const profile_t *profile, const profile_stack_t *stack)
{
    const profile_stack_t *neighbour = &profile->stacks[stack->neighbours[0].stack];
    if (neighbour->site == stack->site)
        return;
    char *text = memory_format("among blocks that were freed: from %s",
                               text_site(profile->sites[neighbour->site].text, text_room(REMARK_INDENT)));
    text_wrap(out, text, REMARK_INDENT, text_columns());
    free(text);
}

static void write_site(FILE *out, const ranking_t *ranking, uint32_t index, uint64_t total)
{
    const profile_site_t *site = &ranking->profile->sites[index];
    uint64_t value = ranked(ranking, index);
    fprintf(out, "  %14s  %3u %%   %s\n", amount_bytes(value).text, amount_percent(value, total),
            text_site(site->text, text_room(SITE_COLUMN)));
    if (index + 1 == ranking->profile->site_count)
        return;
    const profile_stack_t *stack = heaviest(ranking, index);
    text_callers(out, ranking->profile, stack, REMARK_INDENT);
    char *remark = NULL;
    size_t length;
    FILE *line = open_memstream(&remark, &length);
    if (line != NULL) {
        write_remark(line, ranking, site, stack);
        if (fclose(line) == 0)
            text_wrap(out, remark, REMARK_INDENT, text_columns());
        free(remark);
    }
    if (ranking->metric == METRIC_PINNED && stack->neighbour_count != 0)
        write_neighbour(out, ranking->profile, stack);
}

static void write_sites(FILE *out, const ranking_t *ranking, const char *title, unsigned top)
{
    const profile_t *profile = ranking->profile;
    uint64_t total = profile_total(profile, ranking->moment, ranking->metric);
    const balance_t *balance = &profile_snapshot(profile, ranking->moment)->balance;
    if (profile->site_count < 2 || amount_percent(total, balance->heap_rss_bytes) < TABLE_MIN_PERCENT)
        return;
    uint32_t *order = memory_get(profile->site_count, sizeof *order), nobody = profile->site_count - 1;
    for (uint32_t i = 0; i < profile->site_count; i++)
        order[i] = i;
    qsort_r(order, profile->site_count, sizeof *order, sites_compare, (void *)ranking);
    char *heading = memory_format("%s, %s: %s", title, text_moment(profile, ranking->moment), amount_bytes(total).text);
    text_wrap(out, heading, 2, text_columns());
    free(heading);
    for (uint32_t i = 0, shown = 0; i < profile->site_count && shown < top; i++) {
        if (order[i] == nobody || amount_percent(ranked(ranking, order[i]), total) == 0)
            continue;
        write_site(out, ranking, order[i], total);
        shown++;
    }
    if (amount_percent(ranked(ranking, nobody), total) != 0)
        write_site(out, ranking, nobody, total);
    fputc('\n', out);
    free(order);
}

void report_text(FILE *out, const profile_t *profile, const report_text_options_t *options)
{
    verdict_t verdict = verdict_of(profile);
    profile_moment_t moment = options->moment_given              ? options->moment
                              : verdict.moment == MOMENT_LAST ? MOMENT_LAST : MOMENT_PEAK;
    profile_moment_t pinned = moment == MOMENT_LAST ? MOMENT_LAST : MOMENT_WORST;
    write_process(out, profile);
    text_wrap(out, text_printable(verdict.text), 2, text_columns());
    fputc('\n', out);
    write_warnings(out, profile);
    write_balance(out, profile);
    write_classes(out, profile, moment);
    write_sites(out, &(ranking_t){profile, pinned, METRIC_PINNED},
                "pinned_bytes, holes that the blocks of a call site keep from being given back", options->top);
    write_sites(out, &(ranking_t){profile, moment, METRIC_ROUNDING},
                "rounding_bytes, by call site", options->top);
    write_sites(out, &(ranking_t){profile, moment, METRIC_LIVE_BYTES}, "live_bytes, by call site", options->top);
}

void report_text_processes(FILE *out, profile_t *const *profiles, size_t count)
{
    bool wide = text_columns() >= PROCESSES_COLUMNS;
    fprintf(out, "%zu processes, the biggest first\n", count);
    fprintf(out, "  %8s  %-20s %14s", "pid", "program", "peak rss");
    if (wide)
        fprintf(out, " %14s %14s", "rss", "live");
    fprintf(out, " %14s  %s\n", "holes", "ended by");
    for (size_t i = 0; i < count && i < PROCESSES_SHOWN; i++) {
        const balance_t *last = &profile_snapshot(profiles[i], MOMENT_LAST)->balance;
        const char *program = text_printable(profiles[i]->program);
        fprintf(out, "  %8lu  %-20.*s %14s", profiles[i]->pid, (int)text_cut(program, PROGRAM_ROOM), program,
                amount_mib(last->peak_rss_bytes).text);
        if (wide)
            fprintf(out, " %14s %14s", amount_mib(last->rss_bytes).text, amount_mib(last->live_bytes).text);
        fprintf(out, " %14s  %s\n", amount_mib(last->holes_bytes).text, profiles[i]->ended_by);
    }
    if (count > PROCESSES_SHOWN)
        fprintf(out, "  and %zu more\n", count - PROCESSES_SHOWN);
    fputc('\n', out);
}
