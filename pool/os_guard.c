// pool/os_guard.c - see os_linux.h: memory that nobody can read or write.
//
// Since Linux 6.13 a guard is a mark in the page table, and the mapping stays one. Before, and where the memory is
// locked, it is a mapping of its own.
#include <errno.h>
#include <stdatomic.h>

#include "os_calls.h"
#include "os_linux.h"

// Linux 6.13; the headers of the build may be older.
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static _Atomic int guard_marks; // whether the kernel knows them: 0: not asked yet, 1: yes, -1: no

// An emulator may agree to any advice and do nothing: a guard cannot be read, either.
static bool guard_mark(void *start, size_t bytes)
{
    bool done = os_advise(start, bytes, MADV_GUARD_INSTALL) == 0;
    if (atomic_load_explicit(&guard_marks, memory_order_relaxed) == 0) {
        done = done && os_advise(start, os_page_bytes(), MADV_POPULATE_READ) == EFAULT;
        atomic_store_explicit(&guard_marks, done ? 1 : -1, memory_order_relaxed);
    }
    return done;
}

bool os_guard_splits(void)
{
    return atomic_load_explicit(&guard_marks, memory_order_relaxed) != 1;
}

bool os_guard(void *start, size_t bytes)
{
    if (atomic_load_explicit(&guard_marks, memory_order_relaxed) >= 0 && guard_mark(start, bytes))
        return true;
    return os_guard_splits() && os_withdraw(start, bytes);
}

bool os_guard_open(void *start, size_t bytes)
{
    return os_guard_splits() ? os_commit(start, bytes) : os_advise(start, bytes, MADV_GUARD_REMOVE) == 0;
}
