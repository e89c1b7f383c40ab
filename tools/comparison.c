// tools/comparison.c - cells and notes of a comparison, and how its figures are written.
#include "comparison.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *title;
} metrics[METRICS] = {
    [METRIC_WALL] = {"wall_ns", "wall time"},        [METRIC_CPU] = {"cpu_ns", "CPU time"},
    [METRIC_PEAK] = {"peak_bytes", "peak resident"}, [METRIC_MEAN] = {"mean_bytes", "mean resident"},
    [METRIC_FAULTS] = {"faults", "page faults"},
};

const char *metric_key(metric_t metric)
{
    return metrics[metric].key;
}

const char *metric_title(metric_t metric)
{
    return metrics[metric].title;
}

const char *difference_key(difference_t difference)
{
    static const char *const keys[] = {
        [DIFFERENCE_NONE] = "none", [DIFFERENCE_LESS] = "less", [DIFFERENCE_MORE] = "more"};
    return keys[difference];
}

typedef struct unit {
    double factor;
    const char *name;
} unit_t;

// Three digits; four before the point rather than another unit.
static const char *quantity_write(double value, const unit_t *units, char *text)
{
    while (units->factor > 1 && value < units->factor)
        units++;
    double scaled = value / units->factor;
    int decimals = units->factor == 1 || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
    snprintf(text, COMPARISON_QUANTITY_BYTES, "%.*f%s", decimals, scaled, units->name);
    return text;
}

const char *metric_quantity(metric_t metric, double value, char text[COMPARISON_QUANTITY_BYTES])
{
    static const unit_t times[] = {{1e9, " s"}, {1e6, " ms"}, {1e3, " us"}, {1, " ns"}};
    static const unit_t bytes[] = {{1 << 30, " GiB"}, {1 << 20, " MiB"}, {1 << 10, " KiB"}, {1, " B"}};
    static const unit_t counts[] = {{1, ""}};
    switch (metric) {
    case METRIC_WALL:
    case METRIC_CPU:
        return quantity_write(value, times, text);
    case METRIC_PEAK:
    case METRIC_MEAN:
        return quantity_write(value, bytes, text);
    default:
        return quantity_write(value, counts, text);
    }
}

void comparison_note(comparison_t *comparison, const char *format, ...)
{
    if (comparison->note_count == COMPARISON_NOTES_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(comparison->notes[comparison->note_count++], COMPARISON_NOTE_BYTES, format, arguments);
    va_end(arguments);
}

static bool word_is_plain(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    return *word != '\0' && word[strspn(word, plain)] == '\0';
}

void comparison_command_write(const comparison_t *comparison, FILE *file)
{
    for (char **word = comparison->command; *word != NULL; word++) {
        if (word != comparison->command)
            fputc(' ', file);
        if (word_is_plain(*word)) {
            fputs(*word, file);
            continue;
        }
        fputc('\'', file);
        for (const char *letter = *word; *letter != '\0'; letter++)
            *letter == '\'' ? fputs("'\\''", file) : fputc(*letter, file);
        fputc('\'', file);
    }
}

// --- cells -----------------------------------------------------------------------------------------------------------

static double metric_of(const measurement_t *run, metric_t metric)
{
    switch (metric) {
    case METRIC_WALL:
        return (double)run->wall_ns;
    case METRIC_CPU:
        return (double)(run->user_ns + run->system_ns);
    case METRIC_PEAK:
        return (double)run->peak_bytes;
    case METRIC_MEAN:
        return (double)run->mean_bytes;
    default:
        return (double)(run->minor_faults + run->major_faults);
    }
}

bool comparison_has(const comparison_t *comparison, metric_t metric)
{
    return metric != METRIC_MEAN || comparison->is_sampled;
}

values_t comparison_values(const row_t *row, metric_t metric)
{
    return (values_t){row->cells[metric].values, row->count};
}

bool comparison_can_tell(const comparison_t *comparison)
{
    return comparison->runs >= comparison->runs_needed;
}

static bool is_compared(const comparison_t *comparison, int row)
{
    return row != comparison->base && !comparison->rows[row].is_out;
}

static void cell_fill(const comparison_t *comparison, row_t *row, metric_t metric)
{
    cell_t *cell = &row->cells[metric];
    const row_t *base = &comparison->rows[comparison->base];
    for (int i = 0; i < row->count; i++)
        cell->values[i] = metric_of(&row->runs[i], metric);
    cell->median = statistics_median(comparison_values(row, metric));
    cell->ratio = (ratio_t){1, false, NAN, NAN};
    cell->p = 1;
    if (row != base) {
        cell->ratio = statistics_ratio(comparison_values(row, metric), comparison_values(base, metric));
        cell->p = statistics_rank_sum_p(comparison_values(row, metric), comparison_values(base, metric));
    }
}

static difference_t difference_of(double p, double ratio)
{
    if (!(p <= COMPARISON_ALARM) || !(fabs(ratio - 1) >= COMPARISON_TRIFLE))
        return DIFFERENCE_NONE;
    return ratio < 1 ? DIFFERENCE_LESS : DIFFERENCE_MORE;
}

// All cells that are compared, for the correction: their p go out together and come back together.
static int cells_collect(comparison_t *comparison, cell_t *cells[ALLOCATORS_MAX * METRICS])
{
    int count = 0;
    for (int row = 0; row < comparison->count; row++)
        for (metric_t metric = 0; metric < METRICS; metric++)
            if (is_compared(comparison, row) && comparison_has(comparison, metric))
                cells[count++] = &comparison->rows[row].cells[metric];
    return count;
}

static void cells_correct(comparison_t *comparison)
{
    cell_t *cells[ALLOCATORS_MAX * METRICS];
    double p[ALLOCATORS_MAX * METRICS];
    int count = cells_collect(comparison, cells);
    for (int i = 0; i < count; i++)
        p[i] = cells[i]->p;
    statistics_holm(p, count);
    for (int i = 0; i < count; i++) {
        cells[i]->p = p[i];
        cells[i]->difference = difference_of(p[i], cells[i]->ratio.estimate);
    }
    comparison->runs_needed = statistics_runs_needed(count, COMPARISON_ALARM);
}

// Two samples, or there is no time between them.
static bool runs_are_sampled(const comparison_t *comparison)
{
    for (int row = 0; row < comparison->count; row++)
        for (int run = 0; !comparison->rows[row].is_out && run < comparison->rows[row].count; run++)
            if (comparison->rows[row].runs[run].samples < 2)
                return false;
    return true;
}

void comparison_evaluate(comparison_t *comparison)
{
    comparison->is_sampled = runs_are_sampled(comparison);
    if (!comparison->is_sampled)
        comparison_note(comparison,
                        "too short to be sampled: no mean resident memory, and peaks as the kernel tells them");
    row_t *base = &comparison->rows[comparison->base];
    for (metric_t metric = 0; metric < METRICS; metric++) {
        cell_fill(comparison, base, metric); // the others refer to it
        for (int row = 0; row < comparison->count; row++)
            if (is_compared(comparison, row))
                cell_fill(comparison, &comparison->rows[row], metric);
    }
    cells_correct(comparison);
}

const measurement_t *comparison_typical_run(const row_t *row)
{
    const measurement_t *typical = &row->runs[0];
    double median = row->cells[METRIC_PEAK].median;
    for (int i = 1; i < row->count; i++)
        if (fabs((double)row->runs[i].peak_bytes - median) < fabs((double)typical->peak_bytes - median))
            typical = &row->runs[i];
    return typical;
}
