// tools/report_folded.h - a profile as folded stacks, "main;handle;cache_insert 12345" a line: for flame graph tools.
#ifndef TARN_TOOLS_REPORT_FOLDED_H
#define TARN_TOOLS_REPORT_FOLDED_H

#include "profile.h"

#include <stdio.h>

// `metric` is a name that report_folded_knows: the profile's metrics, allocated_bytes and allocated_blocks, and those
// of the peak behind "peak_" and of the worst moment behind "worst_"; _bytes may be left out.
bool report_folded_knows(const char *metric);
void report_folded(FILE *out, const profile_t *profile, const char *metric);

// What they are, for a message.
extern const char report_folded_names[];

#endif
