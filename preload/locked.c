// preload/locked.c - mlockall, in a process in which most addresses are reserved and hold nothing.
//
// The kernel counts them: an unprivileged process may lock less than its reservation (RLIMIT_MEMLOCK), and is refused
// although all its memory would be within the limit. Then its mappings are locked one by one, and counted without those that
// cannot be accessed, and without what of the front map (zone.h) can be read, but is not in use. And what the kernel locks it
// makes resident, so nothing may be usable then that is not in use; and what is usable, but neither the program's nor a block, is
// locked as it is touched: the pool's tables, and the library's rare data.
#include <errno.h>
#include <sys/mman.h>

#include "../pool/pool.h"
#include "../pool/survey.h"
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

// Own memory of which most was never touched, and is no block: the pool's tables, and the library's rare data. Few pools have so many;
// those that come last are made resident then.
#define TABLES_MOST 32u

typedef struct locking {
    unsigned on_fault; // MLOCK_ONFAULT, or 0
    unsigned count;
    struct {
        uintptr_t start, end;
    } table[TABLES_MOST];
} locking_t;

static RARE void table_add(const char *start, const char *end, void *context)
{
    locking_t *locking = context;
    if (locking->count < TABLES_MOST) {
        locking->table[locking->count].start = (uintptr_t)start;
        locking->table[locking->count++].end = (uintptr_t)end;
    }
}

// The part of a table that comes first in the range; empty, at its end: there is none.
static RARE void table_next(const locking_t *locking, uintptr_t start, uintptr_t end, uintptr_t *from, uintptr_t *to)
{
    *from = *to = end;
    for (unsigned i = 0; i < locking->count; i++) {
        uintptr_t first = size_max(locking->table[i].start, start), last = size_min(locking->table[i].end, end);
        if (first < last && first < *from) {
            *from = first;
            *to = last;
        }
    }
}

// What cannot be locked (the kernel's own) stays as it is, as in mlockall.
static RARE bool lock(const procfs_mapping_t *mapping, void *context)
{
    const locking_t *locking = context;
    for (uintptr_t start = mapping->start + idle_bytes(mapping), from, to; start < mapping->end; start = to) {
        table_next(locking, start, mapping->end, &from, &to);
        if (start < from)
            kernel_mlock2(start, from - start, locking->on_fault);
        if (from < to)
            kernel_mlock2(from, to - from, MLOCK_ONFAULT);
    }
    return true;
}

// All there is. False: it is not known what there is.
static RARE bool lock_each(int flags)
{
    extern char rare_data_start[] __attribute__((visibility("hidden"))), rare_data_end[] __attribute__((visibility("hidden"))); // libtarn.ld
    locking_t locking;
    locking.on_fault = (flags & MCL_ONFAULT) != 0 ? MLOCK_ONFAULT : 0;
    locking.count = 0;
    table_add(rare_data_start, rare_data_end, &locking);
    survey_tables(table_add, &locking);
    return procfs_mappings(0, lock, &locking);
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

// What comes later. (Of what there is it changes nothing.)
static RARE int lock_future(int flags)
{
    return (flags & MCL_FUTURE) != 0 ? kernel_mlockall(flags & ~MCL_CURRENT) : 0;
}

// At first as it is touched; then all that is to be resident. Kernels before 4.4 make all resident at once.
static RARE int lock_current(int flags)
{
    int result = kernel_mlockall(flags | MCL_ONFAULT);
    if (result == 0)
        result = lock_future(flags); // first, so that what other threads map meanwhile is locked as the rest is
    bool done = result == 0 && lock_each(flags);
    if (!done && (result == 0 || result == -EINVAL))
        result = kernel_mlockall(flags);
    if (result == 0)
        procfs_mappings(0, unlock, NULL);
    return result;
}

// As mlockall, for one who may not lock what is reserved. Returns 0, or -ENOMEM: it is too much all the same.
static RARE int lock_within_limit(int flags)
{
    uint64_t total_bytes = 0;
    struct rlimit64 limit;
    if (!kernel_limit(RLIMIT_MEMLOCK, &limit) || !procfs_mappings(0, count, &total_bytes) || total_bytes > limit.rlim_cur)
        return -ENOMEM;
    lock_each(flags);
    return lock_future(flags);
}

EXPORT RARE int mlockall(int flags)
{
    bool current = (flags & MCL_CURRENT) != 0;
    pool_withdraw(); // without MCL_CURRENT, so that it is locked when it is made usable again
    int result = current ? lock_current(flags) : kernel_mlockall(flags);
    if (result == -ENOMEM && current)
        result = lock_within_limit(flags);
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
