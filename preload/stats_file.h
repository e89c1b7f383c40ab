// preload/stats_file.h - the report into the file that stats_file names: whole or not at all.
#ifndef TARN_STATS_FILE_H
#define TARN_STATS_FILE_H

#include <stddef.h>

#include "../pool/bits.h"

// Replaces %p, %n and %% in pattern, writes a temporary file beside it (0600) and renames that. 0, or an errno, and then
// nothing was left behind. A target that is there and no regular file is not touched (EINVAL). Signal safe.
RARE int stats_file_write(const char *pattern, const char *text, size_t length);

#endif
