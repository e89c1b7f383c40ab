// pool/pool.h - the allocator's front: what preload/ and the tests call. Nothing here has malloc's name.
//
// The slow paths are in six files: pool_alloc, pool_free, pool_realloc, pool_trim, pool_thread and pool_fork, each .c; pool.c is
// the start, and what they ask of a pointer is in pool_pointer.c.
//
// The two hot functions are inline, so that malloc and free in preload/entry.c are one screen of code each. Everything
// else is a call into the slow paths. All functions are thread safe; none sets errno; all of them work from the first
// instruction of the process on (the pool starts itself on first use).
#ifndef TARN_POOL_H
#define TARN_POOL_H

#include <stdbool.h>

#include "large.h"
#include "misuse.h"
#include "refill.h"

// Settings, read once when the pool starts.
typedef struct pool_options {
    unsigned waste_percent; // free memory kept resident, in percent of live bytes, 0..1000; default 3
    bool requested_exact;   // note every request's size: exact requested_bytes, but no fast path
    size_t limit_bytes;     // of the heap's resident memory (budget_take); 0: none
    size_t sample_bytes;    // mean distance of the profile's samples (sample.h); 0: no profile
    uint64_t sample_seed;   // for tests
    unsigned harden;        // 0: no hardening; 1: block_bits.h; 2: harden.c; 3: trap.h
    unsigned trap_every;    // at level 3 one allocation in so many is a trap, on average; 0: none is
    huge_mode_t huge;       // huge.h
} pool_options_t;

// Hooks: functions that preload/ defines and the unit tests leave undefined (weak, so then they are not called).
// boot:    once, before the first allocation is served; may not allocate. It may change *options.
// thread:  a heap was given to the calling thread: ask for pool_thread_exit() at the thread's end. May allocate.
// limit:   a request is refused for the limit's sake, although all that was kept has been given back. Called without a
//          lock; may not allocate.
// misuse:  a caller's mistake (misuse.h).
// foreign: a pointer that lies in none of the pool's ranges came to `function`; false: it is nobody's, report misuse.
// known:   whether its address alone says that it is a foreign one that free may pass over. Each program with a report frees one
//          such, at its end, and should not need the code that looks at pointers closely.
__attribute__((weak)) void pool_hook_boot(pool_options_t *options);
__attribute__((weak)) void pool_hook_thread(void);
RARE __attribute__((weak)) void pool_hook_limit(size_t size_bytes);
RARE __attribute__((weak)) bool pool_hook_foreign(const char *function, void *address);
__attribute__((weak)) bool pool_hook_known(const void *address);

// Starts the pool if it has not been started. False if no address space could be had at all.
bool pool_start(void);
POOL_LOCAL extern _Atomic bool pool_started; // [atomic] whether it has been: set with release

// All allocation functions return NULL when there is no memory or the request is over PTRDIFF_MAX. Blocks are aligned
// to 16 bytes at least. A size of 0 is served as 1.
void *pool_malloc_slow(size_t size_bytes);
void *pool_malloc_refill(size_t size_bytes, heap_t *heap); // the same, for a head list of heap_self that has run out
void *pool_calloc(size_t size_bytes); // zeroed; the caller has multiplied, and checked the overflow
void *pool_aligned_alloc(size_t alignment, size_t size_bytes); // any power of two
void *pool_realloc_slow(void *block, size_t size_bytes);       // block may be NULL; size 0 is served as 1
void pool_free_slow(void *block);
// The same of the small zones of the start, with the page as zone_front_page has it: another thread's, in all likelihood.
void pool_free_others(void *block, page_t *page);
HARDENED void pool_free_hardened(page_t *page, void *block); // the same where pool_free_is_short
void pool_free_beyond(void *block, size_t offset); // the same, of no such zone; offset: from zone_front_base
void pool_delete_slow(void *block, size_t size_bytes, page_t *small); // small: as zone_front_page has it, or NULL
void pool_delete_beyond(void *block, size_t size_bytes, size_t offset);
// The block is about to be freed by one who says what it asked for: told if that cannot be. resizable: realloc may have left
// it where it was. harden_level is not 0.
RARE void pool_told(const char *function, void *block, size_t alignment, size_t size_bytes, bool resizable);
// The start of the small or medium block that an address lies in; other addresses come back as they are.
RARE const void *pool_block_start(const void *address);
size_t pool_usable_size(void *block); // constant for the block's life; 0 for NULL

// Gives the kernel every page that holds no live block, beyond keep_bytes. Returns true if anything was given back.
bool pool_trim(size_t keep_bytes);

// Before the program locks all its memory: what is not in use is given back and becomes reserved only, so that it is neither
// resident then nor counted.
RARE void pool_withdraw(void);
// Whether the memory that comes to be used from here on is locked, too.
RARE void pool_lock(bool locks);

// The calling thread's heap becomes an orphan, for the next thread to take over; the thread may still call the pool.
void pool_thread_exit(void);

// fork: prepare takes the locks, parent and child give them back; in the child the lost threads' heaps are lost (heap.h).
// A lock that the calling thread holds already (fork in a signal handler) is passed over.
void pool_fork_prepare(void);
void pool_fork_parent(void);
void pool_fork_child(void);

// Whether a large block may be a sample: there is a profile, or was. [atomic] relaxed: who needs it has set it.
POOL_LOCAL extern _Atomic bool pool_large_sampled;

// A request that is not small. The common case, a medium block of the current page that is resident, is short.
static inline void *pool_alloc_beyond_or(size_t size_bytes, void *(*slow)(size_t), void *(*large)(size_t))
{
    size_t last = size_bytes - 1; // size_class_medium, without its bounds: one test for all that is too large
    size_t high = bits_highest(last);
    size_t index = (last >> (high - MEDIUM_STEPS_SHIFT)) + high * MEDIUM_STEPS - (SMALL_MAX_SHIFT + 1) * MEDIUM_STEPS;
    if (unlikely(index >= MEDIUM_CLASSES))
        return large(size_bytes);
    heap_t *heap = heap_self;
    medium_bin_t *bin = &heap->medium[index];
    page_t *page = bin->current;
    if (unlikely(page == NULL))
        return slow(size_bytes);
    uint64_t dirty = page->dirty_bits;
    if (unlikely(dirty == 0 || --bin->due_in == 0))
        return slow(size_bytes);
    uint32_t block_bytes = bin->block_bytes; // and 32 bits hold a page's size
    uint64_t rest = dirty & (dirty - 1);
    void *block = page->start + bits_lowest(dirty) * block_bytes;
    page->dirty_bits = rest;
    heap->idle_bytes -= block_bytes;
    heap->last = (medium_last_t){.block = block, .page = page, .bit = dirty ^ rest, .block_bytes = block_bytes};
    return block;
}

// The same where there is a profile, and the block is no sample. NULL: any other.
void *pool_alloc_large_unsampled(size_t size_bytes);

// A request above the medium ones: the large block that was freed last, if it was of this size. NULL: any other.
static inline void *pool_alloc_large_quick(size_t size_bytes)
{
    return likely(!atomic_load_explicit(&pool_large_sampled, memory_order_relaxed)) ? large_alloc_warm(size_bytes)
                                                                                  : pool_alloc_large_unsampled(size_bytes);
}

// Level 1: no head list ever has a block, and a refill is a draw (block_bits.h). Above, more is done with each block. In a
// thread without a heap another may be at the start, which sets the level.
static inline bool pool_draws(void)
{
    return __atomic_load_n(&harden_level, __ATOMIC_RELAXED) == HARDEN_SHORT;
}

// Whether a page with this owner word is the calling thread's, and hardened, and frees there have a short way.
static inline bool pool_free_is_short(const heap_t *owner_word)
{
    return owner_word == (heap_t *)((uintptr_t)heap_self + __atomic_load_n(&harden_quick_mark, __ATOMIC_RELAXED));
}

// A small request of level 1.
static inline void *pool_hardened_or(size_t size_bytes, heap_t *heap, void *(*slow)(size_t))
{
    small_draw_t *draw = &heap->draw[size_class_small(size_bytes + HARDEN_TAIL_BYTES)];
    uint32_t run = draw->run;
    if (unlikely(run <= 1)) // as it always is in a thread without a heap
        return heap_harden_draw_or(size_bytes, heap, slow);
    draw->run = run - 1;
    void *block = heap_harden_draw(draw, true);
    harden_canary_write(block, draw->block_bytes);
    return block;
}

// Up to here a block is cleared in place: a call of the C library's memset, which wider stores make faster from here
// on, costs some twenty instructions (bench/instructions, column calloc_128).
#define POOL_CLEAR_MOST_BYTES ((size_t)256)

typedef long long granule_t __attribute__((vector_size(16), may_alias));
_Static_assert(sizeof(granule_t) == GRANULE_BYTES, "one store a granule");

// Clears a whole block of at least one granule. The last granules may be stored to twice.
static inline void pool_clear_small(void *block, size_t granules)
{
    granule_t *at = block, *last = at + granules - 1;
    if (granules < 4) {
        at[0] = at[granules / 2] = *last = (granule_t){0};
        return;
    }
    at[0] = at[1] = at[2] = at[3] = (granule_t){0};
    last[-3] = last[-2] = last[-1] = *last = (granule_t){0};
    for (at += 4; unlikely(at < last - 3); at += 4)
        at[0] = at[1] = at[2] = at[3] = (granule_t){0};
}

// A short block for calloc from its head list. NULL: any other request.
static inline void *pool_calloc_quick(size_t size_bytes)
{
    if (unlikely(size_bytes > POOL_CLEAR_MOST_BYTES))
        return NULL;
    size_t class = size_class_small(size_bytes); // of which a block has as many granules
    block_t **head = &heap_self->head[class], *block = *head;
    if (unlikely(block == NULL))
        return NULL;
    *head = block->next;
    pool_clear_small(block, class);
    return block;
}

static inline void *pool_malloc(size_t size_bytes)
{
    return heap_alloc_small_or(size_bytes, pool_malloc_refill, pool_malloc_slow);
}

// An aligned request that a head list serves: blocks of the small classes are 16 bytes apart in size and stand at
// multiples of it, so the size rounded up to the alignment is itself a class. NULL: any other.
static inline void *pool_aligned_quick(size_t alignment, size_t size_bytes)
{
    if (unlikely(alignment > SMALL_MAX_BYTES || size_bytes - 1 >= SMALL_MAX_BYTES))
        return NULL;
    size_t bytes = align_up(size_bytes, size_max(alignment, GRANULE_BYTES));
    if (unlikely(bytes > SMALL_MAX_BYTES))
        return NULL;
    block_t **head = &heap_self->head[bytes >> GRANULE_SHIFT];
    block_t *block = *head;
    if (likely(block != NULL))
        *head = block->next;
    return block;
}

// A block stays while it is at least half used. In one comparison: where size_bytes is larger, the difference wraps.
static inline bool pool_fits_in_place(size_t old_bytes, size_t size_bytes)
{
    return old_bytes - size_bytes <= (old_bytes + 1) / 2;
}

// The page of small blocks that an address lies in, as zone_front_page has it. False: it is in none of the small zones of the
// start.
static inline bool pool_small_page(const void *address, page_t **page)
{
    size_t offset = (uintptr_t)address - zone_front_base;
    if (unlikely(offset >= zone_front_limit))
        return false;
    *page = zone_front_page(offset);
    return true;
}

// What realloc needs to see at a glance of a block of class `page->class`. False: it is to be looked at closely. The list may be
// changing, but a live block is not on it.
static inline GLANCES bool pool_seems_live(page_t *page, const void *block)
{
    if (unlikely(page_owner(page) == NULL || page->list == block))
        return false;
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((const char *)block - page->start);
    return size_class_index_exact(class, offset) < class->block_count && likely(!heap_one_by_one);
}

// A resize that changes nothing: the common case of a small block. False: any other, or something is wrong.
static inline bool pool_realloc_stays(void *block, size_t size_bytes)
{
    page_t *page;
    return likely(pool_small_page(block, &page)) &&
           likely(pool_fits_in_place((size_t)page->class << GRANULE_SHIFT, size_bytes)) && pool_seems_live(page, block);
}

static inline void *pool_realloc(void *block, size_t size_bytes)
{
    return likely(pool_realloc_stays(block, size_bytes)) ? block : pool_realloc_slow(block, size_bytes);
}

// Of the small zones of the start, and not for the fast path.
static inline __attribute__((always_inline)) void pool_free_found(void *block, heap_found_t found)
{
    if (unlikely(pool_free_is_short(found.owner_word)))
        pool_free_hardened(found.page, block);
    else
        pool_free_others(block, found.page);
}

static inline void pool_free(void *block)
{
    heap_free_local_or(block, pool_free_found, pool_free_beyond);
}

// C++'s sized delete. What is said of the size is compared where blocks are hardened (pool_told), and not trusted: since
// such frees leave the fast path, it costs others nothing.
static inline void pool_delete(void *block, size_t size_bytes)
{
    heap_found_t found;
    heap_free_way_t way = heap_free_local(block, &found);
    if (unlikely(way == HEAP_FREE_BEYOND))
        return pool_delete_beyond(block, size_bytes, found.offset);
    if (unlikely(way == HEAP_FREE_SLOW))
        pool_delete_slow(block, size_bytes, found.page);
}

#endif
