// preload/trapped.h - a fault in a trap (pool/trap.h) is told: whose block it was, who allocated and who freed it.
//
// Where a program handles SIGSEGV or SIGBUS itself, a handler of ours stands before its own at level 3, and passes on what
// it has told. The program never sees it: signals.c shows the program's in its place. What there is to remember is the
// address of the program's handler; all else is in the kernel's table.
#ifndef TARN_TRAPPED_H
#define TARN_TRAPPED_H

#include <signal.h>
#include <stdbool.h>

#include "../pool/trap.h"

// Whether a trap raises this signal, and there are traps.
bool trapped_signal(int number);

// Who allocated the block of a trap, and who freed it: a line each.
RARE void trapped_stacks_tell(const trap_report_t *report);

// In the handler of a fault: tells it, if it is one of a trap. True: on_error=report, and the instruction may run again.
RARE bool trapped_tell(int number, const siginfo_t *info, const void *context);

// Puts ours before the program's handler of one of those signals, in this process; and back, if it is ours.
void trapped_substitute(int number, struct sigaction *action);
void trapped_hide(int number, struct sigaction *action);

#endif
