// tools/profile_build.h - from the records of a recording to a profile.
//
//   profile_build.c    the process, its snapshots, threads, sizes
//   profile_stacks.c   the stacks and the samples
//   profile_close.c    the stacks' metrics: the estimates, closed against the balance sheet (profile_close.h)
//   profile_names.c    functions and lines for the addresses, and the frame to blame
#ifndef TARN_TOOLS_PROFILE_BUILD_H
#define TARN_TOOLS_PROFILE_BUILD_H

#include "profile.h"
#include "recording_reader.h"

// Reads the file at `path`. NULL: *fault_text is one line that says why, to be freed, and *foreign whether it is no
// recording at all.
profile_t *profile_read(const char *path, bool *foreign, char **fault_text);
void profile_free(profile_t *profile);

// Adds a line to the warnings; `text` becomes the profile's.
void profile_warn(profile_t *profile, char *text);

void profile_build_stacks(profile_t *profile, const recording_t *recording);

// `stack_of` has the stack of each site of the recording; the last stack is [unattributed].
void profile_close(profile_t *profile, const recording_t *recording, const uint32_t *stack_of);

void profile_build_names(profile_t *profile);

#endif
