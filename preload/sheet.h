// preload/sheet.h - the balance sheet: the survey of the heap beside what the kernel says of the whole process.
//
//   rss_bytes = other_rss_bytes + heap_rss_bytes; the fields are defined in docs/statistics.md
#ifndef TARN_SHEET_H
#define TARN_SHEET_H

#include "../pool/bits.h"
#include "../pool/survey.h"
#include "procfs.h"
#include "writer.h"

typedef enum sheet_end { END_REQUEST, END_EXIT, END_UNDERSCORE_EXIT, END_QUICK_EXIT, END_SIGNAL } sheet_end_t;

typedef struct sheet {
    sheet_end_t ended_by;
    int value;          // the exit status, or with END_SIGNAL its number
    bool process_known; // false without /proc: then the next fields hold the heap alone
    uint64_t rss_bytes, other_rss_bytes, peak_rss_bytes;
    uint32_t threads;   // of the process; 0: not known
    uint64_t limit_bytes, cgroup_limit_bytes; // of the heap, and of the process's memory cgroup; 0: none
    survey_t survey;
} sheet_t;

// Fills *sheet; reads through *buffer; one call at a time (exit_report.c sees to it). After an end that may have
// interrupted the allocator (a signal, and _exit in a signal handler) it takes no lock, nor where no other thread could
// hold one. The survey's pages are shown to the visitor; NULL: to nobody. Not told: it is for a recording alone, which
// holds no limits, and whose snapshots all have the kernel's quick count of what is resident.
RARE void sheet_take(sheet_t *sheet, sheet_end_t ended_by, int value, bool told, const survey_visitor_t *visitor,
                     procfs_buffer_t *buffer);

// For the recording, while the process runs: at little cost, so without the number of threads, and with the peak that
// the caller has seen so far.
RARE void sheet_glance(sheet_t *sheet, uint64_t peak_rss_bytes, const survey_visitor_t *visitor);

// "exit", "SIGSEGV", ...
RARE void sheet_end_write(writer_t *writer, const sheet_t *sheet);

// part in percent of whole, rounded; 0 if whole is 0.
unsigned sheet_percent(uint64_t part, uint64_t whole);

#endif
