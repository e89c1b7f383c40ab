// tools/verdict.h - what is wrong with a process's memory, and who is to blame.
//
// First the cause, as in preload/report_verdict.c: is the memory the heap's at all; does the program hold it; else the
// largest kind of waste. Then the culprit: the call site with most of the metric that belongs to the cause.
#ifndef TARN_TOOLS_VERDICT_H
#define TARN_TOOLS_VERDICT_H

#include "profile.h"

typedef enum verdict_cause {
    CAUSE_OTHER,    // not the heap
    CAUSE_HELD,     // the program holds it
    CAUSE_LEAK,     // it holds it, gets ever more, and gives nothing back
    CAUSE_ROUNDING, // from here on: waste
    CAUSE_HOLES,
    CAUSE_TAIL,
    CAUSE_RETAINED,
    CAUSE_PENDING,
    CAUSE_METADATA,
} verdict_cause_t;

typedef struct verdict {
    verdict_cause_t cause;
    const char *name;        // "leak", "holes", ...
    const char *field;       // of the balance sheet, that carries it
    profile_moment_t moment; // when: the last snapshot, unless most of the heap was gone by then
    uint64_t bytes;          // of the cause
    uint64_t of_bytes;       // of what it is a part
    bool blames;             // the rest is set: there is a call site
    profile_metric_t metric; // by which the culprits are ranked
    uint32_t site, stack;    // which have most of it
    uint64_t site_bytes, stack_bytes;
    const char *text;        // one sentence, no full stop; kept (see strings.h)
} verdict_t;

verdict_t verdict_of(const profile_t *profile);

// Of one snapshot, without a culprit: for a series.
verdict_t verdict_of_snapshot(const profile_snapshot_t *snapshot);

// Whether what is allocated at this site is never freed and grows to the end.
bool verdict_is_leak(const profile_t *profile, uint32_t site);

#endif
