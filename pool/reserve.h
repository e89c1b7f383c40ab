// pool/reserve.h - memory without a lock, for the one moment when the pool's locks cannot be had: a fork is under way
// and waits for the very thread that asks (see lock.h). Handed out by one atomic addition; when the last block has come
// back, all of it is given back and can be had again. So it is small, bounded, and normally not there at all.
#ifndef TARN_RESERVE_H
#define TARN_RESERVE_H

#include "bits.h"

// Zeroed, aligned to a power of two of at most 4096. NULL: used up.
RARE void *reserve_alloc(size_t alignment, size_t size_bytes);
// False: it is no live block.
RARE bool reserve_free(void *block);
bool reserve_has(const void *address);
// Usable bytes of a block that reserve_alloc returned; 0: it is no live block.
size_t reserve_usable(const void *block);
void reserve_bounds(char **start, char **end);

#endif
