// preload/stack_quick.h - the calling thread's stack, without the unwinder where all of its frames are of known kinds.
//
// The unwinder looks each frame's entry up and executes it up to the address, 20,000 instructions for a stack of twelve
// frames, of which seven are this library's. Here the outcome is remembered by address (stack_rule.h): 80 a frame. It
// takes no lock, allocates nothing, and reads the stack where the unwinder would.
#ifndef TARN_STACK_QUICK_H
#define TARN_STACK_QUICK_H

#include "recorder_modules.h"
#include "stack.h"

// As stack_walk. False: that one has to do it, and *walk is as it was. The modules of the frames are added to *modules:
// what is remembered of an address is of a module, and another one may have come in its place.
RARE bool stack_walk_quick(stack_walk_t *walk, stack_modules_t *modules);

#endif
