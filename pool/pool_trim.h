// pool/pool_trim.h - everything kept is given back: when memory is refused, and when the program asks (pool_trim, pool.h).
//
// heap: the calling thread's, NULL if it has none. Any thread; the locks are taken one after the other.
#ifndef TARN_POOL_TRIM_H
#define TARN_POOL_TRIM_H

#include "pool.h"

// All that is kept goes back to the kernel, addresses kept. False: there was nothing.
bool pool_trim_all(heap_t *heap);
// What was given back may still be held against the process (zone_withdraw.h says how); it goes, too, and with it the pages that
// blocks are taken from now.
RARE void pool_trim_withdraw(heap_t *heap);

#endif
