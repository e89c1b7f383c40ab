// tools/rollup.h - what `tarn run` says at its end: how many processes were recorded, where, and which were largest.
#ifndef TARN_TOOLS_ROLLUP_H
#define TARN_TOOLS_ROLLUP_H

#include <stdint.h>
#include <sys/types.h>

// Recordings in the directory that began at `since_ns` (since 1970) or later, into a few lines on stderr. Returns how
// many there are. The command's own process is `pid`, and ended with `status`, as waitpid tells.
int rollup_print(const char *directory, uint64_t since_ns, pid_t pid, int status);

#endif
