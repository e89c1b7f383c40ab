// tools/contest.h - runs a command under all allocators of a comparison, in turn.
//
// Each warms up once; then come rounds in which each runs once, in an order drawn anew each time: what changes on the
// machine meanwhile meets all of them alike, and none always follows the same other.
#ifndef TARN_TOOLS_CONTEST_H
#define TARN_TOOLS_CONTEST_H

#include "comparison.h"

enum { CONTEST_COMMAND_FAILED = 1 }; // tarn's exit status when the command failed under some allocator

typedef struct contest {
    const char *who;
    bool output_is_shown;
    bool failure_is_ignored;
    int left_behind; // processes, at the end of the worst run
} contest_t;

// Fills the runs of all rows, and says in the notes what happened. Returns 0, or the status with which tarn is to end,
// after one line on stderr.
int contest_run(contest_t *contest, comparison_t *comparison);

#endif
