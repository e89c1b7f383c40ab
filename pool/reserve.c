// pool/reserve.c - see reserve.h. Before each block stand its size and a mark that only a live block has.
#include "reserve.h"

#include <stdatomic.h>
#include <string.h>

#include "config.h"
#include "os_linux.h"

static const size_t region_bytes = (size_t)16 << 20; // some thousand blocked requests of usual sizes

typedef struct header {
    size_t size_bytes;
    uintptr_t mark; // the block's address and mark_bits; 0: freed
} header_t;

_Static_assert(sizeof(header_t) == GRANULE_BYTES, "blocks stay aligned");

static const uintptr_t mark_bits = (uintptr_t)0x5ca1ab1e << 16; // no address differs by that from another one's

// In one word: how many blocks are live, and how much of the region was handed out since there were none.
#define LIVE_ONE ((uint64_t)1 << 32)
#define USED_MASK (LIVE_ONE - 1)
static const uint64_t closed = USED_MASK; // while all is given back
static const unsigned closed_patience = 100; // of 10 ms. A fork's child may find it closed by a thread that it has not

static _Atomic(char *) region;
static _Atomic uint64_t state;

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

static uint32_t never_woken; // by a futex that stays 0

// Offset of so many bytes; region_bytes if there are none.
static size_t room_take(size_t bytes)
{
    uint64_t old = atomic_load_explicit(&state, memory_order_acquire);
    for (unsigned waits = 0;;) {
        if (old == closed && waits++ < closed_patience) {
            os_wait(&never_woken, 0);
            old = atomic_load_explicit(&state, memory_order_acquire);
        } else if ((old & USED_MASK) + bytes > region_bytes) {
            return region_bytes;
        } else if (atomic_compare_exchange_weak_explicit(&state, &old, old + LIVE_ONE + bytes, memory_order_acq_rel,
                                                         memory_order_acquire)) {
            return old & USED_MASK;
        }
    }
}

void *reserve_alloc(size_t alignment, size_t size_bytes)
{
    char *start = region_get();
    if (start == NULL || size_bytes > region_bytes || alignment > 4096)
        return NULL;
    size_t room = size_max(alignment, GRANULE_BYTES);
    size_t at = room_take(align_up(size_bytes, GRANULE_BYTES) + 2 * room);
    if (at == region_bytes)
        return NULL;
    char *block = (char *)align_up((uintptr_t)start + at + GRANULE_BYTES, room);
    header_t *header = (header_t *)block - 1;
    *header = (header_t){align_up(size_bytes, GRANULE_BYTES), (uintptr_t)block ^ mark_bits};
    return block;
}

// The last block has come back. Nobody takes room while it is closed.
static void region_renew(size_t used_bytes)
{
    char *start = atomic_load_explicit(&region, memory_order_acquire);
    if (!os_purge(start, region_bytes))
        memset(start, 0, used_bytes);
    atomic_store_explicit(&state, 0, memory_order_release);
}

static bool is_aligned(const void *block)
{
    return (uintptr_t)block % GRANULE_BYTES == 0 && (uintptr_t)block - (uintptr_t)region >= GRANULE_BYTES;
}

bool reserve_free(void *block)
{
    uintptr_t mark = (uintptr_t)block ^ mark_bits;
    if (!is_aligned(block) || !__atomic_compare_exchange_n(&((header_t *)block - 1)->mark, &mark, 0, false,
                                                           __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    uint64_t old = atomic_load_explicit(&state, memory_order_relaxed), new;
    do
        new = old >> 32 == 1 ? closed : old - LIVE_ONE;
    while (!atomic_compare_exchange_weak_explicit(&state, &old, new, memory_order_acq_rel, memory_order_relaxed));
    if (new == closed)
        region_renew(old & USED_MASK);
    return true;
}

bool reserve_has(const void *address)
{
    char *start = atomic_load_explicit(&region, memory_order_acquire);
    return start != NULL && (uintptr_t)address - (uintptr_t)start < region_bytes;
}

size_t reserve_usable(const void *block)
{
    const header_t *header = (const header_t *)block - 1;
    return is_aligned(block) && header->mark == ((uintptr_t)block ^ mark_bits) ? header->size_bytes : 0;
}

void reserve_bounds(char **start, char **end)
{
    *start = atomic_load_explicit(&region, memory_order_acquire);
    *end = *start == NULL ? NULL : *start + region_bytes;
}
