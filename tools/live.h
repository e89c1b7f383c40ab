// tools/live.h - the recording of a process that runs: which file it writes.
#ifndef TARN_TOOLS_LIVE_H
#define TARN_TOOLS_LIVE_H

#include <stdint.h>
#include <sys/types.h>

// The path under which the recording of process `pid` can be opened, to be freed; NULL after one line on stderr.
char *live_find(const char *who, pid_t pid);

// What the kernel says of a process now.
typedef struct live {
    uint64_t rss_bytes; // 0: it is gone
    uint64_t threads;
} live_t;

live_t live_look(pid_t pid);

#endif
