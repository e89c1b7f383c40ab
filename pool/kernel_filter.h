// pool/kernel_filter.h - what the process's own filters of system calls (seccomp) would do to a call.
//
// A sandbox is written for what a program calls, and for what the C library's malloc does. Many end the process for anything
// else: for mincore, for a second look at a limit, for the files that a report reads. So the filters that the process sets
// (preload/sandbox.c sees them) are kept here, and kernel_call.h asks them first: a call that would be the end fails with EPERM
// and is not made. That is what a filter does that refuses, and the library can do without those calls (tests/hostile/filters.c).
//
// A filter counts for all threads, also one that was set for the calling thread alone; but not for the calls without which malloc
// would fail: those are asked of the filters of all threads, and of the calling thread's own. Filters that were set before the
// program began are not known; its start has made most of the calls.
#ifndef TARN_KERNEL_FILTER_H
#define TARN_KERNEL_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

extern uint32_t kernel_filters; // instructions kept, of all filters; 0: none. [atomic] written: release, read: acquire

// Before the kernel gets it. for_all: each thread has it, and those that begin later; else the calling thread alone.
void kernel_filter_add(const struct sock_fprog *filter, bool for_all);
// The kernel has refused the one that was added last.
void kernel_filter_drop(const struct sock_fprog *filter);
// Strict mode: read, write, exit and sigreturn are left.
void kernel_filter_strict(bool for_all);

bool kernel_filter_kills(long number, long a, long b, long c, long d, long e, long f);

// Whether the call would end the process, or interrupt it by SIGSYS.
static inline __attribute__((always_inline)) bool kernel_call_kills(long number, long a, long b, long c, long d, long e, long f)
{
    return __builtin_expect(__atomic_load_n(&kernel_filters, __ATOMIC_ACQUIRE) != 0, 0) &&
           kernel_filter_kills(number, a, b, c, d, e, f);
}

#endif
