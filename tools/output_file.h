// tools/output_file.h - a file that is there whole or not at all: written beside its place, then renamed.
#ifndef TARN_TOOLS_OUTPUT_FILE_H
#define TARN_TOOLS_OUTPUT_FILE_H

#include <stddef.h>

// Replaces `path` by `bytes`, unless it is a recording. Returns 0, or TOOL_BAD_INPUT after one line on stderr; then `path` is as it was.
int output_file_write(const char *who, const char *path, const void *bytes, size_t length);

// The same to standard output.
int output_print(const char *who, const void *bytes, size_t length);

#endif
