// preload/recorder_modules.h - which file an address of a stack was mapped from, when the stack was taken.
#ifndef TARN_RECORDER_MODULES_H
#define TARN_RECORDER_MODULES_H

#include "../pool/bits.h"
#include "recording.h"

// What is known of a module without a lock.
typedef struct module_seen {
    uint64_t start, end; // 0, 0: none known
    uint64_t bias;
    uint64_t tables;     // the index of its unwind tables (PT_GNU_EH_FRAME); 0: none known
    uint64_t identity;   // differs for different files at one address
    const char *path;    // the loader's
    const uint8_t *build_id;
    uint32_t build_id_bytes;
} module_seen_t;

// Whether modules can be found at all: glibc 2.35 has that, and the unwinder asks by it.
RARE bool module_find_is_there(void);

// The module of an address on the calling thread's own stack, which cannot be closed meanwhile. Takes no lock.
RARE module_seen_t module_of(uintptr_t address);

// The segment of its file that the unwind tables are in, if that is mapped to be neither written nor executed; else 0, 0.
typedef struct module_segment {
    uintptr_t start, end;
} module_segment_t;

RARE module_segment_t module_constants(const module_seen_t *module);

// The different modules of one stack, as far as there is room.
#define MODULES_A_STACK 16u

typedef struct stack_modules {
    module_seen_t seen[MODULES_A_STACK];
    uint32_t count;
} stack_modules_t;

// The index of the module of an address on it; MODULES_A_STACK: none, or no room.
RARE uint32_t stack_module(stack_modules_t *modules, uintptr_t address);

// Its number in the recording; 0: there was no room. [recorder_lock]
RARE uint32_t recorder_module(const module_seen_t *seen, uint64_t now_ns);

#endif
