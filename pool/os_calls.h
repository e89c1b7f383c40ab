// pool/os_calls.h - the kernel's memory calls, for the files named os_* alone. They go through the C library, unless a filter
// of system calls would end the process for them, and leave errno as it is.
#ifndef TARN_OS_CALLS_H
#define TARN_OS_CALLS_H

#include <sys/mman.h>

#include "bits.h"
#include "kernel_call.h"

// Whether one of the process's own filters would end it for such a call.
#define KILLS(number, a, b, c, d) kernel_call_kills((number), (long)(a), (long)(b), (long)(c), (long)(d), -1, 0)

// mmap of private memory without a file. NULL if refused.
void *os_map_anonymous(void *hint, size_t bytes, int protection, int flags);
// madvise. 0, or what is wrong, as errno tells it.
int os_advise(void *start, size_t bytes, int advice);
// Memory that was just mapped or made usable. False: it came locked, and is resident, and stays so.
bool os_fresh_is_clean(void *start, size_t bytes);
bool os_is_resident(const void *os_page);

#endif
