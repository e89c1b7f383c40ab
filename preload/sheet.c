// preload/sheet.c - see sheet.h.
#include "sheet.h"

#include <string.h>

#include "cgroup.h"
#include "glibc.h"
#include "kernel.h"
#include "options.h"
#include "procfs.h"

static uint64_t peak_from_usage(void)
{
    struct rusage usage;
    return kernel_usage(&usage) ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

// A thread that exits may have been interrupted by the signal whose handler calls exit, and hold a lock. With no other
// thread nobody else can have it, and no lock is needed.
static bool locks_are_safe(const sheet_t *sheet)
{
    return sheet->ended_by == END_REQUEST || (sheet->ended_by != END_SIGNAL &&
                                              sheet->ended_by != END_UNDERSCORE_EXIT && sheet->threads != 1);
}

static void process_figures(sheet_t *sheet, uint64_t rss_bytes, uint64_t peak_rss_bytes)
{
    uint64_t heap = sheet->survey.heap_rss_bytes;
    sheet->process_known = rss_bytes != 0;
    sheet->rss_bytes = rss_bytes > heap ? rss_bytes : heap;
    sheet->other_rss_bytes = sheet->rss_bytes - heap;
    sheet->peak_rss_bytes = peak_rss_bytes != 0 ? peak_rss_bytes : peak_from_usage();
    if (sheet->peak_rss_bytes < sheet->rss_bytes)
        sheet->peak_rss_bytes = sheet->rss_bytes;
}

// What the kernel says of the process is read after the survey, which touches memory of ours; the peak before, with the
// threads: if it is reached now, it is what is resident in the end.
void sheet_take(sheet_t *sheet, sheet_end_t ended_by, int value, bool told, const survey_visitor_t *visitor,
                procfs_buffer_t *buffer)
{
    procfs_status_t status = procfs_status(buffer);
    sheet->ended_by = ended_by;
    sheet->value = value;
    sheet->threads = status.threads;
    survey_take_pages(&sheet->survey, visitor, locks_are_safe(sheet));
    process_figures(sheet, told ? procfs_rss_bytes(buffer) : procfs_rss_quick(), status.peak_rss_bytes);
    sheet->limit_bytes = options.limit_bytes;
    sheet->cgroup_limit_bytes = told ? cgroup_limit_bytes(buffer) : 0;
}

void sheet_glance(sheet_t *sheet, uint64_t peak_rss_bytes, const survey_visitor_t *visitor)
{
    sheet->ended_by = END_REQUEST;
    sheet->threads = 0;
    survey_take_pages(&sheet->survey, visitor, true);
    uint64_t rss_bytes = procfs_rss_quick();
    process_figures(sheet, rss_bytes, peak_rss_bytes > rss_bytes ? peak_rss_bytes : rss_bytes);
}

void sheet_end_write(writer_t *writer, const sheet_t *sheet)
{
    static const char *const names[] = {[END_REQUEST] = "request",
                                        [END_EXIT] = "exit",
                                        [END_UNDERSCORE_EXIT] = "_exit",
                                        [END_QUICK_EXIT] = "quick_exit"};
    if (sheet->ended_by != END_SIGNAL)
        writer_text(writer, names[sheet->ended_by]);
    else if (sigabbrev_np(sheet->value) != NULL)
        writer_format(writer, "SIG%s", sigabbrev_np(sheet->value));
    else
        writer_format(writer, "signal %d", sheet->value);
}

unsigned sheet_percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (unsigned)((part * 100 + whole / 2) / whole);
}
