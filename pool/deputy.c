// pool/deputy.c - what others have freed of a heap whose thread sleeps goes back to the zones. See heap_enter in heap.h.
//
// The number of used blocks of a page is its owner's; when as many wait in `remote`, all of them have been freed. That is seen by who
// frees the last one, at a glance, and only counted. When so much is vacant that it is worth a look, and more of it and of what is kept
// than may stay free, the heaps that have some are stopped, their inboxes are gone through, and what is vacant indeed is given up; all
// other pages stay in their inboxes. A heap whose thread is in a slow path just now is left alone: most of those empty the inbox.
//
// Two barriers of all threads. The first: whoever is not seen in a slow path will see that there is a deputy before it begins one; and
// what it did before is seen. The second, when the vacant pages are known: a free of the owner's puts the block on the page's list,
// then counts it (heap_free_counts), and a processor may show the second before the first. Afterwards both are done. A signal handler
// that allocates is one slow path with what it interrupts, if that is one.
//
// Before, 100 MB that one thread had allocated and another freed stayed whole while the first one slept (docs/decisions/063).
#include "budget.h"
#include "heap.h"
#include "os_linux.h"
#include "zone_page.h"

// A look costs two barriers, 0.6 us each, an interrupt of each processor that runs the program, and a walk through the inboxes. So
// at least so much is to be had by it,
size_t heap_look_bytes = (size_t)512 << 10;
// and an eighth of all that is pending: where blocks are freed in random order, all pages wait with a few blocks that live.
static const unsigned look_shift = 3;

static _Atomic size_t vacant_all;  // of all heaps
static _Atomic size_t vacant_left; // what the last look has left of it

static size_t get(_Atomic size_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint32_t entered(const heap_t *heap)
{
    return __atomic_load_n(&heap->entered, __ATOMIC_ACQUIRE);
}

bool heap_is_entered(heap_t *heap)
{
    return entered(heap) != 0 || lock_is_mine(&heap_lock);
}

void heap_wait(heap_t *heap)
{
    while (entered(heap) == 1 && atomic_load_explicit(&heap->stopped, memory_order_acquire) != 0) {
        __atomic_store_n(&heap->entered, 0, __ATOMIC_RELEASE);
        if (lock_take(&heap_lock)) // the deputy has it
            lock_give(&heap_lock);
        else // so has a fork
            os_yield();
        __atomic_store_n(&heap->entered, 1, __ATOMIC_RELAXED);
        atomic_signal_fence(memory_order_seq_cst);
    }
}

void heap_idle_settle(heap_t *heap)
{
    if (unlikely(get(&heap->idle_gone_bytes) != 0))
        heap->idle_bytes -= atomic_exchange_explicit(&heap->idle_gone_bytes, 0, memory_order_relaxed);
}

void heap_vacant_forget(heap_t *heap)
{
    if (likely(get(&heap->vacant_bytes) == 0))
        return;
    size_t bytes = atomic_exchange_explicit(&heap->vacant_bytes, 0, memory_order_relaxed);
    size_t all = atomic_fetch_sub_explicit(&vacant_all, bytes, memory_order_relaxed) - bytes;
    if (get(&vacant_left) > all) // what a look has left is gone by now
        atomic_store_explicit(&vacant_left, all, memory_order_relaxed);
}

// --- what a deputy does [heaps] --------------------------------------------------------------------------------------

// As the page's owner would see it: not one of its blocks lives. A current one may be taken from without a slow path. Where no free is
// left to the page's event, its owner is about to deal with that.
static bool is_vacant(const heap_t *heap, page_t *page)
{
    return page_owner(page) == heap && page->place != PAGE_CURRENT && page->left != 0 &&
           remote_pending(page) == page_used_counted(page);
}

// Takes the vacant pages out of a heap's inbox and puts them before `chain`.
static page_id_t vacant_take(heap_t *heap, page_id_t chain)
{
    page_id_t id = atomic_exchange_explicit(&heap->inbox, 0, memory_order_seq_cst);
    while (id != 0) {
        page_t *page = zone_page_by_id(id);
        page_id_t next = __atomic_load_n(&page->inbox_next, __ATOMIC_RELAXED);
        if (is_vacant(heap, page)) {
            __atomic_store_n(&page->inbox_next, chain, __ATOMIC_RELAXED);
            chain = id;
        } else { // it stays queued
            heap_drain_orphan(heap_inbox_push(page));
        }
        id = next;
    }
    heap_vacant_forget(heap);
    return chain;
}

// What a medium page had free before was idle; and a small one, if it was nearly empty.
static void vacant_give_up(heap_t *self, page_t *page)
{
    heap_t *heap = page_owner(page);
    uint64_t word = remote_take(page, true);
    size_t idle_bytes = page->place == PAGE_LISTED ? heap_unlist_idle(heap, page) : 0, pending = remote_bytes(page, word);
    if (!page_is_small(page)) {
        idle_bytes = (size_t)bits_count(page->dirty_bits) * page_class(page)->block_bytes;
        page->dirty_bits |= word & ~REMOTE_QUEUED;
    }
    heap_handover_count(heap_handover_of(heap, page), 0, page_used_counted(page));
    page_arm_used(page, 0, 0);
    atomic_fetch_add_explicit(&heap->idle_gone_bytes, idle_bytes, memory_order_relaxed);
    heap_idle_tell(heap, heap->idle_told_bytes - size_min(idle_bytes, heap->idle_told_bytes));
    heap_unpend(self, pending);
    zone_page_free(page);
}

// Whether there is one to be stopped at all.
static bool heaps_stop(const heap_t *self)
{
    bool any = false;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        if (heap == self || get(&heap->vacant_bytes) == 0)
            continue;
        if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_ALIVE) {
            heap_vacant_forget(heap);
            continue;
        }
        atomic_store_explicit(&heap->stopped, 1, memory_order_seq_cst);
        any = true;
    }
    return any;
}

static void heaps_go_on(void)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        atomic_store_explicit(&heap->stopped, 0, memory_order_release);
}

static page_id_t stopped_take(void)
{
    page_id_t chain = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        if (atomic_load_explicit(&heap->stopped, memory_order_relaxed) != 0 && entered(heap) == 0)
            chain = vacant_take(heap, chain);
    return chain;
}

static void deputize(heap_t *self)
{
    if (heaps_stop(self) && os_barrier_threads()) {
        page_id_t id = stopped_take();
        bool ordered = id != 0 && os_barrier_threads();
        while (id != 0) {
            page_t *page = zone_page_by_id(id);
            id = __atomic_load_n(&page->inbox_next, __ATOMIC_RELAXED);
            if (likely(ordered))
                vacant_give_up(self, page);
            else
                heap_inbox_push(page);
        }
    }
    heaps_go_on();
    atomic_store_explicit(&vacant_left, get(&vacant_all), memory_order_relaxed);
}

// --- when one is wanted ----------------------------------------------------------------------------------------------

static bool is_wanted(void)
{
    size_t vacant = get(&vacant_all), fresh = vacant - size_min(get(&vacant_left), vacant);
    ptrdiff_t pending = (ptrdiff_t)budget_pending();
    return fresh >= heap_look_bytes && (ptrdiff_t)fresh >= pending >> look_shift && vacant + budget_kept() > budget_limit(BUDGET_WHOLE);
}

// With blocks that are used until they are pushed, it cannot become another class's page meanwhile.
GLANCES vacant_t heap_vacant_see(page_t *page, unsigned count)
{
    if (likely(remote_pending(page) + count < page_used_counted(page)) || page->place == PAGE_CURRENT || unlikely(harden_level != 0))
        return (vacant_t){0};
    return (vacant_t){page_owner(page), page_dirty_bytes(page)};
}

void heap_vacant_tell(heap_t *heap, vacant_t seen)
{
    if (likely(seen.bytes == 0) || seen.owner == NULL)
        return;
    atomic_fetch_add_explicit(&seen.owner->vacant_bytes, seen.bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&vacant_all, seen.bytes, memory_order_relaxed);
    // Who does not get the lock at once leaves it to who has it, or to the next one: during a fork this might be long.
    if (likely(!is_wanted()) || !lock_take_at_once(&heap_lock))
        return;
    while (is_wanted()) // others may have come in vain meanwhile
        deputize(heap);
    lock_give(&heap_lock);
    if (heap != &heap_none && entered(heap) == 0) // else what is under way holds pages that a purge may give up
        heap_purge_excess(heap);
}
