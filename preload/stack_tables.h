// preload/stack_tables.h - the unwind tables as memory: what was read of them stays resident up to a bound.
//
// A compiler's tables are megabytes, and a stack reads a few bytes here and there. For each page that is touched the kernel
// maps those around it as well, and all of them would count as resident to the end. So the parts that were read are known,
// and those that were not read lately are let go: they stay in the page cache, where the next reader finds them.
//
// Nothing can be lost by it. Only what the file's headers say is neither written nor executed is let go, of a module on the
// calling thread's stack, which cannot be closed meanwhile; of that only what the kernel says is the file's own pages, none
// of them a private copy that somebody has written; and where it does not say so, nothing.
#ifndef TARN_STACK_TABLES_H
#define TARN_STACK_TABLES_H

#include "recorder_modules.h"

// Somebody is about to read there. Of a module on the calling thread's stack. Lock-free.
RARE void stack_tables_note(uintptr_t address);

// Lets go of what is too much. modules: those of the calling thread's stack. Takes no lock.
RARE void stack_tables_settle(const stack_modules_t *modules);

#endif
