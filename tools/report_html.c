// tools/report_html.c - puts a report into the page: what is before it, the JSON, what is after it.
//
// The JSON stands in a <script type="application/json">. There the parser of HTML looks for "</script" and "<!--"
// alone, and in JSON a '<' stands in strings only, so each '<' becomes \u003c: the same text to a reader of JSON, and
// nothing at all to one of HTML. Function names come from other people's binaries.
#include "report_html.h"

#include "output_file.h"
#include "report_html_page.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool report_html_built(void)
{
    return report_html_before_length > 0;
}

static void json_write(FILE *page, const char *json, size_t length)
{
    const char *end = json + length;
    while (json < end) {
        const char *less = memchr(json, '<', (size_t)(end - json));
        const char *stop = less != NULL ? less : end;
        fwrite(json, 1, (size_t)(stop - json), page);
        if (less != NULL)
            fputs("\\u003c", page);
        json = less != NULL ? less + 1 : end;
    }
}

// The whole page, which the caller frees; NULL without memory.
static char *page_compose(const char *json, size_t json_length, size_t *length)
{
    char *text = NULL;
    FILE *page = open_memstream(&text, length);
    if (page == NULL)
        return NULL;
    fwrite(report_html_before, 1, report_html_before_length, page);
    json_write(page, json, json_length);
    fwrite(report_html_after, 1, report_html_after_length, page);
    bool failed = ferror(page);
    if (fclose(page) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

int report_html_write(const char *who, const char *path, const char *json, size_t length)
{
    if (!report_html_built()) {
        tool_error(who, "this tarn was built without --html: npm was missing (--json and the text are there)");
        return TOOL_BAD_INPUT;
    }
    size_t page_length;
    char *page = page_compose(json, length, &page_length);
    if (page == NULL) {
        tool_error(who, "no memory for the page");
        return TOOL_BAD_INPUT;
    }
    int status = output_file_write(who, path, page, page_length);
    free(page);
    return status;
}
