// pool/reserve.h - memory without a lock, for the one moment when the pool's locks cannot be had: a fork is under way
// and waits for the very thread that asks (see lock.h). Handed out by one atomic addition and never used again, so it
// is small, bounded, and normally not there at all.
#ifndef TARN_RESERVE_H
#define TARN_RESERVE_H

#include "bits.h"

// Zeroed, aligned to a power of two of at most 4096. NULL: used up.
void *reserve_alloc(size_t alignment, size_t size_bytes);
bool reserve_has(const void *address);
// Usable bytes of a block that reserve_alloc returned.
size_t reserve_usable(const void *block);
void reserve_bounds(char **start, char **end);

#endif
