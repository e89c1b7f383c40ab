// preload/exit_report.h - the report: once a process at its end, and whenever tarn_report asks for it.
#ifndef TARN_EXIT_REPORT_H
#define TARN_EXIT_REPORT_H

#include <stdbool.h>

#include "../pool/bits.h"
#include "sheet.h"

// Whether this process would write one at its end.
bool exit_report_wanted(void);

// Writes it, if it is wanted and has not been written yet. value: the exit status, or the signal's number. If another
// thread is at it, waits until that is done, for a while. Signal safe; keeps errno.
RARE void exit_report_write(sheet_end_t ended_by, int value);

// In the handler of a fault: if it came while the calling thread composed the report (the program has destroyed the
// heap), gives the report up and goes on behind it; returns otherwise.
RARE void exit_report_abandon(void);

// Writes one now, wherever the exit's would go; also in processes that are not topmost. 0, or -1 and errno.
RARE int exit_report_now(void);

// In the child of a fork: nothing has been written.
void exit_report_forked(void);

// The heap's limit refuses a request: says so, once in a process's life, and who holds what. To standard error, in one
// write; errno is kept.
RARE void exit_report_at_limit(size_t size_bytes);

#endif
