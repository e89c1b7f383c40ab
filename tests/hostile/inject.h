// tests/hostile/inject.h - memory that the kernel refuses: a second preloaded library that fails the allocator's calls.
//
//   LD_PRELOAD=inject.so:libtarn.so     its mmap, mprotect, ... come before the C library's
//   TARN_INJECT=mmap:3:once             from the process's start on: the third mmap fails
//   TARN_INJECT=mmap:3:on               the third and all after it
//
// Only calls from the library that malloc belongs to are counted and failed: a thread's stack and a program's own
// mappings are had as always. A failed call sets ENOMEM.
#ifndef TARN_TESTS_INJECT_H
#define TARN_TESTS_INJECT_H

#include <stdbool.h>

typedef enum inject_call {
    INJECT_MMAP,
    INJECT_MPROTECT,
    INJECT_MADVISE,
    INJECT_MREMAP,
    INJECT_MUNMAP,
    INJECT_CALLS
} inject_call_t;

// The nth call from now on fails, with `onwards` all after it too; 0: none. Found by dlsym.
typedef void inject_arm_t(inject_call_t call, long nth, bool onwards);

// How many such calls the allocator has made, and how many of all calls were failed, since the last inject_arm.
typedef long inject_count_t(inject_call_t call);
typedef long inject_failed_t(void);

#endif
