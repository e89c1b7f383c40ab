// pool/registry.c - all heaps: given to threads, left by them, adopted from. See heap.h.
#include <assert.h>

#include "budget.h"
#include "heap.h"
#include "meta.h"
#include "os_linux.h"
#include "registry.h"

lock_t heap_lock = {.rank = LOCK_HEAPS};
meta_arena_t registry_arena; // [heaps]

RARE_DATA heap_t heap_commons;

static _Atomic(heap_t *) all_heaps;
static _Atomic unsigned alive_count;
static _Atomic size_t idle_all;
static heap_t *orphans;                // [heaps]
static _Atomic size_t orphans_bytes;   // what they keep, about
static _Atomic unsigned orphan_count; // read without the lock to see that there is nothing to adopt

// How many orphans are looked at for pages of a class before a fresh page is taken.
static const unsigned orphans_tried = 4;

heap_t *heap_first(void)
{
    return atomic_load_explicit(&all_heaps, memory_order_acquire);
}

unsigned registry_orphans(void)
{
    return atomic_load_explicit(&orphan_count, memory_order_relaxed);
}

unsigned heap_alive_count(void)
{
    return atomic_load_explicit(&alive_count, memory_order_relaxed);
}

size_t heap_idle_all(void)
{
    return atomic_load_explicit(&idle_all, memory_order_relaxed);
}

void heap_idle_tell(heap_t *heap, size_t bytes)
{
    atomic_fetch_add_explicit(&idle_all, bytes - heap->idle_told_bytes, memory_order_relaxed);
    heap->idle_told_bytes = bytes;
}

static int state_of(heap_t *heap)
{
    return atomic_load_explicit(&heap->state, memory_order_seq_cst);
}

static void state_set(heap_t *heap, heap_state_t state)
{
    atomic_store_explicit(&heap->state, state, memory_order_seq_cst);
}

static void heap_register(heap_t *heap)
{
    heap->next_heap = heap_first();
    atomic_store_explicit(&all_heaps, heap, memory_order_release);
}

static heap_t *heap_create(void)
{
    // Whole cache lines, so that two threads' heaps share none.
    heap_t *heap = meta_alloc(&registry_arena, align_up(sizeof(heap_t), CACHE_LINE_BYTES), CACHE_LINE_BYTES);
    if (heap == NULL)
        return NULL;
    for (unsigned class = 0; class <= SMALL_CLASSES; class++)
        heap->gaps.small_at[class] = HEAP_SAMPLE_NEVER;
    heap_harden_create(heap);
    if (heap_first() != NULL && state_of(&heap_commons) != HEAP_ORPHAN) { // the second: there are others now
        state_set(&heap_commons, HEAP_ORPHAN);
        heap_register(&heap_commons);
    }
    heap_register(heap);
    return heap;
}

static heap_t *orphan_pop(void)
{
    heap_t *heap = orphans;
    if (heap == NULL)
        return NULL;
    orphans = heap->next_orphan;
    atomic_fetch_sub_explicit(&orphan_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&orphans_bytes, heap->orphaned_bytes, memory_order_relaxed);
    return heap;
}

// Idle in its pages, and on its head lists: a carve step each, about.
static size_t kept_bytes(const heap_t *heap)
{
    return heap->idle_bytes + bits_count(heap->small_seen) * CARVE_BYTES;
}

static void orphan_push(heap_t *heap)
{
    heap->next_orphan = orphans;
    orphans = heap;
    atomic_fetch_add_explicit(&orphan_count, 1, memory_order_relaxed);
    heap->orphaned_bytes = kept_bytes(heap);
    atomic_fetch_add_explicit(&orphans_bytes, heap->orphaned_bytes, memory_order_relaxed);
}

heap_t *heap_begin(void)
{
    if (!lock_take(&heap_lock))
        return NULL;
    heap_t *heap = orphan_pop();
    if (heap == NULL)
        heap = heap_create();
    if (heap != NULL) {
        state_set(heap, HEAP_ALIVE);
        atomic_fetch_add_explicit(&alive_count, 1, memory_order_relaxed);
    }
    lock_give(&heap_lock);
    if (heap != NULL)
        heap_self = heap;
    if (heap != NULL && heap_sample_bytes != 0)
        heap_sample_begin(heap);
    if (heap != NULL)
        heap_harden_begin(heap);
    return heap;
}

// The next thread is likely to want what this one leaves: its head lists, and what is idle in its pages. All orphans
// together may keep as much as the budget's floor, since nobody looks at it until then. Read without the lock: about.
static bool orphans_may_keep(const heap_t *heap)
{
    return atomic_load_explicit(&orphans_bytes, memory_order_relaxed) + kept_bytes(heap) <= BUDGET_FLOOR_BYTES;
}

// The state changes before the inbox is emptied for the last time; who queues a page looks at the state afterwards
// (heap_adopt_page). So one of the two sees the other.
void heap_end(void)
{
    heap_t *heap = heap_self;
    heap_enter(heap);
    heap_harden_flush(heap);
    heap_ring_flush(heap);
    heap_borrowed_flush(heap);
    if (!orphans_may_keep(heap)) {
        heap_flush(heap);
        if (likely(!huge_keeps_inside()))
            heap_purge_idle(heap, SIZE_MAX);
    }
    heap_purge_excess(heap);
    heap_idle_tell(heap, 0);
    heap_self = &heap_none;
    while (!lock_take(&heap_lock)) // only while a fork hangs
        os_yield();
    heap_leave(heap);
    state_set(heap, HEAP_ORPHAN);
    atomic_fetch_sub_explicit(&alive_count, 1, memory_order_relaxed);
    heap_inbox_drain(heap);
    heap_pend_tell(heap);
    orphan_push(heap);
    lock_give(&heap_lock);
}

handover_t *heap_handover_of(heap_t *heap, const page_t *page)
{
    return page_is_small(page) ? &heap->small[page->class].handover
                               : &heap->medium[page->class - CLASS_FIRST_MEDIUM].handover;
}

// An orphan's page changes hands. [heaps]
static void page_move(heap_t *from, heap_t *to, page_t *page)
{
    size_t idle = 0;
    if (!page_is_small(page))
        idle = (size_t)bits_count(page->dirty_bits) * page_class(page)->block_bytes;
    if (page->place == PAGE_LISTED)
        heap_unlist(from, page);
    from->idle_bytes -= idle;
    to->idle_bytes += idle;
    if (from == &heap_commons) // blocks that their owner frees, it seems
        heap_handover_count(heap_handover_of(to, page), page_class(page)->block_count, 0);
    page_owner_change(page, to);
}

static bool is_full(const page_t *page)
{
    return page_used(page) == page_class(page)->block_count;
}

// Whoever frees at the same time has changed `remote` before it reads the owner. So it sees the commons, or its change is
// seen here, and the page is taken back.
bool heap_give_up(heap_t *heap, page_t *page, handover_t *handover)
{
    if (likely(heap_handover_is_own(handover)) || heap_alive_count() < 2 || !is_full(page) ||
        heap_requested_exact || atomic_load_explicit(&page->remote, memory_order_relaxed) != 0)
        return false;
    page_arm(page, 0);
    handover->handed -= (uint32_t)size_min(handover->handed, page_class(page)->block_count); // who will free them is not seen here
    page_owner_change(page, &heap_commons);
    if (unlikely(atomic_load_explicit(&page->remote, memory_order_seq_cst) != 0))
        heap_adopt_page(heap, page);
    return true;
}

static void page_settle(heap_t *heap, page_t *page)
{
    heap_collect(heap, page, false);
    if (page_is_small(page))
        heap_settle(heap, page);
    else
        heap_medium_settle(heap, page);
}

static page_t *listed_page(const heap_t *orphan, unsigned class)
{
    if (class >= CLASS_FIRST_MEDIUM)
        return zone_page_by_id(orphan->medium[class - CLASS_FIRST_MEDIUM].pages);
    const small_bin_t *bin = &orphan->small[class];
    for (unsigned bucket = BUCKETS; bucket-- > 0;)
        if (bin->bucket[bucket] != 0)
            return zone_page_by_id(bin->bucket[bucket]);
    return zone_page_by_id(bin->scanned != 0 ? bin->scanned : bin->uncarved);
}

static page_t *orphan_page(heap_t *orphan, unsigned class)
{
    page_t *page = listed_page(orphan, class);
    if (page != NULL)
        return page;
    heap_class_flush(orphan, class);
    return listed_page(orphan, class);
}

// The orphans that were looked at go to the end, so that the next call sees others.
static void orphans_rotate(heap_t *last)
{
    heap_t *end = last;
    if (last->next_orphan == NULL)
        return;
    while (end->next_orphan != NULL)
        end = end->next_orphan;
    end->next_orphan = orphans;
    orphans = last->next_orphan;
    last->next_orphan = NULL;
}

static APART bool adopt_class_locked(heap_t *heap, unsigned class)
{
    heap_t *orphan = orphans;
    page_t *common = orphan_page(&heap_commons, class);
    if (common != NULL) {
        page_move(&heap_commons, heap, common);
        page_settle(heap, common);
        return page_owner(common) == heap;
    }
    for (unsigned tries = 0; orphan != NULL; orphan = orphan->next_orphan) {
        page_t *page = orphan_page(orphan, class);
        if (page != NULL) {
            page_move(orphan, heap, page);
            page_settle(heap, page);
            // All its blocks may just have come back: then it has gone to its zone, where it is found next.
            return page_owner(page) == heap;
        }
        if (++tries == orphans_tried) {
            orphans_rotate(orphan);
            return false;
        }
    }
    return false;
}

bool heap_adopt_class(heap_t *heap, unsigned class)
{
    if ((registry_orphans() == 0 && heap_alive_count() < 2) || !lock_take(&heap_lock))
        return false;
    bool adopted = adopt_class_locked(heap, class);
    lock_give(&heap_lock);
    return adopted;
}

size_t heap_orphans_purge(void)
{
    size_t purged = 0;
    if (!lock_take(&heap_lock))
        return 0;
    for (heap_t *heap = orphans; heap != NULL; heap = heap->next_orphan) {
        heap_flush(heap);
        purged += heap_purge_idle(heap, SIZE_MAX);
    }
    lock_give(&heap_lock);
    return purged;
}

void heap_drain_orphan(heap_t *heap)
{
    if (heap == NULL || state_of(heap) != HEAP_ORPHAN)
        return;
    bool held = lock_is_mine(&heap_lock); // by who empties another inbox, out of which the page came
    if (!held && !lock_take(&heap_lock))
        return;
    if (state_of(heap) == HEAP_ORPHAN)
        heap_inbox_drain(heap);
    if (!held)
        lock_give(&heap_lock);
}

bool heap_adopt_page(heap_t *heap, page_t *page)
{
    heap_t *owner = page_owner(page);
    if (owner == NULL || owner == heap || state_of(owner) != HEAP_ORPHAN)
        return false;
    if (!lock_take(&heap_lock))
        return false;
    owner = page_owner_in_order(page); // with what heap_give_up left
    bool adopt = owner != NULL && owner != heap && state_of(owner) == HEAP_ORPHAN;
    if (adopt) {
        heap_inbox_drain(owner); // nobody else will
        if (page_owner(page) == owner && page->place == PAGE_CURRENT)
            heap_class_flush(owner, page->class);
        adopt = page_owner(page) == owner;
    }
    if (adopt && heap != &heap_none) {
        page_move(owner, heap, page);
        page_settle(heap, page);
    }
    adopt = heap != &heap_none && page_owner(page) == heap;
    lock_give(&heap_lock);
    return adopt;
}

void heap_fork_child(void)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        if (heap != heap_self && state_of(heap) == HEAP_ALIVE)
            state_set(heap, HEAP_LOST);
    atomic_store_explicit(&alive_count, heap_self != &heap_none, memory_order_relaxed);
    atomic_store_explicit(&idle_all, heap_self->idle_told_bytes, memory_order_relaxed);
}
