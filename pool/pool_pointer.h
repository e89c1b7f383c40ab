// pool/pool_pointer.h - what a pointer is that the program gave: a live block, or which mistake. The pool is only looked at.
//
// Mistakes come as the words that are told (misuse.h): "double free", "not the start of a block", ... A pointer that is none of
// the pool's is known by its address alone. Any thread; large blocks are looked at under LOCK_LARGE, pages under none.
#ifndef TARN_POOL_POINTER_H
#define TARN_POOL_POINTER_H

#include "pool.h"

// What a pointer is that lies in a page, no mosaic; NULL if it may be a live block of it (*index).
const char *pool_pointer_wrong(page_t *page, const void *address, unsigned *index);
// Usable bytes of a live block; 0 and a report if it is none. *page: the page it is in, NULL for a large block.
size_t pool_pointer_usable(const char *function, void *block, page_t **page);
// Usable bytes of each block of a page. 0: blocks of several sizes, or none.
size_t pool_pointer_block_bytes(page_t *page);
// Reports the mistake, with what is known of the trap.
RARE void pool_pointer_tell_trap(const char *function, const void *address, const char *wrong);

// Whether a small block, `offset` bytes into its page, is not carved, or the last one that its owner freed. That one may be changing
// both, but neither for a live block: see pool_pointer_wrong.
static inline GLANCES bool pool_pointer_looks_freed(const page_t *page, const void *block, size_t offset)
{
    return !(page->carved >> (offset >> CARVE_SHIFT) & 1) || page->list == block;
}

// Usable bytes of a small block that looks live: the common case of pool_pointer_usable. 0: that has to be asked. For realloc,
// too, which frees the block: so its carve step is looked at, since what went back with its step must not come onto a list.
static inline size_t pool_pointer_glance(const void *block, page_t **page)
{
    if (!pool_small_page(block, page) || !pool_seems_live(*page, block) ||
        pool_pointer_looks_freed(*page, block, (size_t)((const char *)block - (*page)->start)))
        return 0;
    return (size_t)(*page)->class << GRANULE_SHIFT;
}

#endif
