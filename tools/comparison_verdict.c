// tools/comparison_verdict.c - which allocator suits the command: by time, by memory, in a sentence.
#include "comparison.h"

#include <math.h>

static const char *name_of(const comparison_t *comparison, int row)
{
    return comparison->rows[row].allocator->name;
}

// The least ratio among the rows that are below the base row beyond noise; -1 if none is.
static int row_least(const comparison_t *comparison, metric_t metric)
{
    int least = -1;
    for (int row = 0; row < comparison->count; row++) {
        const cell_t *cell = &comparison->rows[row].cells[metric];
        if (!comparison->rows[row].is_out && cell->difference == DIFFERENCE_LESS &&
            (least < 0 || cell->ratio.estimate < comparison->rows[least].cells[metric].ratio.estimate))
            least = row;
    }
    return least;
}

// The others against the winner: a family of tests of its own, corrected by itself.
static void level_find(const comparison_t *comparison, winner_t *winner)
{
    double p[ALLOCATORS_MAX], apart[ALLOCATORS_MAX];
    int rows[ALLOCATORS_MAX], count = 0;
    values_t best = comparison_values(&comparison->rows[winner->row], winner->metric);
    for (int row = 0; row < comparison->count; row++) {
        if (row == winner->row || comparison->rows[row].is_out)
            continue;
        values_t values = comparison_values(&comparison->rows[row], winner->metric);
        p[count] = statistics_rank_sum_p(values, best);
        apart[count] = fabs(statistics_ratio(values, best).estimate - 1);
        rows[count++] = row;
    }
    statistics_holm(p, count);
    for (int i = 0; i < count; i++)
        winner->level[rows[i]] =
            rows[i] != comparison->base && (p[i] > COMPARISON_ALARM || apart[i] < COMPARISON_TRIFLE);
}

static winner_t winner_find(const comparison_t *comparison, metric_t first, metric_t second)
{
    winner_t winner = {first, row_least(comparison, first), {false}};
    if (winner.row < 0 && comparison_has(comparison, second)) {
        int row = row_least(comparison, second);
        if (row >= 0)
            winner = (winner_t){second, row, {false}};
    }
    if (winner.row >= 0)
        level_find(comparison, &winner);
    return winner;
}

// Whether nothing differs from the base row in these two.
static bool is_all_one(const comparison_t *comparison, metric_t first, metric_t second)
{
    for (int row = 0; row < comparison->count; row++) {
        const cell_t *cells = comparison->rows[row].cells;
        if (!comparison->rows[row].is_out &&
            (cells[first].difference != DIFFERENCE_NONE ||
             (comparison_has(comparison, second) && cells[second].difference != DIFFERENCE_NONE)))
            return false;
    }
    return true;
}

static void ratio_write(const cell_t *cell, FILE *file)
{
    fprintf(file, "%.2f", cell->ratio.estimate);
    if (cell->ratio.bounded)
        fprintf(file, " (%.2f to %.2f)", cell->ratio.low, cell->ratio.high);
}

// "; a, b and c are WHAT"; nothing if there is none.
static void some_write(const comparison_t *comparison, const bool *some, const char *one_is, const char *they_are,
                       FILE *file)
{
    int count = 0, told = 0;
    for (int row = 0; row < comparison->count; row++)
        count += some[row];
    for (int row = 0; row < comparison->count; row++)
        if (some[row]) {
            fprintf(file, "%s%s", told == 0 ? "; " : told == count - 1 ? " and " : ", ", name_of(comparison, row));
            told++;
        }
    if (count > 0)
        fprintf(file, " %s", count == 1 ? one_is : they_are);
}

// What the winner costs on the other side, if that is beyond noise.
static void price_write(const comparison_t *comparison, const winner_t *winner, metric_t other, FILE *file)
{
    const cell_t *cell = &comparison->rows[winner->row].cells[other];
    if (cell->difference == DIFFERENCE_MORE)
        fprintf(file, "; at %.2f of the %s", cell->ratio.estimate, metric_title(other));
}

static void worse_write(const comparison_t *comparison, metric_t first, metric_t second, FILE *file)
{
    bool worse[ALLOCATORS_MAX];
    for (int row = 0; row < comparison->count; row++) {
        const cell_t *cells = comparison->rows[row].cells;
        worse[row] = !comparison->rows[row].is_out &&
                     (cells[first].difference == DIFFERENCE_MORE ||
                      (comparison_has(comparison, second) && cells[second].difference == DIFFERENCE_MORE));
    }
    some_write(comparison, worse, "has more", "have more", file);
}

static void winner_write(const comparison_t *comparison, const winner_t *winner, const char *title, metric_t second,
                         metric_t other, FILE *file)
{
    metric_t first = winner->metric;
    const char *base = name_of(comparison, comparison->base);
    fprintf(file, "\n  %s: ", title);
    if (winner->row >= 0) {
        const row_t *row = &comparison->rows[winner->row];
        fprintf(file, "%s: %s ", row->allocator->name, metric_title(first));
        ratio_write(&row->cells[first], file);
        fprintf(file, " of %s's", base);
        some_write(comparison, winner->level, "is level with it", "are level with it", file);
        price_write(comparison, winner, other, file);
    } else if (is_all_one(comparison, first, second)) {
        fputs("no difference", file);
    } else {
        fprintf(file, "none has less than %s", base);
        worse_write(comparison, first, second, file);
    }
}

static void sides_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file)
{
    winner_write(comparison, &verdict->time, "time", METRIC_CPU, METRIC_PEAK, file);
    winner_write(comparison, &verdict->memory, "memory", METRIC_MEAN, METRIC_WALL, file);
}

static bool is_alone(const comparison_t *comparison)
{
    int count = 0;
    for (int row = 0; row < comparison->count; row++)
        count += !comparison->rows[row].is_out;
    return count == 1;
}

static void headline_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file)
{
    const char *base = name_of(comparison, comparison->base);
    int faster = verdict->time.row, smaller = verdict->memory.row;
    if (faster >= 0 && faster == smaller)
        fprintf(file, "%s suits this command, in time and in memory", name_of(comparison, faster));
    else if (faster >= 0 && smaller >= 0 && verdict->time.level[smaller])
        fprintf(file, "%s suits this command: best in memory, level with the best in time",
                name_of(comparison, smaller));
    else if (faster >= 0 && smaller >= 0 && verdict->memory.level[faster])
        fprintf(file, "%s suits this command: best in time, level with the best in memory",
                name_of(comparison, faster));
    else if (faster >= 0 && smaller >= 0)
        fprintf(file, "%s for time, %s for memory", name_of(comparison, faster), name_of(comparison, smaller));
    else if (faster >= 0)
        fprintf(file, "%s suits this command in time; in memory none is better than %s", name_of(comparison, faster),
                base);
    else if (smaller >= 0)
        fprintf(file, "%s suits this command in memory; in time none is better than %s", name_of(comparison, smaller),
                base);
    else if (is_all_one(comparison, METRIC_WALL, METRIC_CPU) && is_all_one(comparison, METRIC_PEAK, METRIC_MEAN))
        fputs("no difference beyond noise, neither in time nor in memory", file);
    else
        fprintf(file, "none is better than %s, neither in time nor in memory", base);
}

void verdict_make(const comparison_t *comparison, verdict_t *verdict)
{
    verdict->time = winner_find(comparison, METRIC_WALL, METRIC_CPU);
    verdict->memory = winner_find(comparison, METRIC_PEAK, METRIC_MEAN);
    FILE *file = fmemopen(verdict->text, sizeof verdict->text, "w");
    if (file == NULL) {
        verdict->text[0] = '\0';
        return;
    }
    if (is_alone(comparison)) {
        fprintf(file, "none: only %s was left to run", name_of(comparison, comparison->base));
    } else if (!comparison_can_tell(comparison)) {
        fprintf(file, "none: %d run%s too few to tell a difference from noise; -n %d is the least", comparison->runs,
                comparison->runs == 1 ? " is" : "s are", comparison->runs_needed);
    } else {
        headline_write(comparison, verdict, file);
        sides_write(comparison, verdict, file);
    }
    fclose(file);
}
