// tools/report_text.h - a profile for a terminal: the verdict, the balance sheet, the size classes, the call sites.
#ifndef TARN_TOOLS_REPORT_TEXT_H
#define TARN_TOOLS_REPORT_TEXT_H

#include "profile.h"

#include <stdio.h>

typedef struct report_text_options {
    unsigned top;            // call sites a table
    bool moment_given;       // else the verdict's
    profile_moment_t moment; // MOMENT_LAST or MOMENT_PEAK: of what is live and rounded up
} report_text_options_t;

void report_text(FILE *out, const profile_t *profile, const report_text_options_t *options);

// One line a process, the biggest first.
void report_text_processes(FILE *out, profile_t *const *profiles, size_t count);

#endif
