// preload/process.h - which process this is: its name, whether it was forked, and whether the report is its business.
//
// One command often starts many processes. A report from each would flood the terminal, so standard error is for the
// topmost: the one whose parent did not run under this library when it started. Children of a fork without an exec
// are not topmost either. Each process writes its own stats_file, if one was asked for.
#ifndef TARN_PROCESS_H
#define TARN_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "../pool/bits.h"

typedef struct process {
    pid_t pid;     // as of the start or the last fork
    char name[64]; // the program's, without directories; the start of it, if longer
} process_t;

// [const] after process_start, but for process_forked
extern process_t process;

void process_start(void);

// Whether standard error is its business. It looks at the parent when it is asked for the first time, and the parent may be
// another one later: so who will want to know asks at the start, and who may only want to complain does not.
RARE bool process_is_topmost(void);

// In the child of a fork.
void process_forked(void);

// False in a child that shares this process's memory or never called process_forked (vfork, clone): nothing of ours
// may happen there.
bool process_is_this(void);

#endif
