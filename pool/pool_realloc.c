// pool/pool_realloc.c - realloc: where the block is, or grown where it is, or moved. See pool.h.
//
//   small, medium  stays while half of it is used; longer than that it moves, into the large range if it grows
//   large          is resized without a copy where that can be (large.h)
//   trap           moves always: its end is where its slot ends
#include "pool.h"

#include <string.h>

#include "budget.h"
#include "pool_pointer.h"
#include "pool_trim.h"
#include "trap.h"

static void *move_into(void *moved, void *block, size_t old_bytes, size_t size_bytes)
{
    memcpy(moved, block, size_min(old_bytes, size_bytes));
    pool_free(block);
    return moved;
}

static void *move(void *block, size_t old_bytes, size_t size_bytes)
{
    void *moved = pool_malloc(size_bytes);
    if (moved == NULL)
        return size_bytes <= old_bytes ? block : NULL; // a shrink never fails
    return move_into(moved, block, old_bytes, size_bytes);
}

// A block that grows is likely to grow again: as a large one it does so where it is, and leaves nothing behind.
static void *move_to_large(void *block, size_t old_bytes, size_t size_bytes)
{
    void *moved = large_alloc_growing(size_bytes);
    if (moved == NULL)
        return NULL;
    if (unlikely(heap_sample_bytes != 0) && heap_self != &heap_none)
        heap_sample_large(heap_self, moved, size_bytes);
    return move_into(moved, block, old_bytes, size_bytes);
}

static void *resize_large(void *block, size_t old_bytes, size_t size_bytes)
{
    if (likely(heap_sample_bytes == 0))
        return large_resize(block, size_bytes);
    uint32_t sample = heap_sample_hold(block);
    void *resized = large_resize(block, size_bytes);
    if (resized != NULL)
        heap_sample_resized(heap_self, sample, block, old_bytes, resized, size_bytes);
    else if (sample != 0)
        heap_sample_unhold(sample, block);
    return resized;
}

// Under a limit a block may fit in grown where it is, and not beside what it was: what is kept goes first.
static RARE void *resize_at_limit(void *block, size_t old_bytes, size_t size_bytes)
{
    if (size_bytes <= old_bytes || !budget_would_refuse(size_bytes - old_bytes))
        return NULL;
    pool_trim_all(heap_self == &heap_none ? NULL : heap_self);
    return resize_large(block, old_bytes, size_bytes);
}

// Between guards there is no room to grow.
static void *resize_large_or_move(void *block, size_t old_bytes, size_t size_bytes)
{
    if (trap_has(block))
        return NULL;
    void *resized = resize_large(block, old_bytes, size_bytes);
    bool guarded = resized == NULL && harden_level >= HARDEN_HOLDS;
    return unlikely(guarded) ? move_to_large(block, old_bytes, size_bytes) : resized;
}

void *pool_realloc_slow(void *block, size_t size_bytes)
{
    if (block == NULL)
        return pool_malloc(size_bytes);
    page_t *page;
    size_t old_bytes = pool_pointer_glance(block, &page);
    if (unlikely(old_bytes == 0))
        old_bytes = pool_pointer_usable("realloc", block, &page);
    if (old_bytes == 0 || size_bytes > PTRDIFF_MAX)
        return NULL;
    if (trap_has(block) && size_bytes == old_bytes)
        return block; // any other size moves, so that its end is where its slot ends
    if (page != NULL && pool_fits_in_place(old_bytes, size_bytes)) {
        if (unlikely(heap_requested_exact))
            requested_note(heap_self, page->class, block, size_bytes);
        return block;
    }
    void *resized = NULL;
    if (page == NULL && size_bytes > size_min(zone_max_bytes(), large_growing_least() / 2))
        resized = resize_large_or_move(block, old_bytes, size_bytes);
    else if (page != NULL && size_bytes > old_bytes && size_bytes >= large_growing_least())
        resized = move_to_large(block, old_bytes, size_bytes);
    if (unlikely(resized == NULL && page == NULL) && !trap_has(block))
        resized = resize_at_limit(block, old_bytes, size_bytes);
    return resized != NULL ? resized : move(block, old_bytes, size_bytes);
}
