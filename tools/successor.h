// tools/successor.h - what a process became that called exec: its recording ends without a word, and another begins.
#ifndef TARN_TOOLS_SUCCESSOR_H
#define TARN_TOOLS_SUCCESSOR_H

#include "../preload/recording.h"

#include <stdbool.h>
#include <sys/types.h>

// Whether `later` is of the program that the process of `earlier` went on as: an exec changes neither a process's id nor
// when it began.
bool successor_is(const recording_header_t *earlier, const recording_header_t *later);

// The name of the next program of that process, to be freed, by the recordings beside the one at `path`; NULL: none of
// them is its.
char *successor_program(const char *path, const recording_header_t *header);

// The name of the program that the living process `pid` is now, to be freed, if that one does not write the recording at
// `path`: an exec into what is not recorded, as a static program. NULL: it does, or the kernel does not tell.
char *successor_unrecorded(const char *path, pid_t pid);

#endif
