// tools/blame.h - which frame of a call stack is to blame for an allocation.
#ifndef TARN_TOOLS_BLAME_H
#define TARN_TOOLS_BLAME_H

#include "profile.h"

// The innermost frame that chose to allocate: not malloc and its kin under their many names, nor a container of the C++
// library or of Rust's, nor the C library. NULL for an empty stack.
const profile_frame_t *blame_frame(const profile_t *profile, const profile_stack_t *stack);

// Frames are counted from the innermost one of a stack, inlined ones too. NULL beyond the last.
const profile_frame_t *blame_frame_at(const profile_t *profile, const profile_stack_t *stack, uint32_t index);

// Whether a frame only hands on what others ask for.
bool blame_passes_on(const profile_t *profile, const profile_frame_t *frame);

#endif
