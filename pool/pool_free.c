// pool/pool_free.c - frees that leave the fast path; and what they are told of the size. See pool.h.
//
// From the slowest way, which says what is wrong, to the quickest: each looks whether it can serve, and leaves the rest to the
// one above.
#include "pool.h"

#include "mosaic.h"
#include "os_linux.h"
#include "pool_alloc.h"
#include "pool_pointer.h"
#include "pool_thread.h"
#include "reserve.h"
#include "sample.h"
#include "trap.h"

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
        misuse_tell("free", block, "double free", pool_pointer_block_bytes(page));
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
    const char *wrong = page_is_mosaic(page) ? NULL : pool_pointer_wrong(page, block, &index); // mosaic_free looks itself
    if (wrong != NULL) {
        misuse_tell("free", block, wrong, pool_pointer_block_bytes(page));
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
    if (heap == &heap_none && !pool_thread_has_ended() && (heap = pool_thread_heap()) == NULL)
        heap = &heap_none; // a thread that only frees gathers what it frees, too
    if (unlikely(harden_level >= HARDEN_HOLDS)) {
        if (!heap_harden_hold(heap, page, index))
            misuse_tell("free", block, "double free", pool_pointer_block_bytes(page));
    } else if (!page_is_small(page))
        free_medium(heap, page, index, block);
    else if (!free_small(heap, page, index, block))
        misuse_tell("free", block, "double free", pool_pointer_block_bytes(page));
}

static const char *large_wrong(large_result_t result)
{
    return result == LARGE_INTERIOR ? "not the start of a block" : "double free, or never allocated";
}

static RARE void free_trap(void *block)
{
    const char *wrong = trap_free(block);
    if (wrong != NULL)
        pool_pointer_tell_trap("free", block, wrong);
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

// Whether it is the start of a block that may be live, as far as the quick ways look. slot: its class's; with none yet nothing
// is.
static inline bool gathered_looks_live(const ring_slot_t *slot, const page_t *page, const void *block)
{
    size_t offset = (size_t)((const char *)block - page->start);
    return likely(size_class_index_exact(&slot->class, offset) < slot->class.block_count) &&
           likely(!pool_pointer_looks_freed(page, block, offset)) && likely(slot->first != block);
}

// What a free of another thread's small block is, as far as the quick ways look.
typedef enum others_way { OTHERS_GATHERED, OTHERS_NO_ROOM, OTHERS_SLOW } others_way_t;

// Gathers it. NO_ROOM: heap_free_remote makes some. SLOW: any other. owner_word: without a mark, and no mosaic's.
static inline __attribute__((always_inline)) others_way_t free_others_gather(page_t *page, void *block, const heap_t *owner_word)
{
    heap_t *heap = heap_self;
    if (unlikely(owner_word == NULL || owner_word == heap)) // NULL: there may be no page either
        return OTHERS_SLOW;
    ring_slot_t *slot = heap_ring_slot(heap, page->class);
    __asm__("" : "+r"(slot)); // one address for all its members: gcc would else reckon it four times
    if (unlikely(!gathered_looks_live(slot, page, block)))
        return OTHERS_SLOW;
    if (unlikely(!heap_ring_has_room(heap, slot, block)))
        return OTHERS_NO_ROOM;
    heap_ring_put(heap, slot, block);
    return OTHERS_GATHERED;
}

// Also when there is no room: false is SLOW.
static inline bool free_others_quick(page_t *page, void *block, const heap_t *owner_word)
{
    others_way_t way = free_others_gather(page, block, owner_word);
    return way == OTHERS_GATHERED || (way == OTHERS_NO_ROOM && heap_free_remote(heap_self, page, block));
}

static inline bool free_remote_quick(page_t *page, void *block)
{
    return free_others_quick(page, block, page_owner(page));
}

// A small block of a marked page. Where the page holds a sample, most are another block: as the fast path would have done
// it, then.
static bool free_marked_quick(page_t *page, void *block)
{
    if (sample_find(block) != 0)
        return false;
    if (harden_level != 0)
        return harden_level < HARDEN_HOLDS && heap_harden_is_own(page_owner_word(page)) &&
               heap_harden_free_own(page, block, block_bits_free(page), true);
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
    page_t *page = zone_page_of_first(block);
    bool done = page != NULL && page_is_small(page) && free_small_quick(page, block);
    if (unlikely(!done))
        free_general(page, block);
}

// Whether a page has a mark, or is a mosaic.
static inline bool is_special(const heap_t *owner_word)
{
    return ((uintptr_t)owner_word & (PAGE_MARK | PAGE_IN_MOSAIC)) != 0;
}

// A small block of a page that is_special. At level 0 a marked one holds a sample, and most of its blocks are none: if it is
// the calling thread's, they are freed as the fast path would have done it.
static __attribute__((noinline)) void free_in_special(page_t *page, void *address)
{
    block_t *block = address;
    bool is_own = (uintptr_t)page_owner_word(page) == ((uintptr_t)heap_self | PAGE_MARK);
    if (unlikely(!is_own || sample_may_be(block) || page->list == block || heap_one_by_one || sample_marks_are_stale))
        return pool_free_slow(block);
    heap_free_small(page, block);
}

// A call of its own, so that what is gathered needs no stack.
static __attribute__((noinline)) void free_others_makes_room(page_t *page, void *block)
{
    if (unlikely(!heap_free_remote(heap_self, page, block)))
        pool_free_slow(block);
}

void pool_free_others(void *block, page_t *page)
{
    const heap_t *word = page_owner_word(page);
    if (unlikely(is_special(word)))
        return free_in_special(page, block);
    others_way_t way = free_others_gather(page, block, word);
    if (unlikely(way == OTHERS_NO_ROOM))
        free_others_makes_room(page, block);
    else if (unlikely(way == OTHERS_SLOW))
        pool_free_slow(block);
}

HARDENED void pool_free_hardened(page_t *page, void *block)
{
    if (unlikely(!heap_harden_free_own(page, block, block_bits_free_front(page), false)))
        pool_free_slow(block);
}

static HARDENED void free_hardened_medium(void *block)
{
    page_t *page = zone_page_of_first(block);
    if (unlikely(page == NULL || !heap_harden_is_own(page_owner_word(page)) || page_is_small(page) ||
                 !heap_free_medium_own(heap_self, block, page, true)))
        pool_free_slow(block);
}

// Whether blocks of a thread's own pages are hardened, and have a short way nevertheless (pool_free_is_short).
static inline bool hardened_is_short(void)
{
    return unlikely(__atomic_load_n(&harden_quick_mark, __ATOMIC_RELAXED) == PAGE_MARK);
}

// A program that allocates nothing frees what is not the pool's, at its end: for that it need not have the code below resident.
static __attribute__((noinline)) void free_unusual(void *block)
{
    if (unlikely(pool_hook_known && pool_hook_known(block)))
        return;
    if (unlikely(!atomic_load_explicit(&pool_started, memory_order_relaxed)) &&
        (block == NULL || (pool_hook_foreign && pool_hook_foreign("free", block))))
        return;
    pool_free_slow(block);
}

static inline bool free_large_quick(void *block)
{
    if (unlikely(atomic_load_explicit(&pool_large_sampled, memory_order_relaxed)) && sample_may_be(block))
        return false;
    return large_free_warm(block);
}

// No block of a page. A call of its own, so that the frees in pages need no stack.
static __attribute__((noinline)) void free_beyond_zones(void *block)
{
    if (unlikely(!free_large_quick(block)))
        free_unusual(block);
}

// NULL is freed as often as not in C programs, and else it would come the longest way of all.
static inline bool free_at_once(heap_t *heap, void *block)
{
    return heap_free_medium_last(heap, block) || block == NULL;
}

// offset: from zone_front_base. BEYOND: it lies in no zone of the start.
static inline heap_free_way_t free_medium_any(heap_t *heap, void *block, size_t offset)
{
    page_t *page;
    if (unlikely(!zone_page_find(offset, &page)))
        return HEAP_FREE_BEYOND;
    return heap_free_medium_quick(heap, block, page) ? HEAP_FREED : HEAP_FREE_SLOW;
}

// A call of its own, so that what is freed at once has the registers as they come.
static __attribute__((noinline)) void free_beyond(void *block, size_t offset, heap_t *heap)
{
    heap_free_way_t way = free_medium_any(heap, block, offset);
    if (unlikely(way == HEAP_FREE_BEYOND))
        return free_beyond_zones(block);
    if (unlikely(way == HEAP_FREE_SLOW)) {
        if (hardened_is_short())
            free_hardened_medium(block);
        else
            pool_free_slow(block);
    }
}

void pool_free_beyond(void *block, size_t offset)
{
    heap_t *heap = heap_self;
    if (!free_at_once(heap, block))
        free_beyond(block, offset, heap);
}

__attribute__((noinline)) void pool_delete_slow(void *block, size_t size_bytes, page_t *small)
{
    const heap_t *word = small == NULL ? NULL : page_owner_word(small);
    if (likely(harden_level == 0) && !is_special(word) && free_others_quick(small, block, word))
        return;
    if (unlikely(harden_level != 0))
        pool_told("operator delete", block, GRANULE_BYTES, size_bytes, false);
    pool_free_slow(block);
}

__attribute__((noinline)) void pool_delete_beyond(void *block, size_t size_bytes, size_t offset)
{
    heap_t *heap = heap_self;
    bool freed = free_at_once(heap, block); // hardened, for NULL alone
    heap_free_way_t way = freed ? HEAP_FREED : free_medium_any(heap, block, offset);
    bool ready = way == HEAP_FREE_BEYOND && harden_level == 0 && free_large_quick(block);
    if (unlikely(way != HEAP_FREED && !ready))
        pool_delete_slow(block, size_bytes, NULL);
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
        return page_is_mosaic(*page) || pool_pointer_wrong(*page, block, &index) != NULL ? 0 : pool_pointer_block_bytes(*page);
    if (trap_has(block))
        return trap_usable(block, &wrong);
    return !reserve_has(block) && large_usable(block, &bytes) == LARGE_DONE ? bytes : 0;
}

void pool_told(const char *function, void *block, size_t alignment, size_t size_bytes, bool resizable)
{
    page_t *page;
    size_t bytes = block == NULL ? 0 : usable_quietly(block, &page);
    size_t asked_bytes = size_max(size_bytes, 1); // a block of no bytes is served as one of one byte
    if (bytes == 0 || (resizable && pool_fits_in_place(bytes, size_bytes)))
        return;
    bool right;
    if (page != NULL)
        right = page->class == pool_alloc_class(alignment, size_bytes);
    else if (trap_has(block))
        right = bytes == asked_bytes;
    else
        right = asked_bytes <= bytes && bytes - asked_bytes < os_page_bytes();
    if (!right)
        misuse_tell_size(function, block, bytes, size_bytes);
}
