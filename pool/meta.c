// pool/meta.c - see meta.h.
#include "meta.h"

#include "os_linux.h"

static const size_t first_chunk_bytes = (size_t)64 << 10; // three heaps

static bool chunk_add(meta_arena_t *arena, size_t bytes)
{
    if (arena->chunks == META_CHUNKS_MAX)
        return false;
    size_t chunk_bytes = align_up(size_max(first_chunk_bytes << arena->chunks, bytes), os_page_bytes());
    char *start = os_map(chunk_bytes, os_page_bytes());
    if (start == NULL) {
        chunk_bytes = align_up(bytes, os_page_bytes());
        start = os_map(chunk_bytes, os_page_bytes());
    }
    if (start == NULL)
        return false;
    os_name(start, chunk_bytes, "tarn metadata");
    arena->chunk[arena->chunks].start = start;
    arena->chunk[arena->chunks].bytes = chunk_bytes;
    __atomic_store_n(&arena->chunks, arena->chunks + 1, __ATOMIC_RELEASE);
    arena->next = start;
    arena->end = start + chunk_bytes;
    return true;
}

void *meta_alloc(meta_arena_t *arena, size_t bytes, size_t alignment)
{
    char *start = (char *)align_up((uintptr_t)arena->next, alignment);
    if (arena->next == NULL || start + bytes > arena->end) {
        if (!chunk_add(arena, bytes))
            return NULL;
        start = arena->next;
    }
    arena->next = start + bytes;
    return start;
}
