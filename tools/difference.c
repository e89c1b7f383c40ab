// tools/difference.c - see difference.h.
#include "difference.h"

#include "amount.h"
#include "blame.h"
#include "lookup.h"
#include "memory.h"
#include "strings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A change of the heap by less is called none.
#define CHANGE_MIN_PERCENT 1
#define CHANGE_MIN_BYTES (64 * 1024)

typedef struct rows {
    difference_row_t *rows;
    uint32_t count;
    lookup_t by_text;
} rows_t;

static bool row_is(const void *context, uint32_t element)
{
    const rows_t *rows = context;
    return rows->rows[element].text == rows->rows[rows->count].text; // kept texts
}

static difference_row_t *row_of(rows_t *rows, const char *text)
{
    rows->rows = memory_push(rows->rows, rows->count, sizeof *rows->rows);
    rows->rows[rows->count] = (difference_row_t){.text = text};
    uint32_t found = lookup_find_or_add(&rows->by_text, lookup_hash(&text, sizeof text), rows->count, row_is, rows);
    rows->count += found == rows->count;
    return &rows->rows[found];
}

// --- names that two builds share -------------------------------------------------------------------------------------

// One of the two profiles, and of which of its modules the other one has the very build.
typedef struct side {
    const profile_t *profile;
    bool *is_shared;
} side_t;

static bool module_is(const profile_module_t *one, const profile_module_t *other)
{
    if (one->build_id_bytes == 0 && other->build_id_bytes == 0)
        return strcmp(one->path, other->path) == 0;
    return one->build_id_bytes == other->build_id_bytes &&
           memcmp(one->build_id, other->build_id, one->build_id_bytes) == 0;
}

static side_t side_new(const profile_t *profile, const profile_t *other)
{
    side_t side = {profile, memory_get(profile->module_count, sizeof *side.is_shared)};
    for (uint32_t i = 0; i < profile->module_count; i++)
        for (uint32_t j = 0; j < other->module_count && !side.is_shared[i]; j++)
            side.is_shared[i] = module_is(&profile->modules[i], &other->modules[j]);
    return side;
}

// Of a module that was built anew the lines may have moved, and say nothing: a function is the same by its name and its file's.
static const char *frame_text(const side_t *side, const profile_frame_t *frame)
{
    if (frame->file == NULL || frame->line == 0 || frame->module < 0 || side->is_shared[frame->module])
        return frame->text;
    const char *slash = strrchr(frame->file, '/');
    char *text = memory_format("%s (%s)", frame->function, slash != NULL ? slash + 1 : frame->file);
    const char *kept = strings_keep(text);
    free(text);
    return kept;
}

static const char *site_text(const side_t *side, const profile_stack_t *stack)
{
    return stack->blamed != NULL ? frame_text(side, stack->blamed) : side->profile->sites[stack->site].text;
}

static const char *stack_text(const side_t *side, const profile_stack_t *stack)
{
    char *text = NULL;
    size_t length;
    const profile_frame_t *frame;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        return strings_keep("");
    for (uint32_t i = 0; (frame = blame_frame_at(side->profile, stack, i)) != NULL; i++)
        fprintf(out, "%s%s", i == 0 ? "" : " < ", frame_text(side, frame));
    if (stack->location_count == 0)
        fputs("[unattributed]", out);
    fclose(out);
    const char *kept = strings_keep(text);
    free(text);
    return kept;
}

// --- rows ------------------------------------------------------------------------------------------------------------

static void row_add(difference_row_t *row, const profile_t *profile, const profile_stack_t *stack,
                    profile_moment_t moment, bool later)
{
    uint64_t *side = later ? row->after : row->before;
    for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++)
        side[metric] += stack->metrics[moment][metric];
    bool better = row->stack == NULL || row->profile != profile ||
                  stack->metrics[moment][METRIC_LIVE_BYTES] > row->stack->metrics[moment][METRIC_LIVE_BYTES];
    if (better) {
        row->profile = profile;
        row->stack = stack;
    }
}

static void profile_add(rows_t *sites, rows_t *stacks, const profile_t *profile, const profile_t *other,
                        profile_moment_t moment, bool later)
{
    side_t side = side_new(profile, other);
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        const profile_stack_t *stack = &profile->stacks[i];
        row_add(row_of(sites, site_text(&side, stack)), profile, stack, moment, later);
        row_add(row_of(stacks, stack_text(&side, stack)), profile, stack, moment, later);
    }
    free(side.is_shared);
}

difference_t difference_of(const profile_t *before, const profile_t *after, profile_moment_t moment)
{
    rows_t sites = {0}, stacks = {0};
    profile_add(&sites, &stacks, before, after, moment, false);
    profile_add(&sites, &stacks, after, before, moment, true);
    lookup_free(&sites.by_text);
    lookup_free(&stacks.by_text);
    return (difference_t){before, after, moment, sites.rows, stacks.rows, sites.count, stacks.count};
}

void difference_free(difference_t *difference)
{
    free(difference->sites);
    free(difference->stacks);
}

int64_t difference_growth(const difference_row_t *row, profile_metric_t metric)
{
    return (int64_t)(row->after[metric] - row->before[metric]);
}

static int rows_compare(const void *left, const void *right, void *context)
{
    profile_metric_t metric = *(profile_metric_t *)context;
    int64_t first = difference_growth(left, metric), second = difference_growth(right, metric);
    return (first < second) - (first > second);
}

void difference_sort(difference_row_t *rows, uint32_t count, profile_metric_t metric)
{
    if (count > 1)
        qsort_r(rows, count, sizeof *rows, rows_compare, &metric);
}

// --- the sentence ----------------------------------------------------------------------------------------------------

static const balance_t *balance_of(const difference_t *difference, bool later)
{
    return &profile_snapshot(later ? difference->after : difference->before, difference->moment)->balance;
}

static int64_t field_growth(const difference_t *difference, const balance_field_t *field)
{
    return (int64_t)(balance_value(balance_of(difference, true), field) - balance_value(balance_of(difference, false), field));
}

// The cause that changed most in the direction of the whole.
static const balance_field_t *cause_first(const difference_t *difference, bool grew)
{
    const balance_field_t *first = NULL;
    for (size_t i = 0; i < balance_field_count; i++) {
        const balance_field_t *field = &balance_fields[i];
        if (field->level != BALANCE_CAUSE)
            continue;
        int64_t growth = field_growth(difference, field) * (grew ? 1 : -1);
        if (first == NULL || growth > field_growth(difference, first) * (grew ? 1 : -1))
            first = field;
    }
    return first;
}

// The metric of the call sites that tells of this cause; -1: none does.
static int metric_of(const balance_field_t *field)
{
    return strcmp(field->name, "holes_bytes") == 0 ? METRIC_PINNED : profile_metric_find(field->name);
}

static char *site_sentence(difference_t *difference, const balance_field_t *cause, bool grew)
{
    int metric = metric_of(cause);
    if (metric < 0 || !profile_knows(difference->moment, (profile_metric_t)metric) || difference->site_count == 0)
        return memory_format("%s", "");
    difference_sort(difference->sites, difference->site_count, (profile_metric_t)metric);
    const difference_row_t *row = &difference->sites[grew ? 0 : difference->site_count - 1];
    int64_t growth = difference_growth(row, (profile_metric_t)metric);
    if ((growth > 0) != grew || growth == 0)
        return memory_format("%s", "");
    return memory_format("; most of that at %s, %s", row->text, amount_change(growth).text);
}

const char *difference_verdict(difference_t *difference)
{
    const balance_field_t *heap = balance_field("heap_rss_bytes");
    int64_t growth = field_growth(difference, heap);
    uint64_t before = balance_value(balance_of(difference, false), heap);
    uint64_t size = growth < 0 ? (uint64_t)-growth : (uint64_t)growth;
    if (size < CHANGE_MIN_BYTES || size * 100 < before * CHANGE_MIN_PERCENT)
        return strings_keep("the heap is as large as it was");
    const balance_field_t *cause = cause_first(difference, growth > 0);
    char *site = site_sentence(difference, cause, growth > 0);
    char *text = memory_format("the heap %s by %s (%u %%): %s %s%s", growth > 0 ? "grew" : "shrank",
                               amount_bytes(size).text, amount_percent(size, before), cause->name,
                               amount_change(field_growth(difference, cause)).text, site);
    const char *kept = strings_keep(text);
    free(site);
    free(text);
    return kept;
}
