// tools/diff.c - `tarn diff`: what grew from one recording to another, by cause and by call site.
#include "amount.h"
#include "choices.h"
#include "difference.h"
#include "json_text.h"
#include "memory.h"
#include "output_file.h"
#include "profile_set.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_JSON = 256, OPTION_AT };
enum { TOP_DEFAULT = 5 };

#define SCHEMA 1

// A call site that changed by less has no line: estimates of what did not change differ by as much.
#define CHANGE_MIN_BYTES 16384

#define SITE_COLUMN 50 // behind three figures

typedef struct diff {
    const char *who, *paths[2];
    int path_count;
    bool json;
    unsigned top;
    profile_moment_t moment;
} diff_t;

static const struct argp_option diff_options[] = {
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"top", 'n', "N", 0, "Call sites in each table (default 5)", 0},
    {"at", OPTION_AT, "MOMENT", 0, "Compare the last snapshots (last, the default) or the peaks (peak)", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t diff_set_path(diff_t *diff, const char *value)
{
    if (diff->path_count == 2) {
        tool_error(diff->who, "two recordings are compared, not '%s' as well", value);
        return EINVAL;
    }
    diff->paths[diff->path_count++] = value;
    return 0;
}

static error_t diff_parse(int key, char *value, struct argp_state *state)
{
    diff_t *diff = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARG:
        return diff_set_path(diff, value);
    case ARGP_KEY_END:
        if (diff->path_count == 2)
            return 0;
        tool_error(diff->who, "which two recordings? (see %s --help)", diff->who);
        return EINVAL;
    case OPTION_JSON:
        diff->json = true;
        return 0;
    case 'n':
        return choice_top(diff->who, value, &diff->top);
    case OPTION_AT:
        return choice_moment(diff->who, value, &diff->moment);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp diff_argp = {
    .options = diff_options,
    .parser = diff_parse,
    .args_doc = "A B",
    .doc =
        "Say what grew from recording A to recording B: by cause, and by call site."
        "\vA and B are recordings, or directories of them, whose biggest processes are compared. Call sites are the "
        "same where their names are; the lines count only where both have the same build. Exit status: 0; 2 when the "
        "command line is wrong or a recording cannot be read.",
};

// --- text ------------------------------------------------------------------------------------------------------------

static void write_heads(FILE *out, const difference_t *difference)
{
    const profile_t *profiles[2] = {difference->before, difference->after};
    for (int i = 0; i < 2; i++)
        fprintf(out, "%s %s: %s (pid %lu), %s\n", i == 0 ? "A" : "B",
                text_printable(profiles[i]->recording), text_printable(profiles[i]->program), profiles[i]->pid,
                text_moment(profiles[i], difference->moment));
    fputc('\n', out);
}

static void write_causes(FILE *out, const difference_t *difference)
{
    static const char *const indents[] = {"  ", "    ", "      ", "    - "};
    const balance_t *before = &profile_snapshot(difference->before, difference->moment)->balance;
    const balance_t *after = &profile_snapshot(difference->after, difference->moment)->balance;
    fprintf(out, "  %-24s%16s%16s%16s\n", "by cause", "A", "B", "change");
    for (size_t i = 0; i < balance_field_count && balance_fields[i].level != BALANCE_OTHER; i++) {
        const balance_field_t *field = &balance_fields[i];
        uint64_t from = balance_value(before, field), to = balance_value(after, field);
        fprintf(out, "%s%-*s%16s%16s%16s\n", indents[field->level], 26 - (int)strlen(indents[field->level]),
                field->name, amount_mib(from).text, amount_mib(to).text, amount_change((int64_t)(to - from)).text);
    }
    fputc('\n', out);
}

static void write_row(FILE *out, const difference_row_t *row, profile_metric_t metric)
{
    fprintf(out, "  %14s %14s %14s   %s\n", amount_change(difference_growth(row, metric)).text,
            amount_bytes(row->before[metric]).text, amount_bytes(row->after[metric]).text,
            text_site(row->text, text_room(SITE_COLUMN)));
    if (row->stack->location_count != 0)
        text_callers(out, row->profile, row->stack, SITE_COLUMN + 1);
}

// The rows that grew, then those that shrank as much: the ends of the order.
static void write_rows(FILE *out, difference_t *difference, profile_metric_t metric, unsigned top)
{
    difference_row_t *rows = difference->sites;
    uint32_t count = difference->site_count;
    difference_sort(rows, count, metric);
    if (count == 0 || (difference_growth(&rows[0], metric) < CHANGE_MIN_BYTES &&
                       difference_growth(&rows[count - 1], metric) > -CHANGE_MIN_BYTES))
        return;
    fprintf(out, "  %14s %14s %14s   by call site\n", profile_metric_name(metric), "A", "B");
    for (uint32_t i = 0; i < count && i < top && difference_growth(&rows[i], metric) >= CHANGE_MIN_BYTES; i++)
        write_row(out, &rows[i], metric);
    for (uint32_t i = 0; i < count && i < top && difference_growth(&rows[count - 1 - i], metric) <= -CHANGE_MIN_BYTES;
         i++)
        write_row(out, &rows[count - 1 - i], metric);
    fputc('\n', out);
}

static void diff_text(FILE *out, difference_t *difference, unsigned top)
{
    write_heads(out, difference);
    text_wrap(out, text_printable(difference_verdict(difference)), 2, text_columns());
    fputc('\n', out);
    write_causes(out, difference);
    write_rows(out, difference, METRIC_LIVE_BYTES, top);
    write_rows(out, difference, METRIC_ROUNDING, top);
    write_rows(out, difference, METRIC_PINNED, top);
}

// --- JSON ------------------------------------------------------------------------------------------------------------

static json_t *change_json(uint64_t before, uint64_t after)
{
    json_t *change = json_object();
    json_object_set_new(change, "a", json_number(before));
    json_object_set_new(change, "b", json_number(after));
    json_object_set_new(change, "change", json_integer((json_int_t)(after - before)));
    return change;
}

static json_t *rows_json(const difference_t *difference, difference_row_t *rows, uint32_t count, const char *name)
{
    json_t *array = json_array();
    difference_sort(rows, count, METRIC_LIVE_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        json_t *object = json_object();
        json_object_set_new(object, name, json_text(rows[i].text));
        for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++)
            if (profile_knows(difference->moment, metric))
                json_object_set_new(object, profile_metric_name(metric),
                                    change_json(rows[i].before[metric], rows[i].after[metric]));
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *side_json(const profile_t *profile)
{
    json_t *object = json_object();
    json_object_set_new(object, "recording", json_text(profile->recording));
    json_object_set_new(object, "program", json_text(profile->program));
    json_object_set_new(object, "pid", json_number(profile->pid));
    json_object_set_new(object, "ended_by", json_text(profile->ended_by));
    return object;
}

static char *diff_json(difference_t *difference, size_t *length)
{
    const balance_t *before = &profile_snapshot(difference->before, difference->moment)->balance;
    const balance_t *after = &profile_snapshot(difference->after, difference->moment)->balance;
    json_t *report = json_object(), *balance = json_object();
    json_object_set_new(report, "schema", json_integer(SCHEMA));
    json_object_set_new(report, "kind", json_text("diff"));
    json_object_set_new(report, "tool_version", json_text(TARN_VERSION));
    json_object_set_new(report, "a", side_json(difference->before));
    json_object_set_new(report, "b", side_json(difference->after));
    json_object_set_new(report, "verdict", json_text(difference_verdict(difference)));
    for (size_t i = 0; i < balance_field_count; i++)
        json_object_set_new(balance, balance_fields[i].name,
                            change_json(balance_value(before, &balance_fields[i]),
                                        balance_value(after, &balance_fields[i])));
    json_object_set_new(report, "balance", balance);
    json_object_set_new(report, "sites", rows_json(difference, difference->sites, difference->site_count, "site"));
    json_object_set_new(report, "stacks", rows_json(difference, difference->stacks, difference->stack_count, "stack"));
    return json_print(report, length);
}

static char *diff_print(const diff_t *diff, difference_t *difference, size_t *length)
{
    char *text = NULL;
    if (diff->json)
        return diff_json(difference, length);
    FILE *out = open_memstream(&text, length);
    if (out == NULL)
        return NULL;
    diff_text(out, difference, diff->top);
    return fclose(out) == 0 ? text : NULL;
}

int diff_main(int argc, char **argv)
{
    diff_t diff = {.who = argv[0], .top = TOP_DEFAULT};
    profile_set_t before, after;
    size_t length;
    tool_parse_all(&diff_argp, argc, argv, &diff);
    if (profile_set_read(diff.who, diff.paths[0], &before) != 0 ||
        profile_set_read(diff.who, diff.paths[1], &after) != 0)
        return TOOL_BAD_INPUT;
    difference_t difference = difference_of(before.profiles[0], after.profiles[0], diff.moment);
    text_fit(STDOUT_FILENO);
    char *text = diff_print(&diff, &difference, &length);
    if (text == NULL) {
        tool_error(diff.who, "out of memory");
        return TOOL_FAILED;
    }
    int status = output_print(diff.who, text, length);
    free(text);
    difference_free(&difference);
    return status;
}
