// tools/report_json.h - a profile as one JSON object; docs/report-json.md has every field.
#ifndef TARN_TOOLS_REPORT_JSON_H
#define TARN_TOOLS_REPORT_JSON_H

#include "profile.h"

#include <stddef.h>

// About the first profile, with a row for each in `processes`. The text is UTF-8 with a newline at the end, to be
// freed.
char *report_json(profile_t *const *profiles, size_t count, size_t *length);

#endif
