// pool/trap.h - traps (level 3): blocks drawn by chance, each at the end of OS pages of its own, between guards.
//
//   | guard | slot 0: inaccessible | open OS pages: 0 ... block | guard | slot 1 ... | guard |
//                                                   slack, less than the alignment ^
//
// What runs over a block's end, and whatever touches a freed block, faults at that instruction; the one who handles the
// fault asks trap_explain whose block it was, who allocated it, and who freed it. What was written before a block, or into
// its slack, is seen when it is freed. A freed slot is closed, and the one that was freed longest ago is opened next.
//
// The idea is that of GWP-ASan (LLVM, Android) and of PartitionAlloc's (Chromium): Electric Fence for a few blocks of
// very many, so that a fleet finds what no single process could afford to look for.
//
//   a slot:   FREE --alloc--> BUSY --> LIVE --free--> BUSY --> FREE         BUSY, or a guard opened --> RETIRED
//
// Who takes a slot to BUSY by a compare-and-swap owns all that is known of it. There is no lock: a signal handler that
// interrupted anything may allocate and free, and so may a child of fork.
#ifndef TARN_TRAP_H
#define TARN_TRAP_H

#include <stdbool.h>

#include "config.h"

#define HARDEN_TRAPS 3
// One allocation in so many, on average: what LLVM's GWP-ASan samples by default.
#define TRAP_EVERY 5000u

// Frames of a stack: what one line of a message has room for.
#define TRAP_FRAMES 16u

typedef struct trap_stack {
    uint32_t thread; // 0: nobody was here
    uint32_t depth;
    uintptr_t frame[TRAP_FRAMES]; // addresses of return, innermost first
} trap_stack_t;

// The addresses of all slots; 0 bytes: there are none. [const] after the start
POOL_LOCAL extern uintptr_t trap_base;
POOL_LOCAL extern size_t trap_bytes;

// Weak, as the hooks of pool.h: the calling thread's stack, without frames of this library. Returns its depth.
RARE __attribute__((weak)) unsigned trap_hook_stack(uintptr_t *frames, unsigned most);

static inline bool trap_has(const void *address)
{
    return unlikely((uintptr_t)address - trap_base < trap_bytes);
}

// Level 3 begins. every: TRAP_EVERY, or another number. Without memory there are no slots.
RARE void trap_start(unsigned every);
// How many allocations to the next that is to be one: uniformly distributed. 0: never.
RARE uint32_t trap_gap(uint64_t random);
// NULL: the block does not fit, too many live, or there is no memory.
RARE void *trap_alloc(size_t alignment, size_t size_bytes);
// NULL: done. Else what is wrong: it was no live block; or it is freed, and something was written around it.
RARE const char *trap_free(void *block);
// What was asked for; 0, and what is wrong, if it is no live block.
RARE size_t trap_usable(const void *block, const char **wrong);

typedef struct trap_report {
    const char *where; // "behind the end of a live block", ...
    size_t distance_bytes; // from there
    const void *block;
    size_t size_bytes; // asked for
    trap_stack_t allocated, freed;
} trap_report_t;

// What an address in trap_has is; false: no block was ever there. Signal safe; while others use the slot, about.
RARE bool trap_explain(const void *address, trap_report_t *report);
// So that a program can go on: the OS page becomes usable, and its slot is not used again.
RARE bool trap_forgive(const void *address);

// For surveys and checks: the live block of a slot. False: there is none.
typedef struct trap_view {
    char *open, *block, *end; // the first open OS page, the block, the end of both
    size_t size_bytes;
} trap_view_t;
RARE bool trap_look(unsigned slot, trap_view_t *view);
RARE unsigned trap_slots(void); // 0 below level 3
RARE uint64_t trap_allocated_total(void);
void trap_table_bounds(char **start, char **end);

#endif
