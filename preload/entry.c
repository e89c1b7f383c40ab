// preload/entry.c - malloc's names over the pool. Only here and in cxx.c and stats_api.c are such names defined.
//
// What the standard leaves open is as in the GNU C library: realloc(block, 0) frees, memalign rounds an alignment up to
// a power of two, cfree is free. Every failure sets errno; free keeps it (the pool does not touch it).
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "../pool/pool.h"
#include "ending.h"
#include "export.h"
#include "foreign.h"

#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold))

static void *or_enomem(void *block)
{
    if (unlikely(block == NULL))
        errno = ENOMEM;
    return block;
}

// --- the fast paths ------------------------------------------------------------------------------------------------

static NOINLINE void *malloc_slow(size_t size_bytes)
{
    return or_enomem(pool_malloc_slow(size_bytes));
}

static HARDENED void *malloc_hardened(size_t size_bytes, heap_t *heap)
{
    return pool_hardened_or(size_bytes, heap, malloc_slow);
}

static NOINLINE void *malloc_refill(size_t size_bytes, heap_t *heap)
{
    if (unlikely(pool_draws()))
        return malloc_hardened(size_bytes, heap);
    void *block = refill_quick(size_bytes, heap);
    return likely(block != NULL) ? block : malloc_slow(size_bytes);
}

static NOINLINE void *malloc_large(size_t size_bytes)
{
    void *block = pool_alloc_large_quick(size_bytes);
    return likely(block != NULL) ? block : malloc_slow(size_bytes);
}

static NOINLINE void *malloc_beyond(size_t size_bytes)
{
    return pool_alloc_beyond_or(size_bytes, malloc_slow, malloc_large);
}

EXPORT void *malloc(size_t size_bytes)
{
    return heap_alloc_small_or(size_bytes, malloc_refill, malloc_beyond);
}

EXPORT void free(void *block)
{
    pool_free(block);
}

// --- the rest of the standard --------------------------------------------------------------------------------------

static NOINLINE void *calloc_slow(size_t size_bytes)
{
    return or_enomem(pool_calloc(size_bytes));
}

static COLD void *calloc_overflows(void)
{
    return or_enomem(NULL);
}

EXPORT void *calloc(size_t count, size_t size_bytes)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size_bytes, &bytes)))
        return calloc_overflows();
    if (unlikely(ending_registers != 0)) {
        void *note = ending_note(bytes);
        if (note != NULL)
            return note;
    }
    void *block = pool_calloc_quick(bytes);
    return likely(block != NULL) ? block : calloc_slow(bytes);
}

static COLD void *realloc_failed(void *block, size_t size_bytes)
{
    if (foreign_was(block))
        return foreign_realloc(block, size_bytes);
    return or_enomem(NULL);
}

static NOINLINE void *realloc_slow(void *block, size_t size_bytes)
{
    if (block == NULL)
        return malloc(size_bytes);
    if (unlikely(size_bytes == 0)) {
        pool_free(block);
        return NULL;
    }
    void *resized = pool_realloc_slow(block, size_bytes);
    return likely(resized != NULL) ? resized : realloc_failed(block, size_bytes);
}

EXPORT void *realloc(void *block, size_t size_bytes)
{
    return likely(pool_realloc_stays(block, size_bytes)) ? block : realloc_slow(block, size_bytes);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size_bytes)
{
    size_t bytes;
    if (unlikely(__builtin_mul_overflow(count, size_bytes, &bytes))) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, bytes);
}

EXPORT void free_sized(void *block, size_t size_bytes)
{
    if (unlikely(harden_level != 0))
        pool_told("free_sized", block, GRANULE_BYTES, size_bytes, true);
    pool_free(block);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size_bytes)
{
    if (unlikely(harden_level != 0))
        pool_told("free_aligned_sized", block, alignment, size_bytes, true);
    pool_free(block);
}

// --- alignment -----------------------------------------------------------------------------------------------------

static NOINLINE void *memalign_slow(size_t alignment, size_t size_bytes)
{
    const size_t largest = SIZE_MAX / 2 + 1;
    if (alignment > largest) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment > 1 && !is_power_of_two(alignment))
        alignment = (size_t)1 << (bits_highest(alignment) + 1);
    return or_enomem(pool_aligned_alloc(size_max(alignment, GRANULE_BYTES), size_bytes));
}

static inline void *aligned(size_t alignment, size_t size_bytes)
{
    void *block = is_power_of_two(alignment) ? pool_aligned_quick(alignment, size_bytes) : NULL;
    return likely(block != NULL) ? block : memalign_slow(alignment, size_bytes);
}

EXPORT void *memalign(size_t alignment, size_t size_bytes)
{
    return aligned(alignment, size_bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size_bytes)
{
    return aligned(alignment, size_bytes);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t size_bytes)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    void *block = pool_aligned_quick(alignment, size_bytes);
    if (unlikely(block == NULL && (block = pool_aligned_alloc(alignment, size_bytes)) == NULL))
        return ENOMEM;
    *result = block;
    return 0;
}

EXPORT void *valloc(size_t size_bytes)
{
    return memalign((size_t)getpagesize(), size_bytes);
}

// Whole OS pages.
EXPORT void *pvalloc(size_t size_bytes)
{
    size_t page = (size_t)getpagesize();
    if (size_bytes > PTRDIFF_MAX - page)
        return or_enomem(NULL);
    return memalign(page, align_up(size_bytes, page));
}

// --- extensions ------------------------------------------------------------------------------------------------------

static COLD size_t usable_size_failed(void *block)
{
    return foreign_was(block) ? foreign_usable_size(block) : 0;
}

EXPORT size_t malloc_usable_size(void *block)
{
    size_t bytes = pool_usable_size(block);
    return likely(bytes != 0) ? bytes : usable_size_failed(block);
}

EXPORT void cfree(void *block)
{
    pool_free(block);
}
