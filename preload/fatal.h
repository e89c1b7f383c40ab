// preload/fatal.h - a report also where a signal ends the process that the program does not handle.
//
// Where a signal's action is the default, a handler of ours stands in for it: it writes the report and then lets the
// default happen, with the same signal. The program never sees it: signals.c shows SIG_DFL in its place and puts it
// back when SIG_DFL is set. The kernel's table is the only state, so that threads, forks and vfork need no care.
#ifndef TARN_FATAL_H
#define TARN_FATAL_H

#include <signal.h>
#include <stdbool.h>

#include "../pool/bits.h"

// Installs the handlers: in a process that would write a report, or those of SIGSEGV and SIGBUS where there are traps.
RARE void fatal_start(void);

// Whether the handler stands in for the default action of this signal, here and now.
bool fatal_stands_in(int number);
// Turns a default action into ours, keeping mask and flags; and back, if it is ours.
void fatal_substitute(int number, struct sigaction *action);
void fatal_hide(struct sigaction *action);

// sigaction past what a program sees, for handlers of ours.
void fatal_action_set(int number, const struct sigaction *action);

// Every signal but those that a fault raises.
void fatal_waiting_signals(sigset_t *set);

#endif
