// pool/survey.c - see survey.h. Pages are taken one by one: what of each is resident, and which cause each byte has.
//
// A medium page is split block by block. For a small page the sum closes by its own equation: what is resident beyond
// the carved blocks is tail or never used; what is missing is live memory that was never touched.
#include "survey.h"

#include <string.h>

#include "budget.h"
#include "heap.h"
#include "large.h"
#include "large_direct.h"
#include "mosaic.h"
#include "os_linux.h"
#include "registry.h"
#include "requested.h"
#include "reserve.h"
#include "residency.h"
#include "sample.h"
#include "trap.h"

typedef struct walk {
    const survey_visitor_t *visitor; // NULL: none
    residency_t residency;
} walk_t;

// --- one page --------------------------------------------------------------------------------------------------------

// In a survey without locks a page can change its class meanwhile: it is read once.
typedef struct page_sums {
    unsigned class;
    uint64_t live, pending, free_blocks; // blocks
    uint64_t resident, holes, tail, pending_bytes, untouched;
    uint64_t requested; // exact mode
} page_sums_t;

static bool is_block_of(page_t *page, const block_t *block, unsigned class)
{
    bool exact;
    if (page_is_mosaic(page))
        return true;
    page_block_index(page, block, &exact);
    return exact && page->class == class;
}

// Blocks of the class on a list, of one page; NULL: of any. Another thread may be changing it: every link is checked.
static unsigned list_count(const block_t *list, page_t *page, unsigned class)
{
    unsigned count = 0;
    for (const block_t *block = list; block != NULL; block = block->next) {
        page_t *at = zone_page_of(block);
        if (at == NULL || (page != NULL && at != page) || !is_block_of(at, block, class) ||
            ++count > size_class_table[class].block_count)
            break;
    }
    return count;
}

typedef enum head_kind { HEAD_OWN, HEAD_MOSAIC, HEAD_BORROWED } head_kind_t;

// Where the blocks of a head list that is not empty come from. (Of an empty one, head_page may be of a zone that was left.)
static head_kind_t head_kind(const heap_t *heap, unsigned class)
{
    const page_t *page = heap->small[class].head_page;
    if (page == NULL)
        return HEAD_BORROWED;
    return page == heap->small[class].current ? HEAD_OWN : HEAD_MOSAIC;
}

static unsigned head_count(const heap_t *heap, unsigned class)
{
    const block_t *list = heap->head[class];
    return list == NULL ? 0 : list_count(list, heap->small[class].head_page, class);
}

static void small_sums(page_t *page, heap_t *owner, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t block_bytes = class->block_bytes, carved = size_min(page_carved_count(page), class->block_count);
    bool has_head = page->place == PAGE_CURRENT && owner->small[sums->class].head_page == page;
    uint64_t heads = has_head ? head_count(owner, sums->class) : 0;
    uint64_t used = size_min(page_used(page), carved);
    uint64_t waiting = unlikely(harden_level != 0) ? block_bits_waiting(page) : remote_pending(page);
    sums->pending = size_min(waiting, used);
    sums->live = used - sums->pending - size_min(heads, used - sums->pending);
    sums->free_blocks = carved - sums->live - sums->pending;
    sums->holes = sums->free_blocks * block_bytes;
    sums->pending_bytes = sums->pending * block_bytes;
    uint64_t carved_bytes = carved * block_bytes;
    uint64_t tail = class->page_bytes - class->block_count * block_bytes;
    if (sums->resident >= carved_bytes) {
        sums->tail = size_min(sums->resident - carved_bytes, tail);
        sums->holes += sums->resident - carved_bytes - sums->tail;
        return;
    }
    uint64_t missing = carved_bytes - sums->resident, from_live = size_min(missing, sums->live * block_bytes);
    sums->untouched = from_live;
    missing -= from_live;
    uint64_t from_holes = size_min(missing, sums->holes);
    sums->holes -= from_holes;
    sums->pending_bytes -= missing - from_holes;
}

// pending: a bit for each block that others have freed, or a level holds; free ones count as free.
static void medium_blocks(page_t *page, walk_t *walk, uintptr_t most, uint64_t pending, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t free = page_free_bits(page);
    for (unsigned i = 0; i < class->block_count; i++) {
        uintptr_t start = (uintptr_t)page->start + (size_t)i * class->block_bytes;
        size_t resident = residency_bytes(&walk->residency, start, start + class->block_bytes, most);
        if (free >> i & 1) {
            sums->free_blocks++;
            sums->holes += resident;
        } else if (pending >> i & 1) {
            sums->pending++;
            sums->pending_bytes += resident;
        } else {
            sums->live++;
            sums->untouched += class->block_bytes - resident;
        }
    }
}

// The same of a page all of whose blocks are resident, as most are: half of a survey went from block to block.
static void medium_blocks_resident(const page_t *page, uint64_t pending, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t all = bits_mask(class->block_count), free = page_free_bits(page) & all;
    sums->free_blocks = bits_count(free);
    sums->pending = bits_count(pending & all & ~free);
    sums->live = class->block_count - sums->free_blocks - sums->pending;
    sums->holes = sums->free_blocks * class->block_bytes;
    sums->pending_bytes = sums->pending * class->block_bytes;
}

static void medium_sums(page_t *page, walk_t *walk, uintptr_t most, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uintptr_t start = (uintptr_t)page->start, tail = start + (size_t)class->block_count * class->block_bytes;
    uint64_t pending = atomic_load_explicit(&page->remote, memory_order_relaxed);
    if (unlikely(harden_level != 0))
        pending |= atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
    if (residency_has(&walk->residency, start, tail))
        medium_blocks_resident(page, pending, sums);
    else
        medium_blocks(page, walk, most, pending, sums);
    sums->tail = residency_bytes(&walk->residency, tail, start + class->page_bytes, most);
    // What the parts have, and not what the page had a moment before: other threads touch memory meanwhile.
    uint64_t live_bytes = sums->live * class->block_bytes - sums->untouched;
    sums->resident = live_bytes + sums->holes + sums->pending_bytes + sums->tail;
}

// --- exact sizes -----------------------------------------------------------------------------------------------------

// Which blocks of a small page are not live: a bit each.
typedef struct block_bits {
    uint64_t word[SMALL_BLOCKS_MAX / 64];
} dead_bits_t;

static void bits_add_list(dead_bits_t *bits, const page_t *page, const block_t *list)
{
    unsigned most = page_class(page)->block_count;
    for (bool exact; list != NULL && most-- > 0; list = list->next) {
        page_t *at = zone_page_of(list);
        if (at == NULL)
            return;
        if (at != page) // in the ring there are others
            continue;
        unsigned index = page_block_index(page, list, &exact);
        if (!exact)
            return;
        bits->word[index / 64] |= (uint64_t)1 << (index % 64);
    }
}

static void bits_add_rings(dead_bits_t *bits, const page_t *page)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        bits_add_list(bits, page, heap_ring_slot(heap, page->class)->first);
}

static void bits_add_freed(dead_bits_t *bits, const page_t *page)
{
    for (unsigned i = 0; i < page_class(page)->block_count; i++)
        bits->word[i / 64] |= (uint64_t)block_bits_is_freed(page, i) << (i % 64);
}

static void bits_add_all(dead_bits_t *bits, page_t *page, heap_t *owner)
{
    bits_add_list(bits, page, page->list);
    bits_add_list(bits, page, remote_first(atomic_load_explicit(&page->remote, memory_order_relaxed)));
    bits_add_list(bits, page, page->place == PAGE_CURRENT ? owner->head[page->class] : NULL);
    bits_add_rings(bits, page);
}

static uint64_t small_requested(page_t *page, heap_t *owner)
{
    dead_bits_t dead = {0};
    uint64_t requested = 0;
    if (harden_level != 0)
        bits_add_freed(&dead, page);
    else
        bits_add_all(&dead, page, owner);
    for (unsigned step = 0; step < page_steps(page); step++)
        for (unsigned i = page_step_first(page, step); i < page_step_first(page, step + 1); i++)
            if (page->carved >> step & 1 && !(dead.word[i / 64] >> (i % 64) & 1))
                requested += requested_of(page, i);
    return requested;
}

static uint64_t medium_requested(page_t *page)
{
    uint64_t live = bits_mask(page_class(page)->block_count) & ~page_free_bits(page) &
                    ~atomic_load_explicit(&page->remote, memory_order_relaxed);
    if (unlikely(harden_level != 0))
        live &= ~atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
    uint64_t requested = 0;
    for (; live != 0; live &= live - 1)
        requested += requested_of(page, bits_lowest(live));
    return requested;
}

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
static uint64_t class_less(survey_class_t *class, uint64_t count, uint64_t *bytes)
{
    count = size_min(count, class->live_blocks);
    class->live_blocks -= count;
    *bytes += count * class->block_bytes;
    return count;
}

static uint64_t class_pending(survey_class_t *class, uint64_t count)
{
    return class_less(class, count, &class->pending_bytes);
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
        size_t resident = residency_bytes(&walk->residency, block, block + bytes, most);
        sums.holes += residency_bytes(&walk->residency, free_from, block, most);
        class->live_blocks++;
        class->untouched_bytes += bytes - resident;
        sums.resident += resident;
        shown.live_bytes += bytes;
        shown.live_blocks++;
        free_from = block + bytes;
    }
    sums.holes += residency_bytes(&walk->residency, free_from, end, most);
    uint64_t pending = class_pending(&out->classes[sums.class - 1], size_min(remote_pending(page), shown.live_blocks));
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
    bool small = sums.class <= SMALL_CLASSES;
    if (sums.class == 0)
        return;
    if (page_is_mosaic(page)) {
        mosaic_survey(out, page, walk, most);
        return;
    }
    if (owner == NULL || small)
        sums.resident = residency_bytes(&walk->residency, start, start + size_class_table[sums.class].page_bytes, most);
    if (owner == NULL) {
        out->heap_rss_bytes += sums.resident;
        out->retained_bytes += sums.resident;
        page_show(walk, page, &sums, SURVEY_FREE_PAGE);
        return;
    }
    if (small)
        small_sums(page, owner, &sums);
    else
        medium_sums(page, walk, most, &sums);
    out->heap_rss_bytes += sums.resident;
    if (heap_requested_exact)
        sums.requested = small ? small_requested(page, owner) : medium_requested(page);
    class_add(out, &sums);
    page_show(walk, page, &sums, SURVEY_PAGE);
}

static void range_add(survey_t *out, const void *start, const void *end, const char *name)
{
    if (start != NULL && start < end && out->range_count < SURVEY_RANGES_MAX)
        out->ranges[out->range_count++] = (survey_range_t){(uintptr_t)start, (uintptr_t)end, name};
}

static void zone_survey(survey_t *out, zone_t *zone, walk_t *walk)
{
    uint32_t fresh = atomic_load_explicit(&zone->fresh, memory_order_acquire);
    uintptr_t end = (uintptr_t)zone->base + ((size_t)fresh << zone->shift);
    range_add(out, zone->base, (void *)end, zone_name(zone));
    residency_forget(&walk->residency);
    for (uint32_t i = 0; i < fresh; i++)
        page_survey(out, &zone->pages[i], walk, end);
}

static void rings_survey(survey_t *out)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        for (unsigned class = 1; class <= SMALL_CLASSES; class++)
            class_pending(&out->classes[class - 1], size_min(heap_ring_slot(heap, class)->count, RING_BLOCKS));
}

// What stands on head lists and belongs to other heaps' pages, or to mosaics.
static void borrowed_survey(survey_t *out)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        for (unsigned i = 1; i <= SMALL_CLASSES; i++) {
            head_kind_t kind = head_kind(heap, i);
            survey_class_t *class = &out->classes[i - 1];
            if (kind != HEAD_OWN)
                class_less(class, head_count(heap, i), kind == HEAD_MOSAIC ? &class->holes_bytes : &class->pending_bytes);
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
    size_t used = residency_bytes(&walk->residency, start, start + used_bytes, most);
    size_t resident = used + residency_bytes(&walk->residency, start + used_bytes, start + bytes, most);
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
    size_t resident = residency_bytes(&walk->residency, (uintptr_t)view->open, (uintptr_t)view->end, most);
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
    range_add(out, (void *)trap_base, (void *)(trap_base + trap_bytes), "tarn traps");
    residency_forget(&walk->residency);
    for (unsigned i = 0; i < trap_slots(); i++)
        if (trap_look(i, &view))
            trap_survey_one(out, walk, &view);
}

static void large_survey(survey_t *out, walk_t *walk)
{
    char *start, *end;
    extent_bounds(&start, &end);
    range_add(out, start, end, "tarn large");
    residency_forget(&walk->residency);
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id)) {
        const extent_t *extent = extent_node(id);
        extent_survey(out, extent, (size_t)extent->grains << LARGE_GRAIN_SHIFT, walk, (uintptr_t)end);
    }
    for (extent_id_t id = large_direct_next(0); id != 0; id = large_direct_next(id)) {
        const extent_t *extent = extent_node(id);
        residency_forget(&walk->residency);
        if (extent->state == EXTENT_LIVE) // else nothing of it is resident (large_direct.c, guarded_free)
            range_add(out, extent->start, extent->start + extent->used_bytes, "tarn large");
        extent_survey(out, extent, extent->used_bytes, walk, (uintptr_t)extent->start + extent->used_bytes);
    }
    trap_survey(out, walk);
    out->large_allocated_total = large_counts().allocated_total + trap_allocated_total();
    if (out->large_allocated_total < out->large_blocks)
        out->large_allocated_total = out->large_blocks;
}

// --- metadata --------------------------------------------------------------------------------------------------------

#define META_RANGES 16u // that the kernel is asked about at once; most heaps have less

typedef struct meta_ranges {
    unsigned count;
    os_range_t range[META_RANGES];
} meta_ranges_t;

static void meta_count(survey_t *out, meta_ranges_t *ranges)
{
    size_t resident = os_resident_bytes(ranges->range, ranges->count);
    out->metadata_bytes += resident;
    out->heap_rss_bytes += resident;
    ranges->count = 0;
}

// Each begins a mapping of its own.
static void meta_range(survey_t *out, meta_ranges_t *ranges, char *start, char *end)
{
    if (start == NULL || start >= end)
        return;
    range_add(out, start, end, "tarn metadata");
    ranges->range[ranges->count++] = (os_range_t){(uintptr_t)start, align_up((uintptr_t)end, os_page_bytes())};
    if (ranges->count == META_RANGES)
        meta_count(out, ranges);
}

static void meta_list(survey_t *out, meta_ranges_t *ranges)
{
    char *start, *end;
    for (unsigned i = 0; i < zone_count(); i++) {
        zone_t *zone = zone_get(i);
        uint32_t described = atomic_load_explicit(&zone->described, memory_order_acquire);
        start = (char *)zone->dirty.level[0];
        end = (char *)align_up((uintptr_t)&zone->pages[described], os_page_bytes());
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; i < SMALL_ZONES; i++) {
        zone_front_bounds(i, &start, &end);
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; i < registry_arena.chunks; i++)
        meta_range(out, ranges, registry_arena.chunk[i].start,
                   registry_arena.chunk[i].start + registry_arena.chunk[i].bytes);
    for (unsigned i = 0; i < mosaic_arena.chunks; i++)
        meta_range(out, ranges, mosaic_arena.chunk[i].start, mosaic_arena.chunk[i].start + mosaic_arena.chunk[i].bytes);
    extent_table_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    extent_node_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    for (unsigned i = 0; heap_requested_exact && requested_bounds(i, &start, &end); i++)
        meta_range(out, ranges, start, end);
    for (unsigned i = 0; i < atomic_load_explicit(&sample_table_count, memory_order_acquire); i++) {
        sample_bounds(i, &start, &end);
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; block_bits_bounds(i, &start, &end); i++)
        meta_range(out, ranges, start, end);
    trap_table_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    reserve_bounds(&start, &end);
    meta_range(out, ranges, start, end);
}

static void meta_survey(survey_t *out)
{
    meta_ranges_t ranges;
    ranges.count = 0;
    meta_list(out, &ranges);
    meta_count(out, &ranges);
}

// --- sums ------------------------------------------------------------------------------------------------------------

// Newton's method: libm would be one more library. Half the exponent is a first guess that is off by 6 % at most, and each
// step squares the error: the fourth leaves 1e-24 of it.
static double square_root(double value)
{
    if (!(value > 0))
        return 0;
    uint64_t bits;
    double root;
    memcpy(&bits, &value, sizeof(bits));
    bits = (bits >> 1) + (((uint64_t)1023 << 52) >> 1); // the exponent's offset, halved
    memcpy(&root, &bits, sizeof(root));
    for (int i = 0; i < 4; i++)
        root = (root + value / root) / 2;
    return root;
}

static size_sample_t class_sample(unsigned class)
{
    size_sample_t sum = {0};
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        sum.count += heap->sample[class].count;
        sum.lent_gap += heap->sample[class].lent_gap;
        sum.gap += heap->sample[class].gap;
        sum.gap_square += heap->sample[class].gap_square;
    }
    return sum;
}

// The mean gap of the sampled requests stands for the live blocks'. Half the 95 % interval of the sum: 1.96 standard
// errors of the mean, times the blocks; with fewer than two samples, half of what a gap can be at most. Of the blocks lent to
// smaller classes as many are taken to live as of all, and it may be all of them or none. Returns what they may be off by: a part
// of the class's error that is no matter of chance.
static double class_estimate(survey_class_t *class, unsigned index)
{
    size_sample_t sample = class_sample(index);
    double live = (double)class->live_blocks, bytes = live * (double)class->block_bytes;
    double widest = index <= SMALL_CLASSES ? GRANULE_BYTES - 1 : (double)class->block_bytes / (MEDIUM_STEPS + 1);
    double mean = sample.count == 0 ? widest / 2 : (double)sample.gap / sample.count;
    double error = live * widest / 2;
    if (sample.count >= 2) {
        double variance = ((double)sample.gap_square - sample.count * mean * mean) / (sample.count - 1);
        error = live * 1.96 * square_root(variance / sample.count);
    }
    double lent = class->allocated_total == 0 ? 0 : sample.lent_gap * live / (double)class->allocated_total;
    double lent_error = sample.lent_gap < bytes ? sample.lent_gap : bytes;
    double gap = live * mean + lent;
    class->requested_bytes = gap < bytes ? (uint64_t)(bytes - gap) : 0;
    class->requested_error = error + lent_error;
    return lent_error;
}

// Hardened, an owner that moves blocks from the run to those behind it, or back, may be seen with some of them in both.
static uint64_t small_handed(const heap_t *heap, unsigned class)
{
    uint64_t handed = heap->small[class].handed, kept = head_count(heap, class) + heap_harden_ahead(heap, class);
    return handed - size_min(kept, handed);
}

static uint64_t class_handed(unsigned class)
{
    uint64_t handed = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        if (class >= CLASS_FIRST_MEDIUM) {
            handed += heap_medium_handed(&heap->medium[class - CLASS_FIRST_MEDIUM]);
            continue;
        }
        handed += small_handed(heap, class);
    }
    return handed;
}

// What requested_bytes may be off by. What chance does in one class it does not do in all; but where a program frees and keeps,
// what was lent may be off to the same side in each.
typedef struct errors {
    double chance_squares, lent;
} errors_t;

static void class_finish(survey_t *out, unsigned index, errors_t *errors)
{
    survey_class_t *class = &out->classes[index - 1];
    // A head list that its owner was popping from may have been seen too short: then too many blocks count as live.
    class->allocated_total = class_handed(index);
    if (class->allocated_total < class->live_blocks)
        class->allocated_total = class->live_blocks;
    double lent_error = heap_requested_exact ? 0 : class_estimate(class, index);
    double by_chance = class->requested_error - lent_error;
    uint64_t live_bytes = class->live_blocks * class->block_bytes;
    class->rounding_bytes = live_bytes - size_min(class->requested_bytes, live_bytes);
    errors->chance_squares += by_chance * by_chance;
    errors->lent += lent_error;
    out->live_blocks += class->live_blocks;
    out->live_bytes += live_bytes;
    out->requested_bytes += class->requested_bytes;
    out->rounding_bytes += class->rounding_bytes;
    out->holes_bytes += class->holes_bytes;
    out->tail_bytes += class->tail_bytes;
    out->pending_bytes += class->pending_bytes;
    out->untouched_bytes += class->untouched_bytes;
    out->allocated_total += class->allocated_total;
}

static void classes_begin(survey_t *out)
{
    out->class_count = CLASS_COUNT - 1;
    for (unsigned class = 1; class < CLASS_COUNT; class++) {
        out->classes[class - 1].block_bytes = size_class_table[class].block_bytes;
        out->classes[class - 1].page_bytes = size_class_table[class].page_bytes;
    }
}

static void totals(survey_t *out)
{
    errors_t errors = {0};
    for (unsigned class = 1; class < CLASS_COUNT; class++)
        class_finish(out, class, &errors);
    out->requested_error = square_root(errors.chance_squares) + errors.lent;
    out->requested_exact = heap_requested_exact;
    out->live_blocks += out->large_blocks;
    out->live_bytes += out->large_bytes;
    out->allocated_total += out->large_allocated_total;
    out->freed_total = out->allocated_total - out->live_blocks;
    out->mapped_bytes = budget_used();
    out->mapped_peak_bytes = budget_used_peak();
    out->purged_total_bytes = budget_purged_total();
    out->budget_bytes = budget_limit(BUDGET_WHOLE);
    out->heaps = heap_alive_count();
    out->heaps_orphaned = registry_orphans();
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

static void heap_walk(survey_t *out, const survey_visitor_t *visitor)
{
    walk_t walk;
    walk.visitor = visitor;
    memory_clear(out, offsetof(survey_t, classes));
    if (!survey_has_classes())
        return; // and what is behind need not become resident
    memory_clear(out->classes, sizeof *out - offsetof(survey_t, classes));
    classes_begin(out);
    for (unsigned i = 0; i < zone_count(); i++)
        zone_survey(out, zone_get(i), &walk);
    rings_survey(out);
    borrowed_survey(out);
    large_survey(out, &walk);
    meta_survey(out);
    totals(out);
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
