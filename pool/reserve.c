// pool/reserve.c - see reserve.h. The size stands in the 16 bytes before a block.
#include "reserve.h"

#include <stdatomic.h>

#include "config.h"
#include "os_linux.h"

static const size_t region_bytes = (size_t)16 << 20; // some thousand blocked requests of usual sizes

static _Atomic(char *) region;
static _Atomic size_t used;

static char *region_get(void)
{
    char *start = atomic_load_explicit(&region, memory_order_acquire), *nothing = NULL;
    if (start != NULL)
        return start;
    start = os_map(region_bytes, 4096);
    if (start == NULL)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&region, &nothing, start, memory_order_acq_rel, memory_order_acquire)) {
        os_name(start, region_bytes, "tarn reserve");
        return start;
    }
    os_unmap(start, region_bytes);
    return nothing;
}

void *reserve_alloc(size_t alignment, size_t size_bytes)
{
    char *start = region_get();
    if (start == NULL || size_bytes > region_bytes || alignment > 4096)
        return NULL;
    size_t room = size_max(alignment, GRANULE_BYTES);
    size_t bytes = align_up(size_bytes, GRANULE_BYTES) + 2 * room;
    size_t at = atomic_fetch_add_explicit(&used, bytes, memory_order_relaxed);
    if (at > region_bytes - bytes)
        return NULL;
    char *block = (char *)align_up((uintptr_t)start + at + GRANULE_BYTES, room);
    *(size_t *)(block - GRANULE_BYTES) = align_up(size_bytes, GRANULE_BYTES);
    return block;
}

bool reserve_has(const void *address)
{
    char *start = atomic_load_explicit(&region, memory_order_acquire);
    return start != NULL && (uintptr_t)address - (uintptr_t)start < region_bytes;
}

size_t reserve_usable(const void *block)
{
    return *(const size_t *)((const char *)block - GRANULE_BYTES);
}

void reserve_bounds(char **start, char **end)
{
    *start = atomic_load_explicit(&region, memory_order_acquire);
    *end = *start == NULL ? NULL : *start + region_bytes;
}
