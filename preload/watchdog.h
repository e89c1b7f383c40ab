// preload/watchdog.h - stops work that does not come to an end: a walk over a heap that the program has destroyed can
// go round in circles, and a process that is about to end must not hang in its report.
//
// Counts the calling thread's processor time, so that a slow reader of the report is not mistaken for it.
#ifndef TARN_WATCHDOG_H
#define TARN_WATCHDOG_H

#include "../pool/bits.h"

// Calls expired() in the calling thread, in a signal handler, after some seconds. Takes SIGVTALRM over for good: only
// for a process at its end.
RARE void watchdog_start(void (*expired)(void));
RARE void watchdog_stop(void);

#endif
