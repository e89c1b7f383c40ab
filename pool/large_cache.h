// pool/large_cache.h - freed large blocks that are kept with their memory, in the order in which they came.
//
//   newest <-> ... <-> oldest      state EXTENT_CACHED; used_bytes of each counts as kept (budget_retain)
//
// A fit is looked for among the newest few: they are the likeliest to be in the processor's caches. The oldest goes first.
// All of it [LOCK_LARGE].
#ifndef TARN_LARGE_CACHE_H
#define TARN_LARGE_CACHE_H

#include "extent.h"

// A BUSY extent becomes the newest one.
void large_cache_add(extent_id_t id);
// One of them is BUSY again, and not kept any more.
void large_cache_remove(extent_id_t id);
// The shortest of the newest few that has `grains` to `most_grains` and is aligned (a power of two). 0: none. It stays cached.
extent_id_t large_cache_find(size_t grains, size_t most_grains, size_t alignment);
// 0: none.
extent_id_t large_cache_oldest(void);

#endif
