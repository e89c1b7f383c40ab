// pool/residency.h - how much of a range of addresses is resident, by the kernel's word, asked for many OS pages at once.
//
// For who goes through memory in order of addresses, and asks of one piece after the other: what the kernel said of the next
// 16 MiB is remembered, as runs of resident OS pages, and mostly the answer lies in the run of the one before.
#ifndef TARN_RESIDENCY_H
#define TARN_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os_linux.h"

// One thread's. A page and more: keep it off small stacks.
typedef struct residency {
    uintptr_t start, end;         // what the runs tell about; the same: nothing
    uintptr_t run_start, run_end; // the run that the last answer came from, or the next one behind; `end` twice: there is none
    unsigned at, count;           // its number, and that of all
    os_run_t runs[OS_RUNS];
} residency_t;

// What was remembered is of another time, or of none: the next question asks the kernel.
void residency_forget(residency_t *residency);

// Resident bytes of from..to, which need not lie on OS pages' bounds: as if each byte of a resident OS page were. `most`: the end
// of the mapped range that they lie in, for reading ahead. Where it lies before `to` (without the locks it may by now: what is
// behind came meanwhile) the kernel is asked up to `to`.
size_t residency_bytes(residency_t *residency, uintptr_t from, uintptr_t to, uintptr_t most);

// Whether the run of the last answer has it: then all of it is resident. False: residency_bytes tells.
static inline bool residency_has(const residency_t *residency, uintptr_t from, uintptr_t to)
{
    return from >= residency->run_start && to <= residency->run_end;
}

#endif
