// preload/cgroup.h - what the process's memory cgroup allows: version 1 (memory.limit_in_bytes) and 2 (memory.max). A
// limit of a group above counts, too, as far as it can be seen. Signal safe.
#ifndef TARN_CGROUP_H
#define TARN_CGROUP_H

#include "procfs.h"

// The lowest limit, in bytes; 0: there is none, or nothing is known of it.
RARE uint64_t cgroup_limit_bytes(procfs_buffer_t *buffer);

#endif
