// pool/misuse.h - what a caller did wrong, the hook that is told of it, and how much is done to see it.
#ifndef TARN_MISUSE_H
#define TARN_MISUSE_H

#include "bits.h"

// What harden=0..3 says (pool/README.md, section 13). [const] after the start.
POOL_LOCAL extern unsigned harden_level;

// For the short ways of hardened calls: out of the way of those of level 0, and yet compiled for speed, which the compiler
// does not think worth the while behind a test that is unlikely.
#define HARDENED __attribute__((hot, noinline))

// `what` is a short fixed text ("double free", "not the start of a block", ...).
typedef struct pool_misuse {
    const char *function; // "free", "realloc", "malloc_usable_size", ...
    const void *address;
    const char *what;
    size_t block_bytes; // usable size of the block the address belongs to; 0 if it belongs to none
    const size_t *told_bytes; // what the caller said that it is; NULL: nothing
} pool_misuse_t;

// Preload's; weak as those of pool.h. When it returns, the call has had no effect and the heap is whole.
RARE __attribute__((weak)) void pool_hook_misuse(const pool_misuse_t *misuse);

static inline void misuse_tell(const char *function, const void *address, const char *what, size_t block_bytes)
{
    pool_misuse_t misuse = {function, address, what, block_bytes, NULL};
    if (pool_hook_misuse)
        pool_hook_misuse(&misuse);
}

static inline void misuse_tell_size(const char *function, const void *address, size_t block_bytes, size_t told_bytes)
{
    pool_misuse_t misuse = {function, address, "not the size of the block", block_bytes, &told_bytes};
    if (pool_hook_misuse)
        pool_hook_misuse(&misuse);
}

#endif
