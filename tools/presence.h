// tools/presence.h - did the preloaded library really get into the command's processes?
//
// The dynamic linker leaves it out of programs that are linked statically and of those that run with raised privileges,
// and says nothing: every allocator would then seem to be the same. So the warm-up run is watched, and where it was too
// short for that, the command's file is asked.
#ifndef TARN_TOOLS_PRESENCE_H
#define TARN_TOOLS_PRESENCE_H

#include "measure.h"
#include "process_tree.h"

enum { PRESENCE_PROGRAMS_MAX = 64 };

typedef struct presence_program {
    pid_t pid;
    char path[TREE_PATH_BYTES];
    uint64_t first_ns, last_ns; // when it was looked at without having the library
    bool has;
} presence_program_t;

typedef struct presence {
    const char *library;       // real path; NULL: watch only for allocators of the command's own
    char own[TREE_PATH_BYTES]; // a library of another allocator that some process mapped, or empty
    presence_program_t programs[PRESENCE_PROGRAMS_MAX];
    int count;
} presence_t;

// An observer for measure_run.
void presence_observe(void *context, pid_t pid, uint64_t age_ns);

// Whether no process had the library, and at least one ran long enough to have it.
bool presence_is_nowhere(const presence_t *presence);

// A program that ran without the library beside others that had it; NULL if there was none.
const char *presence_program_without(const presence_t *presence);

// Why LD_PRELOAD cannot work on the file that `command` names: "is linked statically", "runs with raised privileges";
// NULL if it can, or if nobody knows.
const char *presence_obstacle(const char *command);

#endif
