// tools/difference.h - what changed from one profile to another: by cause, by call site, by call stack.
//
// Call sites and stacks are the same where their names are: the program may have been started anew, or built anew. Lines count only in
// a module whose build both have.
#ifndef TARN_TOOLS_DIFFERENCE_H
#define TARN_TOOLS_DIFFERENCE_H

#include "profile.h"

typedef struct difference_row {
    const char *text;                       // the site, or the stack: frames with " < " between them
    uint64_t before[PROFILE_METRICS], after[PROFILE_METRICS];
    const profile_t *profile;               // of `stack`: the later one that has it
    const profile_stack_t *stack;           // of a stack: itself; of a site: the one that has most of its live bytes
} difference_row_t;

typedef struct difference {
    const profile_t *before, *after;
    profile_moment_t moment;
    difference_row_t *sites, *stacks;
    uint32_t site_count, stack_count;
} difference_t;

difference_t difference_of(const profile_t *before, const profile_t *after, profile_moment_t moment);
void difference_free(difference_t *difference);

// Those that grew most come first.
void difference_sort(difference_row_t *rows, uint32_t count, profile_metric_t metric);

int64_t difference_growth(const difference_row_t *row, profile_metric_t metric);

// One sentence: how the heap changed, by which cause, and by which call site. Kept (see strings.h).
const char *difference_verdict(difference_t *difference);

#endif
