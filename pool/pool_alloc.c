// pool/pool_alloc.c - see pool_alloc.h.
#include "pool_alloc.h"

#include <string.h>

#include "budget.h"
#include "os_linux.h"
#include "pool_thread.h"
#include "pool_trim.h"
#include "reserve.h"
#include "trap.h"

static block_t *alloc_medium(heap_t *heap, unsigned class, size_t alignment, size_t size_bytes, bool *clean)
{
    class = heap_medium_class(heap, class, alignment);
    bool due = heap_medium_due(heap, class);
    block_t *block = heap_alloc_medium(heap, class, clean);
    if (block == NULL || likely(!due))
        return block;
    uint64_t number = heap_medium_handed(&heap->medium[class - CLASS_FIRST_MEDIUM]);
    if (heap_medium_is_noted(number))
        requested_note(heap, class, block, size_bytes);
    if (number == heap->gaps.medium_at[class - CLASS_FIRST_MEDIUM])
        heap_sample_medium(heap, class);
    heap_medium_arm(heap, class);
    return block;
}

static block_t *alloc_small(heap_t *heap, unsigned class, size_t size_bytes)
{
    block_t *block = heap->head[class];
    if (block != NULL) { // an aligned request, or one of 0 bytes
        heap->head[class] = block->next;
        return block;
    }
    if (unlikely(harden_level != 0) && (block = heap_harden_draw_any(heap, class)) != NULL) // an aligned one, mostly
        return block;
    bool due = requested_refill_due(heap, class);
    if (likely(!heap_one_by_one))
        block = heap_refill(heap, class);
    else
        block = harden_level != 0 ? heap_harden_take(heap, class) : heap_take_one(heap, class);
    if (due && block != NULL)
        requested_note(heap, class, block, size_bytes);
    return block;
}

static void *alloc_class(heap_t *heap, unsigned class, size_t alignment, size_t size_bytes, bool *clean)
{
    *clean = false;
    heap_enter(heap);
    block_t *block = class >= CLASS_FIRST_MEDIUM ? alloc_medium(heap, class, alignment, size_bytes, clean)
                                                 : alloc_small(heap, class, size_bytes);
    heap_leave(heap);
    if (unlikely(harden_level != 0) && block != NULL)
        heap_harden_born(block, size_class_table[class].block_bytes, *clean);
    if (unlikely(heap->gaps.due_bytes != 0))
        heap_sample_block(heap, class, block, size_bytes);
    return block;
}

static void *alloc_large(heap_t *heap, size_t alignment, size_t size_bytes, bool *clean)
{
    void *block = alignment == GRANULE_BYTES ? large_alloc_warm(size_bytes) : NULL;
    *clean = false;
    if (block == NULL) {
        if (heap != NULL && unlikely(heap_inbox_has(heap)))
            heap_inbox_drain_excess(heap);
        block = large_alloc(alignment, size_bytes, clean);
    }
    if (*clean && unlikely(budget_has_risen()))
        heap_purge_stale();
    if (unlikely(heap_sample_bytes != 0) && block != NULL && heap != NULL)
        heap_sample_large(heap, block, size_bytes);
    return block;
}

void *pool_alloc_large_unsampled(size_t size_bytes)
{
    heap_t *heap = heap_self;
    size_t bytes = align_up(size_bytes, os_page_bytes());
    if (unlikely(bytes > heap->gaps.large_bytes || heap_sample_bytes == 0)) // a thread without a heap has no gap either
        return NULL;
    void *block = large_alloc_warm(size_bytes);
    if (likely(block != NULL))
        heap->gaps.large_bytes -= bytes;
    return block;
}

static void *alloc_tier(size_t alignment, size_t size_bytes, unsigned class, bool *clean)
{
    heap_t *heap = pool_thread_heap();
    *clean = false;
    if (class == 0)
        return alloc_large(heap, alignment, size_bytes, clean);
    void *block = heap == NULL ? NULL : alloc_class(heap, class, alignment, size_bytes, clean);
    return block != NULL ? block : alloc_large(heap, alignment, size_bytes, clean);
}

// When memory is refused, everything kept is given back first and the request is tried once more; when it was a lock
// that could not be had, the reserve serves it.
static void *alloc_or_retry(size_t alignment, size_t size_bytes, unsigned class, bool *clean)
{
    lock_fork_hangs(); // forget what an earlier call met
    void *block = alloc_tier(alignment, size_bytes, class, clean);
    if (unlikely(block == NULL) && size_bytes <= PTRDIFF_MAX) {
        bool hangs = lock_fork_hangs();
        heap_t *heap = heap_self == &heap_none ? NULL : heap_self;
        if (!hangs && pool_trim_all(heap))
            block = alloc_tier(alignment, size_bytes, class, clean);
        if (block == NULL && !hangs && size_bytes <= os_memory_bytes()) { // more than the machine has cannot be had so
            pool_trim_withdraw(heap);
            if (heap != NULL && class != 0)
                heap_class_relist(heap, class);
            block = alloc_tier(alignment, size_bytes, class, clean);
        }
        if (block == NULL && (hangs || lock_fork_hangs()))
            block = reserve_alloc(alignment, size_bytes);
        if (block == NULL && !hangs && budget_would_refuse(size_bytes) && pool_hook_limit)
            pool_hook_limit(size_bytes);
    }
    pool_thread_unborrow();
    return block;
}

static unsigned class_for(size_t size_bytes)
{
    return size_bytes <= zone_max_bytes() - harden_tail_bytes ? size_class_of(size_bytes + harden_tail_bytes) : 0;
}

// pool_alloc_beyond_or has left the request to the slow path, and counted it: in the class of its size without the canary,
// which may be another than it gets. Hardened, each block is due (heap_medium_is_slow).
static void medium_uncount(heap_t *heap, size_t size_bytes)
{
    if (size_bytes - SMALL_MAX_BYTES - 1 >= MEDIUM_MAX_BYTES - SMALL_MAX_BYTES)
        return;
    medium_bin_t *bin = &heap->medium[size_class_medium(size_bytes) - CLASS_FIRST_MEDIUM];
    if (bin->due_at != 0)
        bin->due_in = 1;
}

static __attribute__((noinline)) void *alloc_slow(size_t size_bytes)
{
    bool clean;
    heap_t *heap = heap_self;
    if (unlikely(heap == &heap_none && !pool_start()))
        return NULL;
    unsigned class = class_for(size_bytes);
    if (likely(heap != &heap_none && class != 0)) {
        void *block = alloc_class(heap, class, GRANULE_BYTES, size_bytes, &clean);
        if (likely(block != NULL))
            return block;
    } else if (likely(heap != &heap_none)) {
        void *block = alloc_large(heap, GRANULE_BYTES, size_bytes, &clean);
        if (likely(block != NULL))
            return block;
    }
    return alloc_or_retry(GRANULE_BYTES, size_bytes, class, &clean);
}

// The common case of a medium hardened request: the current page has a block that may be resident, and its size is not
// noted. As heap_alloc_medium. Since each is due, due_at is its number. NULL: any other.
static inline block_t *alloc_hardened_medium(heap_t *heap, size_t size_bytes)
{
    size_t index = size_class_medium(size_bytes + HARDEN_TAIL_BYTES) - CLASS_FIRST_MEDIUM;
    medium_bin_t *bin = &heap->medium[index];
    page_t *page = bin->current;
    if (page == NULL || page->dirty_bits == 0 || bin->due_in != 1 || heap_medium_is_noted(bin->due_at) ||
        bin->due_at == heap->gaps.medium_at[index])
        return NULL;
    void *block = page->start + bits_lowest(page->dirty_bits) * bin->block_bytes;
    page->dirty_bits &= page->dirty_bits - 1;
    heap->idle_bytes -= bin->block_bytes;
    bin->due_at++;
    heap_harden_born(block, bin->block_bytes, false);
    return block;
}

// Level 1 has its own short way (pool_hardened_or), and comes here with what that leaves, for which there is no run.
static inline block_t *draw_held(heap_t *heap, size_t class)
{
    small_draw_t *draw = &heap->draw[class];
    if (unlikely(harden_level < HARDEN_HOLDS || draw->run <= 1))
        return heap_harden_draw_any(heap, class);
    draw->run--;
    return heap_harden_draw(draw, false);
}

// The common case of a hardened request is short: the current page has the block, and it is not to be looked at.
static HARDENED void *alloc_hardened_quick(size_t size_bytes)
{
    heap_t *heap = heap_self;
    if (unlikely(size_bytes > SMALL_MAX_BYTES - HARDEN_TAIL_BYTES)) {
        medium_uncount(heap, size_bytes);
        bool is_medium = size_bytes <= MEDIUM_MAX_BYTES - HARDEN_TAIL_BYTES;
        void *medium = likely(is_medium) ? alloc_hardened_medium(heap, size_bytes) : NULL;
        return likely(medium != NULL) ? medium : alloc_slow(size_bytes);
    }
    size_t class = size_class_small(size_bytes + HARDEN_TAIL_BYTES);
    void *block = draw_held(heap, class);
    if (unlikely(block == NULL))
        return alloc_slow(size_bytes);
    heap_harden_born(block, heap->draw[class].block_bytes, false);
    return block;
}

// Level 3: whether this request is the one that is to be a trap, and no other comes in between.
static inline bool trap_is_due(heap_t *heap)
{
    return unlikely(harden_level >= HARDEN_TRAPS) && heap->trap_in != 0 && unlikely(--heap->trap_in == 0);
}

// NULL: it cannot be one.
static RARE void *alloc_trap(heap_t *heap, size_t alignment, size_t size_bytes)
{
    heap->trap_in = trap_gap(block_bits_random(&heap->harden_random));
    return trap_alloc(alignment, size_bytes);
}

static RARE void *alloc_trap_or_hardened(heap_t *heap, size_t size_bytes)
{
    void *block = alloc_trap(heap, GRANULE_BYTES, size_bytes);
    if (block == NULL)
        return alloc_hardened_quick(size_bytes);
    medium_uncount(heap, size_bytes);
    return block;
}

void *pool_malloc_slow(size_t size_bytes)
{
    heap_t *heap = heap_self;
    // In a thread without a heap another may be at the start, which sets the level.
    if (likely(__atomic_load_n(&harden_level, __ATOMIC_RELAXED) == 0) || unlikely(heap == &heap_none))
        return alloc_slow(size_bytes);
    return trap_is_due(heap) ? alloc_trap_or_hardened(heap, size_bytes) : alloc_hardened_quick(size_bytes);
}

static HARDENED void *malloc_hardened(size_t size_bytes, heap_t *heap)
{
    return pool_hardened_or(size_bytes, heap, pool_malloc_slow);
}

void *pool_malloc_refill(size_t size_bytes, heap_t *heap)
{
    if (unlikely(pool_draws()))
        return malloc_hardened(size_bytes, heap);
    void *block = refill_quick(size_bytes, heap);
    return likely(block != NULL) ? block : pool_malloc_slow(size_bytes);
}

void *pool_calloc(size_t size_bytes)
{
    bool clean = false;
    void *block;
    if (size_bytes <= SMALL_MAX_BYTES)
        block = pool_malloc(size_bytes);
    else if (!pool_start())
        return NULL;
    else if (!trap_is_due(heap_self) || (block = alloc_trap(heap_self, GRANULE_BYTES, size_bytes)) == NULL)
        block = alloc_or_retry(GRANULE_BYTES, size_bytes, class_for(size_bytes), &clean);
    return block == NULL || clean ? block : memset(block, 0, size_bytes);
}

unsigned pool_alloc_class(size_t alignment, size_t size_bytes)
{
    unsigned class = class_for(size_bytes);
    if (class == 0 || alignment <= GRANULE_BYTES)
        return class;
    class = size_class_aligned(alignment, size_bytes + harden_tail_bytes);
    return class == 0 || size_class_table[class].block_bytes > zone_max_bytes() ? 0 : class;
}

void *pool_aligned_alloc(size_t alignment, size_t size_bytes)
{
    bool clean;
    if (alignment <= GRANULE_BYTES)
        return pool_malloc(size_bytes);
    if (!pool_start())
        return NULL;
    unsigned class = pool_alloc_class(alignment, size_bytes);
    heap_t *heap = heap_self;
    if (trap_is_due(heap)) {
        void *block = alloc_trap(heap, alignment, size_bytes);
        if (block != NULL)
            return block;
    }
    if (likely(class != 0 && heap != &heap_none)) {
        void *block = alloc_class(heap, class, alignment, size_bytes, &clean);
        if (likely(block != NULL))
            return block;
    }
    return alloc_or_retry(alignment, size_bytes, class, &clean);
}
