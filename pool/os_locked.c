// pool/os_locked.c - see os_linux.h: memory is made usable and given back, also where the program locks its memory.
//
// MADV_DONTNEED refuses locked memory. It can be mapped anew, but under mlockall(MCL_FUTURE) that comes locked, too, and
// resident at once, as what was reserved does when it is made usable: so it would be given back in name alone. Since
// Linux 5.18 the kernel can be told to give it back all the same; it stays locked, and is never swapped out.
//
// What was reserved before mlockall is not locked when it is made usable later, though it is memory that is new to the
// program. So it is locked then (os_lock), as it is touched.
#include <errno.h>
#include <stdatomic.h>

#include "os_calls.h"
#include "os_linux.h"

#ifndef MADV_DONTNEED_LOCKED // Linux 5.18; the headers of the build may be older
#define MADV_DONTNEED_LOCKED 24
#endif

static _Atomic bool commits_locked; // what os_commit makes usable
static _Atomic enum { LOCKED_NOT, LOCKED_SOME, LOCKED_ALL } locked; // what was met so far; ALL: what is mapped anew, too

bool os_fresh_is_clean(void *start, size_t bytes)
{
    if (likely(atomic_load_explicit(&locked, memory_order_relaxed) == LOCKED_NOT) ||
        !os_is_resident((char *)start + bytes - os_page_bytes()))
        return true;
    return os_advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
}

static bool map_anew(void *start, size_t bytes)
{
    return os_map_anonymous(start, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) == start;
}

static RARE bool purge_locked(void *start, size_t bytes)
{
    if (atomic_load_explicit(&locked, memory_order_relaxed) == LOCKED_ALL)
        return os_advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
    if (!map_anew(start, bytes))
        return false;
    bool resident = os_is_resident((char *)start + bytes - os_page_bytes());
    atomic_store_explicit(&locked, resident ? LOCKED_ALL : LOCKED_SOME, memory_order_relaxed);
    return !resident || os_advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
}

bool os_purge(void *start, size_t bytes)
{
    return likely(os_advise(start, bytes, MADV_DONTNEED) == 0) || purge_locked(start, bytes);
}

bool os_refresh(void *start, size_t bytes)
{
    return map_anew(start, bytes) && os_fresh_is_clean(start, bytes);
}

void os_lock(bool locks)
{
    atomic_store_explicit(&commits_locked, locks, memory_order_relaxed);
    if (locks)
        atomic_store_explicit(&locked, LOCKED_ALL, memory_order_relaxed);
}

// Before it is usable, or the kernel would make all of it resident. False: the process may not lock so much.
static RARE bool commit_lock(void *start, size_t bytes)
{
    return KERNEL_CALL3(SYS_mlock2, start, bytes, MLOCK_ONFAULT) == 0;
}

bool os_commit(void *start, size_t bytes)
{
    int saved = errno;
    if (unlikely(atomic_load_explicit(&commits_locked, memory_order_relaxed)) && !commit_lock(start, bytes))
        return false;
    bool kills = KILLS(SYS_mprotect, start, bytes, PROT_READ | PROT_WRITE, 0);
    bool done = !kills && mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
    if (unlikely(!done && atomic_load_explicit(&commits_locked, memory_order_relaxed)))
        KERNEL_CALL2(SYS_munlock, start, bytes); // else it would go on to count
    bool forbidden = kills || (!done && errno != ENOMEM); // a filter (seccomp) that knows of mmap alone
    errno = saved;
    done = done || (forbidden && map_anew(start, bytes));
    if (done)
        os_fresh_is_clean(start, bytes);
    return done;
}
