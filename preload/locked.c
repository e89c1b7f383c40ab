// preload/locked.c - mlockall, in a process in which most addresses are reserved and hold nothing.
//
// The kernel counts them: an unprivileged process may lock less than its reservation (RLIMIT_MEMLOCK), and is refused
// although all its memory would be within the limit. Then its mappings are locked one by one, and counted without those that
// cannot be accessed, and without what of the front map (zone.h) can be read, but is not in use. And what the kernel locks it
// makes resident, so nothing may be usable then that is not in use.
#include <errno.h>
#include <sys/mman.h>

#include "../pool/pool.h"
#include "export.h"
#include "kernel.h"
#include "procfs.h"

// From the mapping's start on, what holds nothing: all of what cannot be accessed, and what is in the front map. Behind that the
// kernel may have joined a mapping of the program's to it; what is before it is in use, and can be written.
static size_t idle_bytes(const procfs_mapping_t *mapping)
{
    size_t bytes = mapping->end - mapping->start;
    if (mapping->writable || mapping->executable)
        return 0;
    return mapping->readable ? size_min(zone_front_bytes_from(mapping->start), bytes) : bytes;
}

static RARE bool count(const procfs_mapping_t *mapping, void *total_bytes)
{
    *(uint64_t *)total_bytes += mapping->end - mapping->start - idle_bytes(mapping);
    return true;
}

// What cannot be locked (the kernel's own) stays as it is, as in mlockall.
static RARE bool lock(const procfs_mapping_t *mapping, void *flags)
{
    uintptr_t start = mapping->start + idle_bytes(mapping);
    if (start < mapping->end)
        kernel_mlock2(start, mapping->end - start, *(const unsigned *)flags);
    return true;
}

// What holds nothing counts as locked, and would become resident at once when it is made usable.
static RARE bool unlock(const procfs_mapping_t *mapping, void *unused)
{
    (void)unused;
    size_t bytes = idle_bytes(mapping);
    if (bytes != 0)
        kernel_munlock(mapping->start, bytes);
    return true;
}

// As mlockall. Returns 0, or -ENOMEM: it is too much all the same.
static RARE int lock_each(int flags)
{
    uint64_t total_bytes = 0;
    struct rlimit64 limit;
    unsigned on_fault = (flags & MCL_ONFAULT) != 0 ? MLOCK_ONFAULT : 0;
    if (!kernel_limit(RLIMIT_MEMLOCK, &limit) || !procfs_mappings(0, count, &total_bytes) || total_bytes > limit.rlim_cur)
        return -ENOMEM;
    procfs_mappings(0, lock, &on_fault);
    return (flags & MCL_FUTURE) != 0 ? kernel_mlockall(flags & ~MCL_CURRENT) : 0;
}

EXPORT RARE int mlockall(int flags)
{
    bool current = (flags & MCL_CURRENT) != 0;
    pool_withdraw(); // without MCL_CURRENT, so that it is locked when it is made usable again
    int result = kernel_mlockall(flags);
    if (result == 0 && current)
        procfs_mappings(0, unlock, NULL);
    else if (result == -ENOMEM && current)
        result = lock_each(flags);
    if (result == 0)
        pool_lock((flags & MCL_FUTURE) != 0);
    else
        errno = -result;
    return result == 0 ? 0 : -1;
}

EXPORT RARE int munlockall(void)
{
    pool_lock(false);
    int result = kernel_munlockall();
    if (result != 0)
        errno = -result;
    return result == 0 ? 0 : -1;
}
