// preload/recorder_sites.h - call stacks by size class, and what is counted for each: the recording's sites, sizes and
// samples. Everything here is [recorder_lock].
#ifndef TARN_RECORDER_SITES_H
#define TARN_RECORDER_SITES_H

#include <stdbool.h>

#include "../pool/sample.h"
#include "recording.h"

// Frames kept of a stack. Beyond come a recursion's repetitions, or main's callers.
#define STACK_DEPTH_MAX 64

typedef struct stack {
    uint32_t depth;
    bool cut;                         // there were more
    uint64_t frame[STACK_DEPTH_MAX];  // as in the recording, innermost first
} call_stack_t;

// Empty tables. Nothing is written there before the first sample, so that a program that has none pays for no pages.
RARE void recorder_sites_start(void);
// Before a sample is counted: the first records of the threads, sites and sizes, and memory for the index. False: no room.
RARE bool recorder_sites_begin(void);

// Who had the sample, and when.
typedef struct birth {
    uint64_t now_ns;
    uint32_t thread, tid;
} birth_t;

// A sample is born; returns its number for the pool, 0 if there is no room.
RARE uint32_t recorder_sample_birth(const sample_t *sample, const call_stack_t *stack, const birth_t *birth);
RARE void recorder_sample_death(uint32_t number, const void *block, uint64_t now_ns);
RARE void recorder_sample_resize(uint32_t number, const void *old_block, const sample_t *sample, uint64_t now_ns);

// The stack that allocated a live sample, by its number from the pool: addresses of return. Returns the depth. Without the
// lock: of a sample that dies meanwhile it may be another's.
RARE uint32_t recorder_sample_stack(uint32_t number, uintptr_t *address, uint32_t most);

#endif
