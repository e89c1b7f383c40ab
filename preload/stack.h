// preload/stack.h - the calling thread's stack: taken, and shown in a line of a message.
//
// It is taken by libgcc's unwinder, which is linked into this library: it takes no lock, allocates nothing and shares no
// state with the one that carries the program's exceptions. Signal safe.
#ifndef TARN_STACK_H
#define TARN_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../pool/bits.h"

typedef struct stack_walk {
    uintptr_t *address; // in: room for `most`; out: addresses of return, innermost first
    uint32_t most;
    uint32_t depth; // 0 before
    bool cut;       // there were more
    bool outside;   // of this library, since a frame of the caller's was seen
} stack_walk_t;

// The frames of this library are left out. Before glibc 2.35 no frame is found.
RARE void stack_walk(stack_walk_t *walk);

// What of this library's own file the loader mapped: addresses from start on, below end.
typedef struct stack_own {
    uintptr_t start, end;
    uint64_t identity; // see recorder_modules.h
} stack_own_t;

RARE stack_own_t stack_own(void);

// One line: "tarn:   allocated by thread 12: program+0x1234 < libc.so.6+0x5678". Offsets are the file's addresses, those of
// the calls (the byte before the return). thread 0: it is not known.
RARE void stack_tell(const char *what, uint32_t thread, const uintptr_t *address, uint32_t depth);

#endif
