// tools/comparison_text.c - a comparison for the terminal, at most 80 columns where names are short.
#include "comparison.h"

#include <string.h>

enum { NAME_WIDTH_MIN = 12 }; // the longest title, less the indent

static int name_width(const comparison_t *comparison)
{
    int width = NAME_WIDTH_MIN;
    for (int row = 0; row < comparison->count; row++) {
        int length = (int)strlen(comparison->rows[row].allocator->name);
        if (length > width)
            width = length;
    }
    return width;
}

static void head_write(const comparison_t *comparison, FILE *file)
{
    fputs("tarn compare: ", file);
    comparison_command_write(comparison, file);
    fprintf(file, "\n  %d run%s each after one to warm up, in random order (--seed %lu)", comparison->runs,
            comparison->runs == 1 ? "" : "s", comparison->seed);
    for (int i = 0; i < comparison->provenance.count; i++) {
        const fact_t *fact = &comparison->provenance.facts[i];
        fprintf(file, "%s%s %s", i % 3 == 0 ? "\n  " : "; ", fact->name, fact->value);
    }
    fputc('\n', file);
    for (int row = 0; row < comparison->count; row++) {
        const allocator_t *allocator = comparison->rows[row].allocator;
        fprintf(file, "  %-*s  %s\n", name_width(comparison), allocator->name, allocator->version);
    }
    for (int i = 0; i < comparison->allocators->missing_count; i++) {
        const absence_t *absence = &comparison->allocators->missing[i];
        fprintf(file, "  %-*s  left out: %s\n", name_width(comparison), absence->name, absence->reason);
    }
}

static void cell_write(const comparison_t *comparison, int row, metric_t metric, FILE *file)
{
    static const char *const words[] = {
        [DIFFERENCE_NONE] = "no difference", [DIFFERENCE_LESS] = "less", [DIFFERENCE_MORE] = "more"};
    const cell_t *cell = &comparison->rows[row].cells[metric];
    char quantity[COMPARISON_QUANTITY_BYTES], interval[COMPARISON_QUANTITY_BYTES] = "";
    fprintf(file, "  %-*s  %10s", name_width(comparison), comparison->rows[row].allocator->name,
            metric_quantity(metric, cell->median, quantity));
    if (row != comparison->base) {
        if (cell->ratio.bounded)
            snprintf(interval, sizeof interval, "%.2f to %.2f", cell->ratio.low, cell->ratio.high);
        fprintf(file, "  %6.2f  %-15s  %s", cell->ratio.estimate, interval,
                comparison_can_tell(comparison) ? words[cell->difference] : "cannot be told");
    }
    fputc('\n', file);
}

static void metric_write(const comparison_t *comparison, metric_t metric, FILE *file)
{
    fprintf(file, "\n%-*s  %10s", name_width(comparison) + 2, metric_title(metric), "median");
    if (metric == METRIC_WALL)
        fprintf(file, "   ratio  %d %% interval    beyond noise", STATISTICS_CONFIDENCE_PERCENT);
    fputc('\n', file);
    for (int row = 0; row < comparison->count; row++)
        if (!comparison->rows[row].is_out)
            cell_write(comparison, row, metric, file);
}

void comparison_text_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file)
{
    head_write(comparison, file);
    for (metric_t metric = 0; metric < METRICS; metric++)
        if (comparison_has(comparison, metric))
            metric_write(comparison, metric, file);
    if (comparison->note_count > 0)
        fputc('\n', file);
    for (int i = 0; i < comparison->note_count; i++)
        fprintf(file, "note: %s\n", comparison->notes[i]);
    fprintf(file, "\nverdict: %s\n", verdict->text);
}
