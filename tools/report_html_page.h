// tools/report_html_page.h - the page around the report, generated from html/; both lengths are 0 without npm.
#ifndef TARN_TOOLS_REPORT_HTML_PAGE_H
#define TARN_TOOLS_REPORT_HTML_PAGE_H

#include <stddef.h>

extern const unsigned char report_html_before[], report_html_after[];
extern const size_t report_html_before_length, report_html_after_length;

#endif
