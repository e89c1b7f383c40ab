// preload/procfs.h - what /proc says about a process. It may be missing (chroot, containers, hidepid): every function
// then fails quietly, and the callers have something else to fall back to. No file stays open. Signal safe.
#ifndef TARN_PROCFS_H
#define TARN_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../pool/bits.h"

// Room for the longest line: a path of PATH_MAX behind the numbers of a mapping. What is longer still (the kernel
// writes a newline in a path as four letters) falls into two lines, of which the second says nothing to anybody here.
#define PROCFS_LINE_BYTES (4096 + 512)

// One line of /proc/PID/maps.
typedef struct procfs_mapping {
    uintptr_t start, end;
    bool readable, writable, executable, is_private;
    const char *name; // "" for anonymous memory; lives as long as the call of the visitor
    uint64_t inode, device; // what tells its file from others: from procfs_code alone
} procfs_mapping_t;

// Calls visit for every mapping of the process (pid 0: this one), lowest address first, until it returns false.
// False if the file cannot be read.
RARE bool procfs_mappings(pid_t pid, bool (*visit)(const procfs_mapping_t *mapping, void *context), void *context);

// The same for the executable mappings of files alone, from an address on: a query for each (Linux 6.11), where writing out
// all mappings takes the kernel three times as long. False if this kernel cannot be asked so; then some may have been visited.
RARE bool procfs_code(pid_t pid, uintptr_t from, bool (*visit)(const procfs_mapping_t *mapping, void *context),
                      void *context);

typedef struct procfs_buffer procfs_buffer_t;

// Calls visit for every line of the file until it returns false. False if the file cannot be read.
RARE bool procfs_lines(const char *path, procfs_buffer_t *buffer, bool (*visit)(const char *line, void *context),
                       void *context);

typedef struct procfs_status {
    uint32_t threads;         // 0: not known, and so with the next two
    uint64_t rss_bytes;       // about: what is exact is procfs_rss_bytes
    uint64_t peak_rss_bytes;
} procfs_status_t;

// What a file is read through; the caller's, since signal handlers run on small stacks.
struct procfs_buffer {
    char bytes[PROCFS_LINE_BYTES];
};

// Both of this process. The latter costs the kernel a walk over the page tables; 0: not known.
RARE procfs_status_t procfs_status(procfs_buffer_t *buffer);
RARE uint64_t procfs_rss_bytes(procfs_buffer_t *buffer);
// Resident bytes by counters that lag behind, at a twentieth of the cost. 0: not known.
RARE uint64_t procfs_rss_quick(void);
RARE uint64_t procfs_start_ticks(void); // when this process began, since boot; 0: not known

#endif
