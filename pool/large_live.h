// pool/large_live.h - live large blocks: how one is found, how long it is, and what all of them come to.
//
//   extent   | used_bytes: whole OS pages | an OS page at least, in addresses alone |
//              requested_bytes <= used_bytes
//
// All of it [LOCK_LARGE] unless said otherwise.
#ifndef TARN_LARGE_LIVE_H
#define TARN_LARGE_LIVE_H

#include "extent.h"

typedef enum large_result {
    LARGE_DONE,
    LARGE_FOREIGN,  // no large block's address range
    LARGE_INTERIOR, // inside a large block, not its start
    LARGE_FREED,    // the start of a block that is not live
    LARGE_BUSY      // a fork does not finish: nothing was done
} large_result_t;

typedef struct large_counts {
    uint64_t live_blocks, live_bytes, requested_bytes, allocated_total;
} large_counts_t;

// Of all live blocks; the warm one (large.h) still counts.
extern large_counts_t large_live_counts;
// Extents that were moved (extent_t.moved), live or not: each is a mapping of its own to the kernel.
extern unsigned large_live_moved;

// The live extent that starts at the block; 0, and why there is none.
extent_id_t large_live_find(const void *block, large_result_t *why);
// A BUSY extent becomes a live block of `bytes`; the caller has counted them as used (budget_take).
void large_live_begin(extent_t *extent, size_t bytes, size_t size_bytes);
// It becomes another size. The caller has counted what it grew by as used.
void large_live_resized(extent_t *extent, size_t bytes, size_t size_bytes);
// It is BUSY, and its bytes are not used any more.
void large_live_end(extent_t *extent);
// Gives back what is resident behind a block's new end, up to dirty_bytes: it would be waste that nobody sees. Without the lock, if
// nobody else has the extent. If the kernel refuses, the extent is stained.
void large_live_trim(extent_t *extent, size_t dirty_bytes, size_t bytes);
// Grains for a block. An OS page at least is left behind it, in addresses alone: what runs over its end, or below the start
// of the next one, is written where nobody is. No lock.
size_t large_live_grains(size_t bytes);
// Whether a request could never be filled. No lock.
bool large_live_is_hopeless(size_t bytes);

// NULL, or which count is not that of the blocks. Quiet only.
const char *large_live_check(void);

#endif
