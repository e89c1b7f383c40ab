// tools/strings.h - each text once: equal texts have equal addresses, for as long as the tool runs.
#ifndef TARN_TOOLS_STRINGS_H
#define TARN_TOOLS_STRINGS_H

#include <stddef.h>

// The one copy of `text`; never NULL, never freed.
const char *strings_keep(const char *text);

// The same of its first `length` bytes.
const char *strings_keep_part(const char *text, size_t length);

#endif
