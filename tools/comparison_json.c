// tools/comparison_json.c - a comparison as one JSON object; docs/statistics.md defines its fields.
#include "comparison.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { COMPARISON_SCHEMA = 1 };

// Names and paths can hold any bytes, JSON cannot: what is no UTF-8 becomes question marks.
static json_t *text_json(const char *text)
{
    json_t *string = text != NULL ? json_string(text) : json_null();
    if (string != NULL)
        return string;
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *letter = copy; *letter != '\0'; letter++)
        if ((unsigned char)*letter >= 0x80)
            *letter = '?';
    return json_string(copy);
}

// JSON knows no NaN.
static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

// A metric's values are whole; so is its median here, though it may lie between two.
static json_t *figure_json(double value)
{
    return json_integer((json_int_t)llround(value));
}

static json_t *command_json(const comparison_t *comparison)
{
    json_t *words = json_array();
    for (char **word = comparison->command; *word != NULL; word++)
        json_array_append_new(words, text_json(*word));
    return words;
}

static json_t *provenance_json(const comparison_t *comparison)
{
    json_t *object = json_object();
    json_object_set_new(object, "tarn", json_string(TARN_VERSION));
    for (int i = 0; i < comparison->provenance.count; i++)
        json_object_set_new(object, comparison->provenance.facts[i].name,
                            text_json(comparison->provenance.facts[i].value));
    return object;
}

static json_t *cell_json(const comparison_t *comparison, const row_t *row, metric_t metric)
{
    const cell_t *cell = &row->cells[metric];
    json_t *object = json_object(), *values = json_array();
    for (int i = 0; i < row->count; i++)
        json_array_append_new(values, figure_json(cell->values[i]));
    json_object_set_new(object, "median", figure_json(cell->median));
    json_object_set_new(object, "values", values);
    if (row == &comparison->rows[comparison->base])
        return object;
    json_object_set_new(object, "ratio", real_json(cell->ratio.estimate));
    json_object_set_new(object, "ratio_low", real_json(cell->ratio.low));
    json_object_set_new(object, "ratio_high", real_json(cell->ratio.high));
    json_object_set_new(object, "p_corrected", real_json(cell->p));
    json_object_set_new(object, "difference", json_string(difference_key(cell->difference)));
    return object;
}

static json_t *curve_json(const measurement_t *run)
{
    json_t *points = json_array();
    for (int i = 0; i < run->curve.count; i++)
        json_array_append_new(points, json_pack("[I,I]", (json_int_t)run->curve.points[i].at_ns,
                                                (json_int_t)run->curve.points[i].resident_bytes));
    return points;
}

static json_t *statuses_json(const row_t *row)
{
    json_t *statuses = json_array();
    for (int i = 0; i < row->count; i++)
        json_array_append_new(statuses, json_integer(row->runs[i].status));
    return statuses;
}

// What the kernel tells of each run besides the metrics.
static json_t *details_json(const row_t *row)
{
    json_t *runs = json_array();
    for (int i = 0; i < row->count; i++) {
        const measurement_t *run = &row->runs[i];
        json_array_append_new(runs, json_pack("{s:I,s:I,s:I,s:I,s:I,s:i}", "user_ns", (json_int_t)run->user_ns,
                                              "system_ns", (json_int_t)run->system_ns, "peak_process_bytes",
                                              (json_int_t)run->peak_process_bytes, "minor_faults",
                                              (json_int_t)run->minor_faults, "major_faults",
                                              (json_int_t)run->major_faults, "samples", run->samples));
    }
    return runs;
}

static json_t *row_json(const comparison_t *comparison, const row_t *row)
{
    json_t *object = json_object(), *cells = json_object();
    json_object_set_new(object, "name", text_json(row->allocator->name));
    json_object_set_new(object, "library", text_json(row->library));
    json_object_set_new(object, "version", text_json(row->allocator->version));
    json_object_set_new(object, "failed_runs", json_integer(row->failed));
    json_object_set_new(object, "statuses", statuses_json(row));
    if (row->is_out) {
        json_object_set_new(object, "failed_with", json_integer(row->status));
        json_decref(cells);
        return object;
    }
    for (metric_t metric = 0; metric < METRICS; metric++)
        if (comparison_has(comparison, metric))
            json_object_set_new(cells, metric_key(metric), cell_json(comparison, row, metric));
    json_object_set_new(object, "metrics", cells);
    json_object_set_new(object, "runs", details_json(row));
    json_object_set_new(object, "resident_over_time", curve_json(comparison_typical_run(row)));
    return object;
}

static json_t *rows_json(const comparison_t *comparison)
{
    json_t *rows = json_array();
    for (int row = 0; row < comparison->count; row++)
        json_array_append_new(rows, row_json(comparison, &comparison->rows[row]));
    return rows;
}

static json_t *missing_json(const comparison_t *comparison)
{
    json_t *missing = json_array();
    for (int i = 0; i < comparison->allocators->missing_count; i++) {
        json_t *object = json_object();
        json_object_set_new(object, "name", text_json(comparison->allocators->missing[i].name));
        json_object_set_new(object, "reason", text_json(comparison->allocators->missing[i].reason));
        json_array_append_new(missing, object);
    }
    return missing;
}

static json_t *notes_json(const comparison_t *comparison)
{
    json_t *notes = json_array();
    for (int i = 0; i < comparison->note_count; i++)
        json_array_append_new(notes, text_json(comparison->notes[i]));
    return notes;
}

static json_t *winner_json(const comparison_t *comparison, const winner_t *winner)
{
    json_t *level = json_array();
    for (int row = 0; row < comparison->count; row++)
        if (winner->level[row])
            json_array_append_new(level, text_json(comparison->rows[row].allocator->name));
    json_t *object = json_object();
    json_object_set_new(object, "metric", json_string(metric_key(winner->metric)));
    json_object_set_new(object, "best",
                        winner->row >= 0 ? text_json(comparison->rows[winner->row].allocator->name) : json_null());
    json_object_set_new(object, "level", level);
    return object;
}

static json_t *verdict_json(const comparison_t *comparison, const verdict_t *verdict)
{
    json_t *object = json_object();
    json_object_set_new(object, "text", text_json(verdict->text));
    json_object_set_new(object, "time", winner_json(comparison, &verdict->time));
    json_object_set_new(object, "memory", winner_json(comparison, &verdict->memory));
    return object;
}

int comparison_json_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file)
{
    json_t *object = json_object();
    json_object_set_new(object, "schema", json_integer(COMPARISON_SCHEMA));
    json_object_set_new(object, "command", command_json(comparison));
    json_object_set_new(object, "input", text_json(comparison->input));
    json_object_set_new(object, "runs", json_integer(comparison->runs));
    json_object_set_new(object, "warmups", json_integer(1));
    json_object_set_new(object, "seed", json_integer((json_int_t)comparison->seed));
    json_object_set_new(object, "base", text_json(comparison->rows[comparison->base].allocator->name));
    json_object_set_new(object, "provenance", provenance_json(comparison));
    json_object_set_new(object, "allocators", rows_json(comparison));
    json_object_set_new(object, "missing", missing_json(comparison));
    json_object_set_new(object, "notes", notes_json(comparison));
    json_object_set_new(object, "verdict", verdict_json(comparison, verdict));
    int failed = json_dumpf(object, file, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(object);
    fputc('\n', file);
    return failed;
}
