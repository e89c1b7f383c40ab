// pool/extent.h - the large range: address-ordered extents of 64 KiB grains. Everything is [LOCK_LARGE].
//
//   | live | free | live | cached | live | ... | top -> never used        the extents tile the range, no gap
//
// A table with a word a grain leads from an extent's first and last grain to its node, so that neighbours are found
// and joined in constant time. Free extents are clean (not resident), and no two of them touch. Best fit by bins of
// grains, exact below 64 grains, 8 a doubling above (the two-level scheme of TLSF, Masmano et al. 2004).
#ifndef TARN_EXTENT_H
#define TARN_EXTENT_H

#include "config.h"
#include "lock.h"

typedef uint32_t extent_id_t; // 0: none

typedef enum extent_state {
    EXTENT_FREE,   // clean, in a bin
    EXTENT_LIVE,   // the program's
    EXTENT_CACHED, // freed, resident, kept for the next request
    EXTENT_WARM,   // the same, and it is the last one: see large.h. Becomes so, and LIVE again, without the lock
    EXTENT_BUSY,   // between states: one thread works on its memory without the lock
    EXTENT_LOST    // another mapping took the addresses; or a node without an extent
} extent_state_t;

typedef struct extent {
    char *start;
    uint32_t grains; // direct: OS pages reserved before the block (large_direct.h)
    _Atomic uint8_t state; // [atomic] extent_state_t. LIVE to WARM and back without the lock, by compare-and-swap
    bool moved;   // a mapping of its own, after mremap: cannot merge with its neighbours until refreshed
    bool huge;    // all of it asks for huge pages (large_huge.h): apart from its neighbours, too, until refreshed
    bool stained; // the kernel refused to take back what is behind used_bytes: no clean tail can be cut off
    bool withdrawn; // free: some of it, or all, is reserved only, see extent_withdraw
    bool mixed;     // free: some of it is, and some is not
    bool direct;  // mapped alone, outside the range: bytes mapped = used_bytes
    size_t used_bytes;      // live: usable size, whole OS pages; cached: what may be resident of it
    size_t requested_bytes; // live: what the program asked for
    extent_id_t next, prev; // in a bin, in the cache, or in the list of direct ones
} extent_t;

extern lock_t extent_lock;

// Reserves the range and its table. False: there is none, and extent_get always fails.
bool extent_start(void);
bool extent_has_range(void);
// An extent of at least `grains`, in state BUSY, all of it clean, aligned to a power of two. 0: none.
extent_id_t extent_get(size_t grains, size_t alignment);
// The same, but it lies to the multiples of `alignment` as the address does. NULL: as before.
extent_id_t extent_get_alike(size_t grains, size_t alignment, const void *address);
// Joins a clean extent with its free neighbours, in state FREE.
void extent_put(extent_id_t id);
// Cuts what is behind `grains` off as a free extent. The tail must be clean.
void extent_cut(extent_id_t id, size_t grains);
// Grows into the free extent or the unused range behind it. False: not possible.
bool extent_grow(extent_id_t id, size_t grains);
// When memory is refused: what is free is reserved only, so that others can have it. Returns the bytes.
RARE size_t extent_withdraw(void);
// The extent whose first grain the address lies in, 0 if none starts there.
extent_id_t extent_at(const void *address);
// The extent that the address lies in, whatever its grain; slow. 0: outside.
extent_id_t extent_around(const void *address);
bool extent_in_range(const void *address);

// Fresh memory in place of what is there, as if it had never been used: clean, without advice, and one mapping with its neighbours.
// No lock is needed, but it must be the caller's alone. False: the kernel refuses.
bool extent_refresh(char *start, size_t grains);

// Two extents have exchanged their addresses: the table follows.
void extent_swap_table(extent_id_t a, extent_id_t b);

static inline void extent_state_set(extent_t *extent, extent_state_t state)
{
    atomic_store_explicit(&extent->state, (uint8_t)state, memory_order_relaxed);
}

extent_t *extent_node(extent_id_t id);
extent_id_t extent_node_new(void); // state LOST; 0: no memory
void extent_node_drop(extent_id_t id);

// The tiling in order of address: first extent, and the one behind. 0 at the end.
extent_id_t extent_first(void);
extent_id_t extent_behind(extent_id_t id);
// Range of addresses ever used, and the table's.
void extent_bounds(char **start, char **end);
void extent_table_bounds(char **start, char **end);
void extent_node_bounds(char **start, char **end);

// NULL, or what is wrong with the tiling. Quiet only.
const char *extent_check(void);

#endif
