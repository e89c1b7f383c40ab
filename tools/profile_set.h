// tools/profile_set.h - the profiles of a path: of one recording, or of all in a directory.
#ifndef TARN_TOOLS_PROFILE_SET_H
#define TARN_TOOLS_PROFILE_SET_H

#include "profile.h"

#include <stddef.h>

typedef struct profile_set {
    profile_t **profiles; // the biggest first, by peak resident memory
    size_t count;         // at least one
    bool is_directory;
} profile_set_t;

// Reads them. In a directory, files that are no recordings are passed over, and one that cannot be read costs a line on
// stderr. Returns 0, or TOOL_BAD_INPUT after one line on stderr when there is nothing to show.
int profile_set_read(const char *who, const char *path, profile_set_t *set);

#endif
