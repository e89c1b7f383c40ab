// pool/pool_alloc.h - allocations that leave the fast path: which tier serves a request, and what happens when none can.
//
//   class      from the calling thread's heap: small and medium ones, aligned ones in classes that are aligned so
//   large      above, and where there is no heap or no page
//   trap       hardened, instead of either, by chance
//   refused    everything kept is given back; what is clean is reserved only; then reserve.h, if it was a lock; then NULL
//
// The functions themselves are declared in pool.h.
#ifndef TARN_POOL_ALLOC_H
#define TARN_POOL_ALLOC_H

#include "pool.h"

// The class that serves such a request, hardened or not; 0: it is a large one. alignment: a power of two.
unsigned pool_alloc_class(size_t alignment, size_t size_bytes);

#endif
