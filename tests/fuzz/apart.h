// tests/fuzz/apart.h - each input in a process of its own: the pool starts anew, with other settings, and what an input
// comes to does not depend on those before it.
//
// libFuzzer looks at the coverage counters of its own process. So the child leaves its counters in shared memory, and
// the parent takes them over. Without a fuzzer (replay.c) there are none.
#ifndef TARN_FUZZ_APART_H
#define TARN_FUZZ_APART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define APART_SECONDS 20 // an input that takes longer hangs

// Calls work(data, size) in a child. If it dies of anything, or exits with a status that is not 0, so does the caller.
void apart_run(void (*work)(const uint8_t *data, size_t size), const uint8_t *data, size_t size);

// Waits for the end of a child, whatever signals come meanwhile. False: it is no child of the caller's.
bool apart_wait(pid_t pid, int *status);

// What both libFuzzer and replay.c call.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
