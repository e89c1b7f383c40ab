// pool/pool.c - the front's slow paths: which tier serves a request, and what is wrong with a pointer.
#include "pool.h"

#include <string.h>

#include "budget.h"
#include "large.h"
#include "mosaic.h"
#include "os_linux.h"
#include "requested.h"
#include "reserve.h"
#include "sample.h"
#include "trap.h"
#include "zone_guard.h"
#include "zone_leave.h"
#include "zone_purge.h"
#include "zone_withdraw.h"

// A thread that allocates after its heap has been given up this often is at its very end (the C library calls
// destructors in four rounds): it borrows a heap for each call.
static const unsigned last_rounds = 3;

static lock_t start_lock = {.rank = LOCK_HEAPS};
static _Atomic bool started;
static pool_options_t options = {.waste_percent = BUDGET_WASTE_PERCENT, .trap_every = TRAP_EVERY};
_Atomic bool pool_large_slowly;
static __thread unsigned char ended_count __attribute__((tls_model("initial-exec")));

// --- start -----------------------------------------------------------------------------------------------------------

static bool start_locked(void)
{
    os_start();
    size_class_start();
    static bool booted; // once, also when there were no addresses and the start is tried again
    if (pool_hook_boot && !booted)
        pool_hook_boot(&options);
    booted = true;
    budget_start(options.waste_percent);
    budget_limit_start(options.limit_bytes != 0 ? options.limit_bytes : SIZE_MAX);
    huge_start(options.harden >= HARDEN_GUARDS ? HUGE_OFF : options.huge); // guards lie in every region
    requested_start(options.requested_exact);
    if (options.sample_bytes != 0) { // else its code is not needed, and not resident
        sample_start(options.sample_bytes, options.sample_seed);
        atomic_store_explicit(&pool_large_slowly, true, memory_order_relaxed);
    }
    block_bits_start(options.harden);
    heap_one_by_one |= options.harden != 0;
    if (!zone_start())
        return false;
    if (options.harden != 0)
        block_bits_tables_start();
    large_start();
    if (options.harden >= HARDEN_TRAPS && options.trap_every != 0)
        trap_start(options.trap_every);
    atomic_store_explicit(&started, true, memory_order_release);
    return true;
}

bool pool_start(void)
{
    if (likely(atomic_load_explicit(&started, memory_order_acquire)))
        return true;
    if (!lock_take(&start_lock))
        return false;
    bool done = atomic_load_explicit(&started, memory_order_relaxed) || start_locked();
    lock_give(&start_lock);
    return done;
}

// The calling thread's heap, begun if need be; NULL: no memory, or the thread is at its end.
static heap_t *heap_get(void)
{
    if (likely(heap_self != &heap_none))
        return heap_self;
    if (!pool_start())
        return NULL;
    heap_t *heap = heap_begin();
    if (heap != NULL && ended_count < last_rounds && pool_hook_thread)
        pool_hook_thread(); // may allocate: the heap is in place
    return heap;
}

static void heap_unborrow(void)
{
    if (unlikely(ended_count >= last_rounds) && heap_self != &heap_none)
        heap_end();
}

void pool_thread_exit(void)
{
    if (unlikely(pool_is_aside))
        return aside_thread_exit();
    if (heap_self == &heap_none)
        return;
    heap_end();
    ended_count++;
}

// --- allocation ------------------------------------------------------------------------------------------------------

static block_t *alloc_medium(heap_t *heap, unsigned class, size_t size_bytes, bool *clean)
{
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
    if (unlikely(harden_level != 0) && (block = heap_harden_draw_again(heap, class)) != NULL) // an aligned one, mostly
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

static void *alloc_class(heap_t *heap, unsigned class, size_t size_bytes, bool *clean)
{
    *clean = false;
    block_t *block = class >= CLASS_FIRST_MEDIUM ? alloc_medium(heap, class, size_bytes, clean)
                                                 : alloc_small(heap, class, size_bytes);
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
    if (block == NULL)
        block = large_alloc(alignment, size_bytes, clean);
    if (unlikely(heap_sample_bytes != 0) && block != NULL && heap != NULL)
        heap_sample_large(heap, block, size_bytes);
    return block;
}

// When memory is refused, everything kept is given back first and the request is tried once more; when it was a lock
// that could not be had, the reserve serves it.
static bool give_back_all(heap_t *heap)
{
    size_t given = heap == NULL ? 0 : heap_purge_idle(heap, SIZE_MAX);
    given += heap_orphans_purge();
    given += zone_purge(SIZE_MAX);
    return (given += large_purge(SIZE_MAX)) != 0;
}

// What was given back may still be held against the process (zone_withdraw.h says how); it goes, too, and with it the pages that
// blocks are taken from now.
static void withdraw_all(heap_t *heap)
{
    if (heap != NULL)
        heap_flush(heap);
    give_back_all(heap);
    if (!heap_one_by_one) // the tables of exact sizes and of bits are made for the zones that there are
        zone_leave_empty();
    if (os_commit_counts()) { // else it would cost mappings for nothing
        zone_withdraw();
        large_withdraw();
    }
}

static void *alloc_tier(size_t alignment, size_t size_bytes, unsigned class, bool *clean)
{
    heap_t *heap = heap_get();
    *clean = false;
    if (class == 0)
        return alloc_large(heap, alignment, size_bytes, clean);
    void *block = heap == NULL ? NULL : alloc_class(heap, class, size_bytes, clean);
    return block != NULL ? block : alloc_large(heap, alignment, size_bytes, clean);
}

static void *alloc_or_retry(size_t alignment, size_t size_bytes, unsigned class, bool *clean)
{
    lock_fork_hangs(); // forget what an earlier call met
    void *block = alloc_tier(alignment, size_bytes, class, clean);
    if (unlikely(block == NULL) && size_bytes <= PTRDIFF_MAX) {
        bool hangs = lock_fork_hangs();
        heap_t *heap = heap_self == &heap_none ? NULL : heap_self;
        if (!hangs && give_back_all(heap))
            block = alloc_tier(alignment, size_bytes, class, clean);
        if (block == NULL && !hangs && size_bytes <= os_memory_bytes()) { // more than the machine has cannot be had so
            withdraw_all(heap);
            if (heap != NULL && class != 0)
                heap_class_relist(heap, class);
            block = alloc_tier(alignment, size_bytes, class, clean);
        }
        if (block == NULL && (hangs || lock_fork_hangs()))
            block = reserve_alloc(alignment, size_bytes);
        if (block == NULL && !hangs && budget_would_refuse(size_bytes) && pool_hook_limit)
            pool_hook_limit(size_bytes);
    }
    heap_unborrow();
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
        void *block = alloc_class(heap, class, size_bytes, &clean);
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
    void *block = page_block(page, bits_lowest(page->dirty_bits));
    page->dirty_bits &= page->dirty_bits - 1;
    heap->idle_bytes -= bin->block_bytes;
    bin->due_at++;
    heap_harden_born(block, bin->block_bytes, false);
    return block;
}

// The common case of a hardened request is short: the current page has the block, and it is not to be looked at.
static HARDENED void *alloc_hardened_quick(size_t size_bytes)
{
    heap_t *heap = heap_self;
    uint64_t rest;
    if (unlikely(size_bytes > SMALL_MAX_BYTES - HARDEN_TAIL_BYTES)) {
        medium_uncount(heap, size_bytes);
        bool is_medium = size_bytes <= MEDIUM_MAX_BYTES - HARDEN_TAIL_BYTES;
        void *medium = likely(is_medium) ? alloc_hardened_medium(heap, size_bytes) : NULL;
        return likely(medium != NULL) ? medium : alloc_slow(size_bytes);
    }
    size_t class = size_class_small(size_bytes + HARDEN_TAIL_BYTES);
    void *block = heap_harden_draw(heap, class, &rest);
    if (likely(block != NULL))
        block = heap_harden_drawn(heap, class, block, rest);
    else if ((block = heap_harden_draw_again(heap, class)) == NULL)
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
    if (unlikely(pool_is_aside))
        return aside_malloc(size_bytes);
    heap_t *heap = heap_self;
    // In a thread without a heap another may be at the start, which sets the level.
    if (likely(__atomic_load_n(&harden_level, __ATOMIC_RELAXED) == 0) || unlikely(heap == &heap_none))
        return alloc_slow(size_bytes);
    return trap_is_due(heap) ? alloc_trap_or_hardened(heap, size_bytes) : alloc_hardened_quick(size_bytes);
}

void *pool_refill_noted(size_t size_bytes, void *block)
{
    requested_note(heap_self, (unsigned)size_class_small(size_bytes), block, size_bytes);
    return block;
}

static HARDENED void *malloc_hardened(size_t size_bytes, heap_t *heap)
{
    return pool_hardened_or(size_bytes, heap, pool_malloc_slow);
}

void *pool_malloc_refill(size_t size_bytes, heap_t *heap)
{
    if (unlikely(pool_draws()))
        return malloc_hardened(size_bytes, heap);
    void *block = pool_refill_quick(size_bytes, heap);
    return likely(block != NULL) ? block : pool_malloc_slow(size_bytes);
}

void *pool_calloc(size_t size_bytes)
{
    if (unlikely(pool_is_aside))
        return aside_calloc(size_bytes);
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

static unsigned class_for_aligned(size_t alignment, size_t size_bytes)
{
    unsigned class = class_for(size_bytes);
    if (class == 0 || alignment <= GRANULE_BYTES)
        return class;
    class = size_class_aligned(alignment, size_bytes + harden_tail_bytes);
    return class == 0 || size_class_table[class].block_bytes > zone_max_bytes() ? 0 : class;
}

void *pool_aligned_alloc(size_t alignment, size_t size_bytes)
{
    if (unlikely(pool_is_aside))
        return aside_aligned_alloc(alignment, size_bytes);
    bool clean;
    if (alignment <= GRANULE_BYTES)
        return pool_malloc(size_bytes);
    if (!pool_start())
        return NULL;
    unsigned class = class_for_aligned(alignment, size_bytes);
    heap_t *heap = heap_self;
    if (trap_is_due(heap)) {
        void *block = alloc_trap(heap, alignment, size_bytes);
        if (block != NULL)
            return block;
    }
    if (likely(class != 0 && heap != &heap_none)) {
        void *block = alloc_class(heap, class, size_bytes, &clean);
        if (likely(block != NULL))
            return block;
    }
    return alloc_or_retry(alignment, size_bytes, class, &clean);
}

// --- pointers --------------------------------------------------------------------------------------------------------

// Of a medium page: what is freed, and held back.
static uint64_t held_bits(const page_t *page)
{
    return likely(harden_level == 0) ? 0 : atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
}

// What a pointer is that lies in a page; NULL if it may be a live block of it (*index).
static const char *page_pointer_wrong(page_t *page, const void *address, unsigned *index)
{
    if (page->class == 0)
        return "not from this heap";
    if (page_owner(page) == NULL) {
        const char *wrong = "double free, or never allocated";
        if (page_is_mosaic(page))
            mosaic_block_bytes(page, address, &wrong);
        return wrong;
    }
    bool exact;
    *index = page_block_index(page, address, &exact);
    if (!exact)
        return "not the start of a block";
    if (!page_is_small(page))
        return (page_free_bits(page) | atomic_load_explicit(&page->remote, memory_order_relaxed) | held_bits(page)) >> *index & 1
                   ? "double free"
                   : NULL;
    bool carved = page->carved >> ((const char *)address - page->start) / CARVE_BYTES & 1;
    if (!carved)
        return "double free, or never allocated";
    if (unlikely(harden_level != 0))
        return block_bits_is_freed(page, *index) ? "double free" : NULL;
    return page->list == address ? "double free" : NULL;
}

const void *pool_block_start(const void *address)
{
    bool exact;
    page_t *page = zone_page_of(address);
    if (page == NULL || page->class == 0 || page_is_mosaic(page))
        return address;
    return page_block(page, page_block_index(page, address, &exact));
}

// 0: blocks of several sizes, or none.
static size_t page_block_bytes(page_t *page)
{
    return page->class == 0 || page_is_mosaic(page) ? 0 : page_class(page)->block_bytes - harden_tail_bytes;
}

static void free_in_mosaic(page_t *page, void *block)
{
    bool emptied;
    const char *wrong = mosaic_free(page, block, &emptied);
    if (wrong != NULL)
        misuse_tell("free", block, wrong, 0);
    if (emptied && heap_self != &heap_none)
        heap_purge_excess(heap_self);
}

static void free_medium(heap_t *heap, page_t *page, unsigned index, void *block)
{
    if (!heap_free_medium_of(heap, page, index))
        misuse_tell("free", block, "double free", page_block_bytes(page));
}

// False: another thread has just freed it, or this one has gathered it already.
static bool free_small(heap_t *heap, page_t *page, unsigned index, void *block)
{
    if (unlikely(harden_level != 0))
        return heap_harden_free(heap, page, index);
    if (page_owner(page) != heap)
        return heap_free_remote(heap, page, block);
    heap_free_small(page, block);
    return true;
}

static void free_in_page(page_t *page, void *block)
{
    unsigned index;
    const char *wrong = page_is_mosaic(page) ? NULL : page_pointer_wrong(page, block, &index); // mosaic_free looks itself
    if (wrong != NULL) {
        misuse_tell("free", block, wrong, page_block_bytes(page));
        return;
    }
    if (unlikely(harden_level != 0))
        heap_harden_dies(page, block);
    if (unlikely(page_is_marked(page)))
        heap_sample_dies(block);
    if (page_is_mosaic(page)) {
        free_in_mosaic(page, block);
        return;
    }
    heap_t *heap = heap_self;
    if (heap == &heap_none && ended_count == 0 && (heap = heap_get()) == NULL)
        heap = &heap_none; // a thread that only frees gathers what it frees, too
    if (unlikely(harden_level >= HARDEN_HOLDS)) {
        if (!heap_harden_hold(heap, page, index))
            misuse_tell("free", block, "double free", page_block_bytes(page));
    } else if (!page_is_small(page))
        free_medium(heap, page, index, block);
    else if (!free_small(heap, page, index, block))
        misuse_tell("free", block, "double free", page_block_bytes(page));
}

static const char *large_wrong(large_result_t result)
{
    return result == LARGE_INTERIOR ? "not the start of a block" : "double free, or never allocated";
}

static RARE void tell_trap(const char *function, const void *address, const char *wrong)
{
    trap_report_t report;
    misuse_tell(function, address, wrong, trap_explain(address, &report) ? report.size_bytes : 0);
}

static RARE void free_trap(void *block)
{
    const char *wrong = trap_free(block);
    if (wrong != NULL)
        tell_trap("free", block, wrong);
}

static void free_large(void *block)
{
    if (trap_has(block)) {
        free_trap(block);
        return;
    }
    if (reserve_has(block)) {
        if (!reserve_free(block))
            misuse_tell("free", block, "double free, or never allocated", 0);
        return;
    }
    if (unlikely(heap_sample_bytes != 0))
        heap_sample_dies(block);
    large_result_t result = large_free(block);
    if (result == LARGE_DONE || result == LARGE_BUSY)
        return;
    if (result == LARGE_FOREIGN && pool_hook_foreign && pool_hook_foreign("free", block))
        return;
    misuse_tell("free", block, result == LARGE_FOREIGN ? "not from this heap" : large_wrong(result), 0);
}

// Whether a small block is not carved, or the last one that its owner freed.
static inline bool looks_freed(const page_t *page, const void *block, size_t offset)
{
    return !(page->carved >> (offset >> CARVE_SHIFT) & 1) || page->list == block;
}

// A free of another thread's small block that only gathers it: the common case of those. False: any other.
static inline bool free_remote_quick(page_t *page, void *block)
{
    heap_t *heap = heap_self, *owner = page_owner(page);
    if (unlikely(owner == NULL || owner == heap))
        return false;
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((char *)block - page->start);
    if (unlikely(size_class_index_exact(class, offset) >= class->block_count))
        return false;
    return !looks_freed(page, block, offset) && heap_ring_add(heap, page, block);
}

// A small block of a marked page. Where the page holds a sample, most are another block: as the fast path would have done
// it, then.
static bool free_marked_quick(page_t *page, void *block)
{
    if (sample_find(block) != 0)
        return false;
    if (harden_level != 0)
        return harden_level < HARDEN_HOLDS && heap_harden_is_own(page_owner_word(page)) &&
               heap_harden_free_own(page, block, block_bits_free(page));
    if (page_owner(page) != heap_self)
        return free_remote_quick(page, block);
    if (page->list == block)
        return false;
    heap_sample_unmark_stale(page);
    heap_free_small(page, block);
    return true;
}

static inline bool free_small_quick(page_t *page, void *block)
{
    return unlikely(page_is_marked(page)) ? free_marked_quick(page, block) : free_remote_quick(page, block);
}

static __attribute__((noinline)) void free_general(page_t *page, void *block)
{
    if (block == NULL)
        return;
    if (page == NULL && !large_in_range(block))
        page = zone_page_of_later(block);
    if (page != NULL)
        free_in_page(page, block);
    else
        free_large(block);
}

void pool_free_slow(void *block)
{
    if (unlikely(pool_is_aside))
        return aside_free(block);
    page_t *page = zone_page_of_first(block);
    bool done = page != NULL && page_is_small(page) && free_small_quick(page, block);
    if (unlikely(!done))
        free_general(page, block);
}

HARDENED void pool_free_hardened(void *block, page_t *page)
{
    if (unlikely(!heap_harden_free_own(page, block, block_bits_free_low(page))))
        pool_free_slow(block);
}

static HARDENED void free_hardened_medium(void *block)
{
    page_t *page = zone_page_of_first(block);
    if (unlikely(page == NULL || !heap_harden_is_own(page_owner_word(page)) || page_is_small(page) ||
                 !heap_free_medium_own(heap_self, block, page, true)))
        pool_free_slow(block);
}

// In another zone than the first.
static HARDENED void free_hardened_beyond(void *block)
{
    size_t offset = (uintptr_t)block - zone_high_base;
    if (unlikely(offset >= zone_high_limit))
        return free_hardened_medium(block);
    page_t *page = &zone_high_pages[offset >> HIGH_PAGE_SHIFT];
    if (unlikely(!heap_harden_is_own(page_owner_word(page)) ||
                 !heap_harden_free_own(page, block, block_bits_free_high(page))))
        pool_free_slow(block);
}

// A program that allocates nothing frees what is not the pool's, at its end: for that it need not have the code below resident.
static __attribute__((noinline)) void free_unusual(void *block)
{
    if (unlikely(!atomic_load_explicit(&started, memory_order_relaxed)) &&
        (block == NULL || (pool_hook_foreign && pool_hook_foreign("free", block))))
        return;
    pool_free_slow(block);
}

// No block of a page. The profile looks each block up. A call of its own, so that the frees in pages need no stack.
static __attribute__((noinline)) void free_beyond_zones(void *block)
{
    if (unlikely(atomic_load_explicit(&pool_large_slowly, memory_order_relaxed) || !large_free_warm(block)))
        free_unusual(block);
}

// The zones of the start are of one size and stand side by side: each in turn takes its share off the offset. BEYOND: it lies
// in none.
static inline __attribute__((always_inline)) heap_free_way_t free_beyond(void *block, size_t offset)
{
    const size_t zone_bytes = zone_first_bytes, descriptor = ~(sizeof(page_t) - 1);
    size_t place; // offset / page * sizeof(page_t), in one shift and one mask
    page_t *pages;
    if ((offset -= zone_bytes) < zone_high_limit)
        return heap_free_high(block, offset) ? HEAP_FREED : HEAP_FREE_SLOW;
    heap_t *heap = heap_self;
    if (heap_free_medium_last(heap, block))
        return HEAP_FREED;
    if (block == NULL) // as often as not in C programs, and else the longest way of all
        return HEAP_FREED;
    if ((offset -= zone_bytes) < zone_medium_limit[0])
        pages = zone_medium_pages[0], place = offset >> (MEDIUM_1_PAGE_SHIFT - PAGE_SHIFT) & descriptor;
    else if ((offset -= zone_bytes) < zone_medium_limit[1])
        pages = zone_medium_pages[1], place = offset >> (MEDIUM_2_PAGE_SHIFT - PAGE_SHIFT) & descriptor;
    else if ((offset -= zone_bytes) < zone_medium_limit[2])
        pages = zone_medium_pages[2], place = offset >> (MEDIUM_3_PAGE_SHIFT - PAGE_SHIFT) & descriptor;
    else
        return HEAP_FREE_BEYOND;
    return heap_free_medium_quick(heap, block, (page_t *)((char *)pages + place)) ? HEAP_FREED : HEAP_FREE_SLOW;
}

void pool_free_beyond(void *block, size_t offset)
{
    heap_free_way_t way = free_beyond(block, offset);
    if (unlikely(way == HEAP_FREE_BEYOND))
        return free_beyond_zones(block);
    if (unlikely(way == HEAP_FREE_SLOW)) {
        if (unlikely(pool_frees_are_short()))
            free_hardened_beyond(block);
        else
            pool_free_slow(block);
    }
}

__attribute__((noinline)) void pool_delete_slow(void *block, size_t size_bytes)
{
    if (unlikely(pool_is_aside))
        return aside_delete(block, size_bytes);
    if (unlikely(harden_level != 0))
        pool_told("operator delete", block, GRANULE_BYTES, size_bytes, false);
    pool_free_slow(block);
}

__attribute__((noinline)) void pool_delete_beyond(void *block, size_t size_bytes, size_t offset)
{
    heap_free_way_t way = free_beyond(block, offset); // hardened, it is FREED for NULL alone
    bool ready = way == HEAP_FREE_BEYOND && harden_level == 0 &&
                 !atomic_load_explicit(&pool_large_slowly, memory_order_relaxed) && large_free_warm(block);
    if (unlikely(way != HEAP_FREED && !ready))
        pool_delete_slow(block, size_bytes);
}

// Level 1: usable bytes of a live small block of the calling thread's. 0: it may be any other.
static HARDENED size_t usable_own(const void *block, page_t **page_out)
{
    page_t *page = *page_out = zone_page_of_first(block);
    if (unlikely(page == NULL || !heap_harden_is_own(page_owner_word(page)) || !page_is_small(page)))
        return 0;
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((const char *)block - page->start);
    unsigned index = size_class_index_exact(class, offset);
    if (unlikely(index >= class->block_count || !(page->carved >> (offset >> CARVE_SHIFT) & 1) ||
                 block_bits_is_freed(page, index)))
        return 0;
    return class->block_bytes - HARDEN_TAIL_BYTES;
}

// Usable bytes of a live block; 0 and a report if it is none. *page: the page it is in, NULL for a large block.
static size_t usable(const char *function, void *block, page_t **page)
{
    unsigned index;
    size_t own_bytes = unlikely(pool_draws()) ? usable_own(block, page) : 0;
    if (own_bytes != 0)
        return own_bytes;
    *page = zone_page_of(block);
    if (*page != NULL) {
        const char *wrong = NULL;
        size_t block_bytes = page_is_mosaic(*page) ? mosaic_block_bytes(*page, block, &wrong) : 0;
        if (block_bytes == 0 && wrong == NULL) {
            block_bytes = page_class(*page)->block_bytes - harden_tail_bytes; // of before, if it is becoming a mosaic
            wrong = page_pointer_wrong(*page, block, &index);
        }
        if (wrong == NULL)
            return block_bytes;
        misuse_tell(function, block, wrong[0] == 'd' ? "not a live block" : wrong, page_block_bytes(*page));
        return 0;
    }
    size_t bytes = 0;
    if (trap_has(block)) {
        const char *wrong;
        bytes = trap_usable(block, &wrong);
        if (wrong != NULL)
            tell_trap(function, block, wrong[0] == 'd' ? "not a live block" : wrong);
        return bytes;
    }
    if (reserve_has(block)) {
        bytes = reserve_usable(block);
        if (bytes == 0)
            misuse_tell(function, block, "not a live block", 0);
        return bytes;
    }
    large_result_t result = large_usable(block, &bytes);
    if (result == LARGE_BUSY) // a fork does not finish; a live block's node changes at its holder's hands only
        return large_usable_unlocked(block);
    if (result == LARGE_DONE || (result == LARGE_FOREIGN && pool_hook_foreign && pool_hook_foreign(function, block)))
        return bytes;
    const char *wrong = result == LARGE_INTERIOR ? "not the start of a block" : "not a live block";
    misuse_tell(function, block, result == LARGE_FOREIGN ? "not from this heap" : wrong, 0);
    return 0;
}

size_t pool_usable_size(void *block)
{
    if (unlikely(pool_is_aside))
        return aside_usable_size(block);
    page_t *page;
    return block == NULL ? 0 : usable("malloc_usable_size", block, &page);
}

// --- what a free is told of the size -----------------------------------------------------------------------------------

// Of a block that is live as far as can be seen; 0: it is not, and its free tells.
static size_t usable_quietly(void *block, page_t **page)
{
    unsigned index;
    size_t bytes = 0;
    const char *wrong;
    *page = zone_page_of(block);
    if (*page != NULL)
        return page_is_mosaic(*page) || page_pointer_wrong(*page, block, &index) != NULL ? 0 : page_block_bytes(*page);
    if (trap_has(block))
        return trap_usable(block, &wrong);
    return !reserve_has(block) && large_usable(block, &bytes) == LARGE_DONE ? bytes : 0;
}

void pool_told(const char *function, void *block, size_t alignment, size_t size_bytes, bool resizable)
{
    if (unlikely(pool_is_aside))
        return aside_told(function, block, alignment, size_bytes, resizable);
    page_t *page;
    size_t bytes = block == NULL ? 0 : usable_quietly(block, &page);
    if (bytes == 0 || (resizable && pool_fits_in_place(bytes, size_bytes)))
        return;
    bool right;
    if (page != NULL)
        right = page->class == class_for_aligned(alignment, size_bytes);
    else if (trap_has(block))
        right = bytes == size_max(size_bytes, 1);
    else
        right = size_bytes <= bytes && bytes - size_bytes < os_page_bytes();
    if (!right)
        misuse_tell_size(function, block, bytes, size_bytes);
}

// --- realloc ---------------------------------------------------------------------------------------------------------

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
    give_back_all(heap_self == &heap_none ? NULL : heap_self);
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

// As usable(), which has to be asked where this does not know. The block is about to be freed, so its carve step is looked
// at, too: what went back with its step must not come onto a list.
static inline size_t usable_at_a_glance(void *block, page_t **page)
{
    size_t offset;
    *page = pool_small_page(block, &offset);
    if (*page == NULL || !pool_seems_live(*page, block, offset) ||
        looks_freed(*page, block, offset & (page_class(*page)->page_bytes - 1)))
        return 0;
    return (size_t)(*page)->class << GRANULE_SHIFT;
}

void *pool_realloc_slow(void *block, size_t size_bytes)
{
    if (unlikely(pool_is_aside))
        return aside_realloc(block, size_bytes);
    if (block == NULL)
        return pool_malloc(size_bytes);
    page_t *page;
    size_t old_bytes = usable_at_a_glance(block, &page);
    if (unlikely(old_bytes == 0))
        old_bytes = usable("realloc", block, &page);
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

// --- the rest --------------------------------------------------------------------------------------------------------

bool pool_trim(size_t keep_bytes)
{
    if (unlikely(pool_is_aside))
        return aside_trim(keep_bytes);
    size_t kept, given = 0;
    if (heap_self != &heap_none) {
        heap_flush(heap_self);
        given = heap_purge_idle(heap_self, SIZE_MAX);
    }
    given += heap_orphans_purge();
    while ((kept = budget_retained()) > keep_bytes) {
        size_t purged = zone_purge(kept - keep_bytes);
        purged += large_purge(kept - keep_bytes);
        if (purged == 0)
            break;
        given += purged;
    }
    return given != 0;
}

void pool_withdraw(void)
{
    if (!pool_start()) // what is reserved afterwards is locked, and counted whole
        return;
    pool_trim(0);
    zone_withdraw();
    large_withdraw();
}

void pool_lock(bool locks)
{
    os_lock(locks);
}

// --- fork ------------------------------------------------------------------------------------------------------------

static lock_t *const fork_locks[] = {&heap_lock, &mosaic_lock, &zone_lock, &extent_lock};

// What each fork that this thread is in has taken: a digit a fork, the innermost lowest, with a bit a lock and one for the
// fork itself. There are several where a signal handler forks in the midst of fork, at most one a signal.
static __thread uint64_t fork_taken __attribute__((tls_model("initial-exec")));

static const unsigned fork_digit = LOCK_RANKS + 1;

// A fork copies page tables: 21 to 33 ms for 512 MiB were measured on a busy machine, 0.1 to 2 ms for small processes.
static uint64_t fork_patience_ms(void)
{
    const unsigned bytes_a_ms_shift = 22; // 1 ms for 4 MiB: four times that
    return 20 + (budget_used() >> bytes_a_ms_shift);
}

static void fork_locks_give(void)
{
    for (unsigned i = LOCK_RANKS; i-- > 0;)
        if (fork_taken >> i & 1) {
            fork_taken ^= (uint64_t)1 << i;
            lock_fork_give(fork_locks[i]);
        }
}

// All that the thread does not hold already: it does in a signal handler that interrupted the pool, or fork. False: one
// could not be had in time. Its holder may be another fork that waits for what the interrupted call holds.
static bool fork_locks_take(void)
{
    for (unsigned i = 0; i < LOCK_RANKS; i++) {
        if (lock_is_mine(fork_locks[i]))
            continue;
        if (!lock_fork_take(fork_locks[i]))
            return false;
        fork_taken |= (uint64_t)1 << i;
    }
    return true;
}

void pool_fork_prepare(void)
{
    aside_hold();
    lock_fork_begin(fork_patience_ms());
    fork_taken = fork_taken << fork_digit | 1u << LOCK_RANKS;
    while (!fork_locks_take()) {
        fork_locks_give();
        os_yield();
    }
}

void pool_fork_parent(void)
{
    fork_locks_give();
    fork_taken >>= fork_digit;
    lock_fork_end();
    aside_release();
}

void pool_fork_child(void)
{
    unsigned outer = 0;
    for (unsigned i = 0; i < LOCK_RANKS; i++)
        lock_fork_child(fork_locks[i]);
    heap_fork_child();
    if (heap_sample_bytes != 0 || atomic_load_explicit(&sample_table_count, memory_order_relaxed) != 0)
        sample_fork_child();
    fork_taken >>= fork_digit;
    for (uint64_t rest = fork_taken; rest != 0; rest >>= fork_digit)
        outer++;
    lock_fork_child_end(outer);
    os_lock(false); // a child inherits no lock on memory
    aside_release();
}
