// tools/what_if.h - what another number of size classes would change of the rounding.
#ifndef TARN_TOOLS_WHAT_IF_H
#define TARN_TOOLS_WHAT_IF_H

#include "profile.h"

// Requests of from_bytes to to_bytes, one doubling.
typedef struct what_if {
    uint64_t from_bytes, to_bytes;
    unsigned classes_now, classes;
    int64_t saved_bytes; // of rounding_bytes, at the last snapshot; less than 0: it would cost
} what_if_t;

enum { WHAT_IF_MAX = 64 };

// From the histogram of sizes, so estimates. Returns how many, those that would save most first.
unsigned what_if_find(const profile_t *profile, what_if_t out[WHAT_IF_MAX]);

#endif
