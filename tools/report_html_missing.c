// tools/report_html_missing.c - in place of the HTML page where it was not built.
#include "report_html.h"

#include "tool.h"

bool report_html_built(void)
{
    return false;
}

int report_html_write(const char *who, const char *path, const char *json, size_t length)
{
    (void)path;
    (void)json;
    (void)length;
    tool_error(who, "this tarn was built without the HTML report");
    return TOOL_BAD_INPUT;
}
