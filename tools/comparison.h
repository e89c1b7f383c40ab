// tools/comparison.h - the runs of one command under several allocators, and what they say.
//
//   row     one allocator with its runs
//   metric  one figure of a run
//   cell    one metric of one row: median, ratio to the base row, and whether that is beyond noise
//
// The whole comparison is one question, so that a difference found anywhere by mere chance is a false answer. Therefore
// the p of all cells are corrected together (Holm), and held against 1 %: of twenty comparisons of equal things, at
// most one then claims a difference, in 98 of 100 such series.
#ifndef TARN_TOOLS_COMPARISON_H
#define TARN_TOOLS_COMPARISON_H

#include <stdio.h>

#include "allocators.h"
#include "measure.h"
#include "provenance.h"
#include "statistics.h"

enum {
    COMPARISON_NOTES_MAX = 32,
    COMPARISON_NOTE_BYTES = 512,
    COMPARISON_VERDICT_BYTES = 1024,
    COMPARISON_QUANTITY_BYTES = 32,
};

// A difference below one percent is none, however sure: other environment variables alone move a program by as much
// (T. Mytkowicz and others, Producing Wrong Data Without Doing Anything Obviously Wrong!, ASPLOS 2009).
#define COMPARISON_TRIFLE 0.01
#define COMPARISON_ALARM  0.01

typedef enum metric { METRIC_WALL, METRIC_CPU, METRIC_PEAK, METRIC_MEAN, METRIC_FAULTS, METRICS } metric_t;

typedef enum difference { DIFFERENCE_NONE, DIFFERENCE_LESS, DIFFERENCE_MORE } difference_t;

typedef struct cell {
    double values[STATISTICS_RUNS_MAX];
    double median;
    ratio_t ratio; // to the base row; the base row's own is 1 and not bounded
    double p;      // corrected
    difference_t difference;
} cell_t;

typedef struct row {
    const allocator_t *allocator;
    const char *library; // what was preloaded; NULL: nothing
    measurement_t runs[STATISTICS_RUNS_MAX];
    int count;
    int failed;  // how many of the runs, the warm-up included, ended with another status than 0
    int status;  // the first of these
    bool is_out; // it failed and is not compared
    cell_t cells[METRICS];
} row_t;

typedef struct comparison {
    char **command;
    const char *input;
    const allocators_t *allocators;
    row_t *rows; // one for each allocator, in their order
    int count;
    int base;           // the row that ratios refer to
    int runs;           // planned, of each
    unsigned long seed; // of the order
    provenance_t provenance;
    int runs_needed; // with fewer, no difference could come out beyond noise: nothing can be told
    bool is_sampled; // every run was long enough for METRIC_MEAN
    char notes[COMPARISON_NOTES_MAX][COMPARISON_NOTE_BYTES];
    int note_count;
} comparison_t;

// The best row by time or by memory, and those that cannot be told from it.
typedef struct winner {
    metric_t metric; // by which it won
    int row;         // -1: none is below the base row beyond noise
    bool level[ALLOCATORS_MAX];
} winner_t;

typedef struct verdict {
    winner_t time, memory;
    char text[COMPARISON_VERDICT_BYTES]; // lines; the first says it all
} verdict_t;

__attribute__((format(printf, 2, 3))) void comparison_note(comparison_t *comparison, const char *format, ...);

// Fills the cells of all rows that are not out. The base row must not be.
void comparison_evaluate(comparison_t *comparison);

bool comparison_has(const comparison_t *comparison, metric_t metric);
bool comparison_can_tell(const comparison_t *comparison);
values_t comparison_values(const row_t *row, metric_t metric);

// The run whose peak is the median one of its row: its curve stands for the row.
const measurement_t *comparison_typical_run(const row_t *row);

void verdict_make(const comparison_t *comparison, verdict_t *verdict);

// "wall_ns", "wall time", and 1234567 as "1.23 ms".
const char *metric_key(metric_t metric);
const char *metric_title(metric_t metric);
const char *metric_quantity(metric_t metric, double value, char text[COMPARISON_QUANTITY_BYTES]);
const char *difference_key(difference_t difference);

// The command as a shell would take it.
void comparison_command_write(const comparison_t *comparison, FILE *file);

// The three forms.
void comparison_text_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file);
int comparison_json_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file); // 0, or -1: no memory
void comparison_html_write(const comparison_t *comparison, const verdict_t *verdict, FILE *file);

#endif
