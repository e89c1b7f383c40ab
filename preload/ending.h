// preload/ending.h - the ways a process ends: exit and return from main, _exit and _Exit, quick_exit. Signals: fatal.h.
#ifndef TARN_ENDING_H
#define TARN_ENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../pool/bits.h"

// Asks to be called at the end. From the constructor, as early as can be: handlers run in reverse order.
RARE void ending_start(void);

// The thread that is at it, meanwhile: what it asks calloc for then, ending_note may have. 0: none.
POOL_LOCAL extern uintptr_t ending_registers;
RARE void *ending_note(size_t bytes); // zeroed; NULL: it is another thread's request, or not that one
// Whether it is that block, which the C library frees when it has called us.
bool ending_has(const void *block);

#endif
