// pool/meta.h - memory for the pool's own tables: handed out once, never given back. The caller's lock guards an arena.
#ifndef TARN_META_H
#define TARN_META_H

#include "bits.h"

// Each chunk is twice as large as the one before, so this many last for any address space.
#define META_CHUNKS_MAX 24

typedef struct meta_arena {
    char *next, *end;
    unsigned chunks;
    struct {
        char *start;
        size_t bytes;
    } chunk[META_CHUNKS_MAX];
} meta_arena_t;

// Zeroed memory, aligned to a power of two of at most an OS page. NULL: none to be had.
void *meta_alloc(meta_arena_t *arena, size_t bytes, size_t alignment);

#endif
