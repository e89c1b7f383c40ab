// pool/survey.c - see survey.h. Zones are walked page by page, then what is mapped alone; what a page holds tells survey_sums,
// what metadata survey_ranges, and survey_totals sums up.
#include "survey.h"

#include <string.h>

#include "budget.h"
#include "heap.h"
#include "large.h"
#include "large_direct.h"
#include "mosaic.h"
#include "residency.h"
#include "survey_ranges.h"
#include "survey_sums.h"
#include "survey_totals.h"
#include "trap.h"

typedef struct walk {
    const survey_visitor_t *visitor; // NULL: none
    residency_t *residency;
} walk_t;

// --- zones -----------------------------------------------------------------------------------------------------------

static void page_show(const walk_t *walk, page_t *page, const page_sums_t *sums, survey_kind_t kind)
{
    const size_class_t *class = &size_class_table[sums->class];
    bool owned = kind == SURVEY_PAGE, used = sums->live != 0 || sums->pending != 0;
    survey_page_t shown = {.start = (uintptr_t)page->start, .bytes = class->page_bytes, .kind = kind,
                           .resident_bytes = sums->resident, .live_bytes = sums->live * class->block_bytes,
                           .holes_bytes = used ? sums->holes : 0, .live_blocks = (uint32_t)sums->live,
                           .block_bytes = class->block_bytes, .class = owned ? sums->class : 0,
                           .sampled = owned && page_is_marked(page)};
    if (walk->visitor != NULL)
        walk->visitor->visit(walk->visitor->context, &shown);
}

static void class_add(survey_t *out, const page_sums_t *sums)
{
    survey_class_t *class = &out->classes[sums->class - 1];
    class->pages++;
    class->live_blocks += sums->live;
    class->requested_bytes += sums->requested;
    class->untouched_bytes += sums->untouched;
    class->pending_bytes += sums->pending_bytes;
    if (sums->live == 0 && sums->pending == 0) {
        out->retained_bytes += sums->holes + sums->tail;
        return;
    }
    class->holes_bytes += sums->holes;
    class->tail_bytes += sums->tail;
}

// Blocks that are counted as live so far, and are not: they are a hole, or others have freed them. Returns how many there
// were.
static uint64_t class_less(survey_class_t *class, size_t block_bytes, uint64_t count, uint64_t *bytes)
{
    count = size_min(count, class->live_blocks);
    if (count == 0)
        return 0;
    class->live_blocks -= count;
    *bytes += count * block_bytes;
    return count;
}

static uint64_t class_pending(survey_t *out, unsigned number, uint64_t count)
{
    survey_class_t *class = &out->classes[number - 1];
    return class_less(class, size_class_table[number].block_bytes, count, &class->pending_bytes);
}

// A mosaic's blocks count for their own classes, and what lies between them as holes of the class that the page had. Of
// that class are the frees that were on their way when the page changed, too (they came between the owner's last look into
// its inbox and mosaic_make).
static void mosaic_survey(survey_t *out, page_t *page, walk_t *walk, uintptr_t most)
{
    page_sums_t sums = {.class = page->class};
    uintptr_t start = (uintptr_t)page->start, end = start + size_class_table[sums.class].page_bytes, free_from = start;
    survey_page_t shown = {.start = start, .bytes = end - start, .kind = SURVEY_PAGE, .class = sums.class,
                           .block_bytes = GRANULE_BYTES, .sampled = page_is_marked(page)};
    unsigned granule = 0;
    for (size_t bytes; (bytes = mosaic_next_block(page, &granule)) != 0; granule += bytes / GRANULE_BYTES) {
        uintptr_t block = start + granule * GRANULE_BYTES;
        survey_class_t *class = &out->classes[size_class_of(bytes) - 1];
        size_t resident = residency_bytes(walk->residency, block, block + bytes, most);
        sums.holes += residency_bytes(walk->residency, free_from, block, most);
        class->live_blocks++;
        class->untouched_bytes += bytes - resident;
        sums.resident += resident;
        shown.live_bytes += bytes;
        shown.live_blocks++;
        free_from = block + bytes;
    }
    sums.holes += residency_bytes(walk->residency, free_from, end, most);
    uint64_t pending = class_pending(out, sums.class, size_min(remote_pending(page), shown.live_blocks));
    shown.live_bytes -= pending * size_class_table[sums.class].block_bytes;
    shown.live_blocks -= (uint32_t)pending;
    out->classes[sums.class - 1].pages++;
    out->classes[sums.class - 1].holes_bytes += sums.holes;
    out->heap_rss_bytes += sums.resident + sums.holes;
    shown.holes_bytes = sums.holes;
    shown.resident_bytes = sums.resident + sums.holes;
    if (walk->visitor != NULL)
        walk->visitor->visit(walk->visitor->context, &shown);
}

static void page_survey(survey_t *out, page_t *page, walk_t *walk, uintptr_t most)
{
    heap_t *owner = page_owner(page);
    page_sums_t sums = {.class = page->class};
    uintptr_t start = (uintptr_t)page->start;
    if (sums.class == 0)
        return;
    if (page_is_mosaic(page)) {
        mosaic_survey(out, page, walk, most);
        return;
    }
    if (owner == NULL) {
        sums.resident = residency_bytes(walk->residency, start, start + size_class_table[sums.class].page_bytes, most);
        out->heap_rss_bytes += sums.resident;
        out->retained_bytes += sums.resident;
        page_show(walk, page, &sums, SURVEY_FREE_PAGE);
        return;
    }
    survey_page_sums(page, owner, walk->residency, most, &sums);
    out->heap_rss_bytes += sums.resident;
    class_add(out, &sums);
    page_show(walk, page, &sums, SURVEY_PAGE);
}

static void zone_survey(survey_t *out, zone_t *zone, walk_t *walk)
{
    uint32_t fresh = atomic_load_explicit(&zone->fresh, memory_order_acquire);
    uintptr_t end = (uintptr_t)zone->base + ((size_t)fresh << zone->shift);
    survey_range_add(out, zone->base, (void *)end, zone_name(zone));
    residency_forget(walk->residency);
    for (uint32_t i = 0; i < fresh; i++)
        page_survey(out, &zone->pages[i], walk, end);
}

static void rings_survey(survey_t *out)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        for (unsigned class = 1; class <= SMALL_CLASSES; class++)
            class_pending(out, class, size_min(heap_ring_slot(heap, class)->count, RING_BLOCKS));
}

// What stands on head lists and belongs to other heaps' pages, or to mosaics.
static void borrowed_survey(survey_t *out)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        for (unsigned i = 1; i <= SMALL_CLASSES; i++) {
            head_kind_t kind = survey_head_kind(heap, i);
            survey_class_t *class = &out->classes[i - 1];
            if (kind != HEAD_OWN)
                class_less(class, size_class_table[i].block_bytes, survey_head_count(heap, i),
                           kind == HEAD_MOSAIC ? &class->holes_bytes : &class->pending_bytes);
        }
}

// --- large blocks ----------------------------------------------------------------------------------------------------

static void extent_show(const walk_t *walk, const extent_t *extent, uint64_t bytes, uint64_t resident)
{
    bool live = extent->state == EXTENT_LIVE;
    survey_page_t shown = {.start = (uintptr_t)extent->start, .bytes = live ? extent->used_bytes : bytes,
                           .resident_bytes = resident, .live_bytes = live ? extent->used_bytes : 0,
                           .live_blocks = live, .kind = live ? SURVEY_LARGE : SURVEY_LARGE_FREE};
    if (walk->visitor != NULL && (live || resident != 0))
        walk->visitor->visit(walk->visitor->context, &shown);
}

// The live ones are summed up here, and not taken from large_counts, so that the sums close without the lock, too.
static void extent_survey(survey_t *out, const extent_t *node, size_t bytes, walk_t *walk, uintptr_t most)
{
    extent_t copy = *node, *extent = &copy;
    uintptr_t start = (uintptr_t)extent->start;
    size_t used_bytes = extent->state == EXTENT_LIVE ? size_min(extent->used_bytes, bytes) : 0;
    size_t used = residency_bytes(walk->residency, start, start + used_bytes, most);
    size_t resident = used + residency_bytes(walk->residency, start + used_bytes, start + bytes, most);
    out->heap_rss_bytes += resident;
    extent_show(walk, extent, bytes, resident);
    if (extent->state != EXTENT_LIVE) {
        out->retained_bytes += resident;
        out->large_cached_bytes += extent->state == EXTENT_CACHED || extent->state == EXTENT_WARM ? resident : 0;
        return;
    }
    size_t requested_bytes = size_min(extent->requested_bytes, used_bytes);
    out->large_blocks++;
    out->large_bytes += used_bytes;
    out->requested_bytes += requested_bytes;
    out->rounding_bytes += used_bytes - requested_bytes;
    out->untouched_bytes += used_bytes - used;
    out->tail_bytes += resident - used;
}

// They count as large blocks: what their OS pages hold beside them is tail.
static void trap_survey_one(survey_t *out, walk_t *walk, const trap_view_t *view)
{
    uintptr_t most = trap_base + trap_bytes;
    size_t resident = residency_bytes(walk->residency, (uintptr_t)view->open, (uintptr_t)view->end, most);
    size_t used = size_min(resident, view->size_bytes);
    out->heap_rss_bytes += resident;
    out->large_blocks++;
    out->large_bytes += view->size_bytes;
    out->requested_bytes += view->size_bytes;
    out->untouched_bytes += view->size_bytes - used;
    out->tail_bytes += resident - used;
    survey_page_t shown = {.start = (uintptr_t)view->open, .bytes = (size_t)(view->end - view->open),
                           .resident_bytes = resident, .live_bytes = view->size_bytes, .live_blocks = 1,
                           .kind = SURVEY_LARGE};
    if (walk->visitor != NULL)
        walk->visitor->visit(walk->visitor->context, &shown);
}

static void trap_survey(survey_t *out, walk_t *walk)
{
    trap_view_t view;
    survey_range_add(out, (void *)trap_base, (void *)(trap_base + trap_bytes), "tarn traps");
    residency_forget(walk->residency);
    for (unsigned i = 0; i < trap_slots(); i++)
        if (trap_look(i, &view))
            trap_survey_one(out, walk, &view);
}

static void large_survey(survey_t *out, walk_t *walk)
{
    char *start, *end;
    extent_bounds(&start, &end);
    survey_range_add(out, start, end, "tarn large");
    residency_forget(walk->residency);
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id)) {
        const extent_t *extent = extent_node(id);
        extent_survey(out, extent, (size_t)extent->grains << LARGE_GRAIN_SHIFT, walk, (uintptr_t)end);
    }
    for (extent_id_t id = large_direct_next(0); id != 0; id = large_direct_next(id)) {
        const extent_t *extent = extent_node(id);
        residency_forget(walk->residency);
        if (extent->state == EXTENT_LIVE) // else nothing of it is resident (large_direct.c, guarded_free)
            survey_range_add(out, extent->start, extent->start + extent->used_bytes, "tarn large");
        extent_survey(out, extent, extent->used_bytes, walk, (uintptr_t)extent->start + extent->used_bytes);
    }
    trap_survey(out, walk);
    out->large_allocated_total = large_counts().allocated_total + trap_allocated_total();
    if (out->large_allocated_total < out->large_blocks)
        out->large_allocated_total = out->large_blocks;
}

// --- all --------------------------------------------------------------------------------------------------------------

uint64_t survey_block_bytes(unsigned class)
{
    return size_class_table[class + 1].block_bytes;
}

uint64_t survey_page_bytes(unsigned class)
{
    return size_class_table[class + 1].page_bytes;
}

bool survey_has_classes(void)
{
    return zone_count() != 0;
}

uint64_t survey_glance(void)
{
    return budget_used() + budget_retained();
}

// A loop, where memset would be the first call into the C library's text of a small program (kernel_call.h). What is zero
// is not written, and so not resident, in static memory.
static void memory_clear(void *start, size_t bytes)
{
    const uint64_t none = 0;
    for (char *at = start, *end = at + bytes; at < end; at += sizeof(none)) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        if (word != 0)
            memcpy(at, &none, sizeof(none));
    }
}

_Static_assert(sizeof(survey_t) % sizeof(uint64_t) == 0 && offsetof(survey_t, classes) % sizeof(uint64_t) == 0,
               "it is cleared by words");

static void pool_walk(survey_t *out, const survey_visitor_t *visitor, residency_t *residency)
{
    walk_t walk = {visitor, residency};
    memory_clear(out->classes, sizeof *out - offsetof(survey_t, classes));
    out->class_count = CLASS_COUNT - 1;
    for (unsigned i = 0; i < zone_count(); i++)
        zone_survey(out, zone_get(i), &walk);
    rings_survey(out);
    borrowed_survey(out);
    large_survey(out, &walk);
    survey_metadata(out);
    survey_totals(out);
}

static APART void pool_walk_beside(survey_t *out, const survey_visitor_t *visitor)
{
    residency_t residency;
    pool_walk(out, visitor, &residency);
}

// A profile takes surveys in malloc, on whatever stack the program calls it: a coroutine may have 8 KiB. So what a walk remembers, 4 KiB
// of it, stands apart; and on the stack only while another walk is under way, or was and will never end (survey_abandon, fork).
static void heap_walk(survey_t *out, const survey_visitor_t *visitor)
{
    static REPORT_DATA("survey") residency_t apart;
    static _Atomic bool taken; // [atomic] acquire, release
    memory_clear(out, offsetof(survey_t, classes));
    if (!survey_has_classes())
        return; // and what is behind need not become resident
    if (atomic_exchange_explicit(&taken, true, memory_order_acquire)) {
        pool_walk_beside(out, visitor);
        return;
    }
    pool_walk(out, visitor, &apart);
    atomic_store_explicit(&taken, false, memory_order_release);
}

static const uint64_t lock_patience_ms = 1000; // far longer than any section under a lock

void survey_take_unlocked(survey_t *out)
{
    heap_walk(out, NULL);
}

static lock_t *const locks[] = {&heap_lock, &mosaic_lock, &zone_lock, &extent_lock};

void survey_abandon(void)
{
    for (unsigned i = LOCK_RANKS; i-- > 0;)
        if (lock_is_mine(locks[i]))
            lock_give(locks[i]);
}

static void walk_locked(survey_t *out, const survey_visitor_t *visitor)
{
    bool taken[LOCK_RANKS];
    bool inside = false; // a signal handler has interrupted the pool in this thread
    for (unsigned i = 0; i < LOCK_RANKS; i++)
        inside |= lock_is_mine(locks[i]);
    // Not taken then, or when a fork does not finish, or a holder was stopped for good (by a debugger, or in a signal
    // handler): a survey without the locks is better than none, and than a hang at exit.
    for (unsigned i = 0; i < LOCK_RANKS; i++) {
        taken[i] = !inside && lock_take_within(locks[i], lock_patience_ms);
        inside |= !taken[i]; // and is not waited for three times
    }
    heap_walk(out, visitor);
    for (unsigned i = LOCK_RANKS; i-- > 0;)
        if (taken[i])
            lock_give(locks[i]);
}

void survey_take(survey_t *out)
{
    walk_locked(out, NULL);
}

void survey_take_pages(survey_t *out, const survey_visitor_t *visitor, bool locked)
{
    if (locked)
        walk_locked(out, visitor);
    else
        heap_walk(out, visitor);
}
