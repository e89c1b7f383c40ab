// pool/large.h - large blocks: mapped alone, in OS pages, their sizes out of band.
//
//   get:   the best fitting cached extent, else a clean one, else fresh addresses, else a mapping of its own (direct)
//   grow:  in the extent's spare grains, else into free addresses behind, else by moving page table entries (mremap)
//   free:  cached while the budget allows, oldest out first; else given back at once
//   warm:  of the cached ones the last, to 1 MiB: a request of the same size takes it without the lock
//
// The addresses are extent.h's. Of blocks that live tells large_live.h, of those that are kept large_cache.h, of mappings of their
// own large_direct.h; growing is in large_resize.c.
// Thread safe. What is not said to do without takes LOCK_LARGE. What is freed is given back without it; commits, what a block that shrinks
// gives back and mremap run under it.
#ifndef TARN_LARGE_H
#define TARN_LARGE_H

#include "large_live.h"

void large_start(void);
// NULL: no memory. *clean: the block reads as zero. alignment: a power of two.
void *large_alloc(size_t alignment, size_t size_bytes, bool *clean);
// For a block that grows: with addresses behind it, so that it can go on growing where it is.
void *large_alloc_growing(size_t size_bytes);
// From this size on a block that grows is to be large; SIZE_MAX: there are no addresses for that.
size_t large_growing_least(void);

// Whether the address lies in the range of large blocks. Any thread, no lock.
bool large_in_range(const void *block);
large_result_t large_free(void *block);

// The block that was freed last stands ready for a request of just its size, without the lock and the tables: a program
// that takes and frees one buffer again and again meets nothing else. Blocks to large_warm_most are kept so; 0: none.
POOL_LOCAL extern size_t large_warm_most;
void *large_alloc_warm(size_t size_bytes); // NULL: large_alloc serves the request
bool large_free_warm(void *block);         // false: nothing was done
large_result_t large_usable(const void *block, size_t *bytes);
// The same without the lock, for a block that the caller holds; 0 if it is none or a direct mapping.
size_t large_usable_unlocked(const void *block);
// Makes the block size_bytes long, where it is or (without copying) elsewhere. NULL: neither is possible, the block is
// as it was. The block must be live.
void *large_resize(void *block, size_t size_bytes);
// Gives cached extents back, oldest first, until `bytes` are purged or none is left. Returns the bytes.
size_t large_purge(size_t bytes);
// When memory is refused: free addresses are reserved only, so that others can have their memory. Returns the bytes.
RARE size_t large_withdraw(void);

// Of all live blocks. Exact with LOCK_LARGE, which it does not take.
large_counts_t large_counts(void);

#endif
