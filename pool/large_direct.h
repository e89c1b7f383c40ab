// pool/large_direct.h - large blocks in mappings of their own, outside the range: plain, or between guards (level 2).
//
//   plain    | block, whole OS pages |                      where the range has no room, or there is none. grains 0
//   guarded  | reserved only, as long as the alignment | block, whole OS pages | one OS page reserved only |
//
// Between guards nothing can be read or written before, behind, or after it was freed, until the addresses are given back: when
// GUARDED_HELD more have been freed. `grains` counts the OS pages in front of it.
// They are found by a table of hashed addresses, linked by `next`. All of it [LOCK_LARGE].
#ifndef TARN_LARGE_DIRECT_H
#define TARN_LARGE_DIRECT_H

#include "extent.h"

// A new mapping of whole OS pages, BUSY, which reads as zero. alignment: a power of two. 0: no memory.
extent_id_t large_direct_get(size_t bytes, size_t alignment);
// The same between guards, if large_direct_guards says that it is to be.
RARE extent_id_t large_direct_get_guarded(size_t bytes, size_t alignment);
bool large_direct_guards(size_t alignment);
// The extent is not the caller's any more. Returns how many bytes from *start on are to be unmapped, which is better done without
// the lock; 0: none, they go in their turn.
size_t large_direct_leave(extent_id_t id, char **start);
// Both in one.
void large_direct_free(extent_id_t id);
// The guard moves down, and what was behind it is given back. False: it would have to grow, or the kernel refused.
RARE bool large_direct_shrink_guarded(const extent_t *extent, size_t bytes);

// In and out of the table, when the start changes.
void large_direct_add(extent_id_t id);
void large_direct_remove(extent_id_t id);
// The mapping that starts there; 0: none.
extent_id_t large_direct_find(const void *block);
// All of them, for walks: the first if id is 0; 0 at the end.
extent_id_t large_direct_next(extent_id_t id);
// Whether it lies in a live block between guards. It takes a walk over all of them, for one that is about to be told of.
bool large_direct_is_inside_guarded(const char *address);

#endif
