// tools/report_html.h - the report as one HTML file that needs nothing else: page, script and report in one.
#ifndef TARN_TOOLS_REPORT_HTML_H
#define TARN_TOOLS_REPORT_HTML_H

#include <stdbool.h>
#include <stddef.h>

// False where npm was missing when this command was built.
bool report_html_built(void);

// Writes the page to `path`, with `json` (UTF-8, as `--json` prints it, `length` bytes) in it: beside it first and then
// renamed, so that nobody sees half of it. A file of this name is replaced. Returns 0, or TOOL_BAD_INPUT after one line
// on stderr from `who`; then `path` is as it was.
int report_html_write(const char *who, const char *path, const char *json, size_t length);

#endif
