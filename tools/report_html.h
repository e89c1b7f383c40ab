// tools/report_html.h - the report as one page for a browser: the JSON of report_json.h, with the code that draws it.
#ifndef TARN_TOOLS_REPORT_HTML_H
#define TARN_TOOLS_REPORT_HTML_H

#include <stdbool.h>
#include <stddef.h>

// False: this tarn was built without the page.
bool report_html_built(void);

// Writes the page with `json` (`length` bytes of UTF-8) in it to `path`, first under a temporary name. Returns 0, or
// TOOL_BAD_INPUT after one line on stderr; also when this tarn was built without the page.
int report_html_write(const char *who, const char *path, const char *json, size_t length);

#endif
