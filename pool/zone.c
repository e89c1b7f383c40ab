// pool/zone.c - see zone.h.
#include "zone.h"

#include <assert.h>

#include "budget.h"
#include "misuse.h"
#include "os_linux.h"

uintptr_t zone_front_base;
size_t zone_front_limit;
page_t *zone_front_pages;
uintptr_t zone_high_base;
size_t zone_high_limit;
page_t *zone_high_pages;
size_t zone_medium_limit[MEDIUM_ZONES];
page_t *zone_medium_pages[MEDIUM_ZONES];
lock_t zone_lock = {.rank = LOCK_ZONES};

zone_t zones[ZONES_MAX];
zone_place_t zone_places[ZONE_KINDS];
size_t zone_first_count, zone_first_bytes, zone_first_mask;
unsigned zone_first_shift;
static _Atomic unsigned zones_used;
static _Atomic unsigned zones_staying; // how many threads are between zone_stay_begin and zone_stay_end

// What zone_page_of_later reads of a zone added since the start: a seqlock (Boehm, "Can seqlocks get along with
// programming language memory models?", MSPC 2012), since the zone may be left meanwhile and its place be taken. No
// fences, which ThreadSanitizer does not know: who reads what was stored after a change of generation sees the change.
typedef struct zone_later {
    _Atomic uint32_t generation; // how often a zone of this place was left
    _Atomic uint32_t fresh, shift;
    _Atomic uintptr_t base;
    page_t *_Atomic pages;
} zone_later_t;
static zone_later_t zones_later[ZONES_MAX];
static size_t max_bytes;

// Bounds of a first zone's addresses. The least is what a small program touches; the most keeps all zones and the large
// tier well inside 47 bits. Where there are fewer (39 bits on some aarch64), five zones are a sixth of them, the large
// range (extent.c) a quarter, and the rest is the program's.
static const size_t zone_bytes_least = (size_t)2 << 20;
static const size_t zone_bytes_most = (size_t)1 << 40;
static const unsigned zone_space_shift = 5;
static const size_t zone_alignment = (size_t)2 << 20; // the largest page; also a huge page
static const size_t limited_max_bytes = (size_t)32 << 10; // 2 MiB pages would eat the addresses: those go alone
static const size_t commit_least_bytes = (size_t)256 << 10;
static const unsigned commit_growth_shift = 3; // an eighth more at a time: few system calls, little ahead of need
static const unsigned same_class_tries = 8;
// To have a huge page again costs about an eighth of what 512 small ones do: so much less is it to be regretted.
static const unsigned regret_shift = 3;

static unsigned shift_of_kind(unsigned kind)
{
    if (kind < SMALL_ZONES)
        return kind == 0 ? LOW_PAGE_SHIFT : HIGH_PAGE_SHIFT;
    return MEDIUM_1_PAGE_SHIFT + (kind - SMALL_ZONES) * MEDIUM_DOUBLINGS_PER_ZONE;
}

const char *zone_name(const zone_t *zone)
{
    static const char *const names[ZONE_KINDS] = {"tarn small", "tarn small", "tarn medium 1", "tarn medium 2",
                                                  "tarn medium 3"};
    return names[zone->kind];
}

unsigned zone_count(void)
{
    return atomic_load_explicit(&zones_used, memory_order_acquire);
}

zone_t *zone_get(unsigned index)
{
    return &zones[index];
}

size_t zone_max_bytes(void)
{
    return max_bytes;
}

static unsigned region_shift(const zone_t *zone)
{
    return HUGE_SHIFT - zone->shift;
}

// None where a page is as large as a huge one: the blocks of such pages are often touched in part only.
static uint32_t regions_of(const zone_t *zone)
{
    bool fits = zone->shift < HUGE_SHIFT && (uintptr_t)zone->base % HUGE_BYTES == 0;
    return fits ? zone->bound >> region_shift(zone) : 0;
}

// Descriptors, the two sets and the regions, in one reservation; the sets first, since they are committed whole.
static bool zone_meta_reserve(zone_t *zone)
{
    size_t regions_at = 2 * bitset_bytes(zone->bound);
    uint32_t regions = regions_of(zone) == 0 ? 0 : regions_of(zone) + 1; // the last one may be cut
    size_t set_bytes = align_up(regions_at + regions * sizeof(huge_region_t), os_page_bytes());
    zone->meta_bytes = set_bytes + align_up(zone->bound * sizeof(page_t), os_page_bytes());
    char *meta = os_reserve(zone->meta_bytes, os_page_bytes());
    if (meta == NULL)
        return false;
    if (!os_commit(meta, set_bytes)) {
        os_unmap(meta, zone->meta_bytes);
        return false;
    }
    os_name(meta, zone->meta_bytes, "tarn metadata");
    bitset_init(&zone->dirty, zone->bound, meta);
    bitset_init(&zone->clean, zone->bound, meta + bitset_bytes(zone->bound));
    zone->huge = (huge_table_t){.region = regions == 0 ? NULL : (huge_region_t *)(meta + regions_at),
                                .pages_each = (uint16_t)(1u << (regions == 0 ? 0 : region_shift(zone)))};
    zone->pages = (page_t *)(meta + set_bytes);
    return true;
}

// A place that a zone has left, or a new one.
static unsigned zone_index_free(void)
{
    unsigned index = 0;
    while (index < zone_count() && zones[index].base != NULL)
        index++;
    return index;
}

static bool zone_add(unsigned kind, char *base, size_t bytes)
{
    unsigned index = zone_index_free();
    if (index == ZONES_MAX)
        return false;
    zone_t *zone = &zones[index];
    unsigned shift = shift_of_kind(kind);
    size_t bound = bytes >> shift;
    bound = size_min(bound, ((size_t)1 << PAGE_ID_ZONE_SHIFT) - 1);
    *zone = (zone_t){.base = base, .bound = (uint32_t)bound, .shift = (uint8_t)shift, .kind = (uint8_t)kind,
                     .index = (uint8_t)index};
    if (!zone_meta_reserve(zone)) {
        zone->base = NULL;
        zone->bound = 0;
        return false;
    }
    zone_later_t *later = &zones_later[index];
    atomic_store_explicit(&later->base, (uintptr_t)base, memory_order_release);
    atomic_store_explicit(&later->shift, shift, memory_order_release);
    atomic_store_explicit(&later->pages, zone->pages, memory_order_release);
    os_name(base, bytes, zone_name(zone));
    atomic_store_explicit(&zones_used, (unsigned)size_max(index + 1, zone_count()), memory_order_release);
    return true;
}

static bool zones_reserve(size_t bytes_each, unsigned kinds)
{
    char *base = os_reserve(bytes_each * kinds, zone_alignment);
    if (base == NULL)
        return false;
    os_no_huge_pages(base, bytes_each * kinds);
    for (unsigned kind = 0; kind < kinds; kind++)
        if (!zone_add(kind, base + kind * bytes_each, bytes_each)) {
            for (unsigned i = 0; i < kind; i++)
                os_unmap(zones[i].dirty.level[0], zones[i].meta_bytes); // its metadata starts there
            os_unmap(base, bytes_each * kinds);
            atomic_store_explicit(&zones_used, 0, memory_order_relaxed);
            return false;
        }
    return true;
}

bool zone_start(void)
{
    size_t limit = os_address_limit_bytes();
    bool limited = limit != SIZE_MAX;
    size_t bytes = limited ? limit / LIMITED_FRACTION : os_memory_bytes();
    bytes = size_min(bytes, size_min(os_address_space_bytes() >> zone_space_shift, zone_bytes_most));
    bytes = size_max(bytes, zone_bytes_least);
    bytes = (size_t)1 << (bits_highest(bytes - 1) + !limited); // a power of two: up, or under a limit down
    unsigned kinds = limited ? ZONE_KINDS - 1 : ZONE_KINDS;
    while (!zones_reserve(bytes, kinds)) {
        bytes /= 2;
        if (bytes < zone_bytes_least)
            return false;
    }
    max_bytes = kinds == ZONE_KINDS ? MEDIUM_MAX_BYTES : limited_max_bytes;
    zone_first_count = kinds;
    zone_first_shift = bits_highest(bytes);
    zone_first_bytes = bytes;
    zone_first_mask = bytes - 1;
    for (unsigned i = 0; i < kinds; i++) {
        zone_places[i].pages = zones[i].pages;
        zone_places[i].shift = zones[i].shift;
        if (i >= SMALL_ZONES)
            zone_medium_pages[i - SMALL_ZONES] = zones[i].pages;
    }
    zone_front_base = (uintptr_t)zones[0].base;
    zone_front_pages = zones[0].pages;
    zone_high_base = (uintptr_t)zones[1].base;
    zone_high_pages = zones[1].pages;
    return true;
}

// What lies between two addresses, but for an OS page that the one before shares with what is committed already.
static bool commit_between(const void *from, const void *to)
{
    uintptr_t start = align_up((uintptr_t)from, os_page_bytes()), end = align_up((uintptr_t)to, os_page_bytes());
    return start >= end || os_commit((void *)start, end - start);
}

static void fresh_set(zone_t *zone, uint32_t fresh)
{
    atomic_store_explicit(&zone->fresh, fresh, memory_order_release);
    if (zone->index < zone_first_count)
        atomic_store_explicit(&zone_places[zone->index].fresh, fresh, memory_order_release);
    else
        atomic_store_explicit(&zones_later[zone->index].fresh, fresh, memory_order_release);
}

// How far free may read a first zone's descriptors; NULL: the zone was added later.
static size_t *limit_of(const zone_t *zone)
{
    if (zone->index >= zone_first_count)
        return NULL;
    if (zone->index < SMALL_ZONES)
        return zone->index == 0 ? &zone_front_limit : &zone_high_limit;
    return &zone_medium_limit[zone->index - SMALL_ZONES];
}

static bool zone_commit_pages(zone_t *zone, uint32_t from, uint32_t to)
{
    if (!commit_between(&zone->pages[zone->described], &zone->pages[to]))
        return false;
    if (!commit_between(zone->base + ((size_t)from << zone->shift), zone->base + ((size_t)to << zone->shift)))
        return false;
    atomic_store_explicit(&zone->committed, to, memory_order_release);
    if (zone->index == 0 && from == 0)
        fresh_set(zone, 1); // page 0 of zone 0 is the number "none"
    if (to <= zone->described) // it was committed before, and withdrawn
        return true;
    atomic_store_explicit(&zone->described, to, memory_order_release);
    size_t *limit = limit_of(zone);
    if (limit != NULL)
        __atomic_store_n(limit, (size_t)to << zone->shift, __ATOMIC_RELEASE);
    return true;
}

static bool zone_commit_more(zone_t *zone)
{
    uint32_t from = zone->committed;
    if (from == zone->bound)
        return false;
    size_t step = size_max(commit_least_bytes >> zone->shift, from >> commit_growth_shift);
    step = size_min(size_max(step, 1), zone->bound - from);
    return zone_commit_pages(zone, from, from + (uint32_t)step) || zone_commit_pages(zone, from, from + 1);
}

// A dirty page that was of the same class keeps its knowledge of what is clean; so a few are tried.
static uint32_t dirty_pick(const zone_t *zone, unsigned class)
{
    uint32_t lowest = bitset_lowest(&zone->dirty), index = lowest;
    for (unsigned tries = 0; zone->kind >= SMALL_ZONES && tries < same_class_tries && index != BITSET_NONE; tries++) {
        if (zone->pages[index].class == class)
            return index;
        index = bitset_next(&zone->dirty, index + 1);
    }
    return lowest;
}

// Blocks of the new class behind everything the old one dirtied are clean.
static uint64_t clean_bits_after(const page_t *page, unsigned class)
{
    uint64_t dirty = bits_mask(page_class(page)->block_count) & ~page->clean_bits;
    if (page->class == class)
        return page->clean_bits;
    unsigned end = dirty == 0 ? 0 : bits_highest(dirty) + 1;
    size_t dirty_end = (size_t)end * page_class(page)->block_bytes;
    if (end == page_class(page)->block_count)
        dirty_end = page_class(page)->page_bytes; // the tail may hold what an earlier class left there
    const size_class_t *info = &size_class_table[class];
    unsigned first_clean = (unsigned)((dirty_end + info->block_bytes - 1) / info->block_bytes);
    return bits_mask(info->block_count) & ~bits_mask((unsigned)size_min(first_clean, 64));
}

static void dirty_remove(zone_t *zone, uint32_t index)
{
    size_t bytes = zone_page_dirty_bytes(&zone->pages[index]);
    bitset_remove(&zone->dirty, index);
    budget_release(bytes);
    if (unlikely(zone->huge.backed != 0))
        huge_note_taken(&zone->huge, index >> region_shift(zone), bytes);
}

static page_t *take_dirty(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    dirty_remove(zone, index);
    uint64_t clean = zone->kind < SMALL_ZONES ? 0 : clean_bits_after(page, class);
    page_init(page, class, false);
    if (zone->kind >= SMALL_ZONES) {
        page->clean_bits = clean;
        page->dirty_bits &= ~clean;
    }
    return page;
}

static bool is_free(const zone_t *zone, uint32_t index)
{
    return bitset_has(&zone->dirty, index) || bitset_has(&zone->clean, index);
}

static char *region_start(const zone_t *zone, uint32_t region)
{
    return zone->base + ((size_t)region << HUGE_SHIFT);
}

static void region_split(zone_t *zone, uint32_t region)
{
    huge_note_plain(&zone->huge, region);
    huge_split(region_start(zone, region));
}

static bool withdrawn_commit(zone_t *zone, uint32_t index);

static page_t *take_clean(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, index >> region_shift(zone)) != HUGE_PLAIN)
        region_split(zone, index >> region_shift(zone)); // else its first touch would fill all of it
    if (unlikely(page->place == PAGE_WITHDRAWN) && !withdrawn_commit(zone, index))
        return NULL;
    bitset_remove(&zone->clean, index);
    page_init(page, class, true);
    page->purged = PURGED_WHOLE;
    return page;
}

static page_t *page_begin(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    page->zone = zone->index;
    page->start = zone->base + ((size_t)index << zone->shift);
    page_init(page, class, true);
    return page;
}

// --- guards between groups of pages (level 2) -------------------------------------------------------------------------
//
// What runs on and on over blocks' ends meets one. Where a guard is a mark in the page table, it costs addresses alone: a
// sixteenth. Where it splits the mapping, it costs two of the 65,530 that a process may have, so groups are 1 MiB at least:
// 20,480 mappings for a heap of 10 GiB, 30,000 for large blocks (large.c), 512 for traps. Beyond guards_most there are none.
static const uint32_t group_pages = 16;
static const size_t group_split_bytes = (size_t)1 << 20;
static const unsigned guards_most = 12000;
static unsigned guards_split; // [LOCK_ZONES]

static uint32_t pages_a_group(const zone_t *zone)
{
    return os_guard_splits() ? (uint32_t)size_max(group_split_bytes >> zone->shift, group_pages) : group_pages;
}

// Not where addresses are scarce, nor where an OS page is more than one of the zone's.
static bool guard_is_due(const zone_t *zone)
{
    uint32_t group = pages_a_group(zone);
    return harden_level >= HARDEN_GUARDS && zone->fresh % group == group - 1 && guards_split < guards_most &&
           zone->index < zone_first_count && (size_t)1 << zone->shift >= os_page_bytes() &&
           os_address_limit_bytes() == SIZE_MAX;
}

// The next fresh page becomes a guard. False: it can be used.
static bool guard_place(zone_t *zone)
{
    uint32_t index = zone->fresh;
    char *start = zone->base + ((size_t)index << zone->shift);
    if (!os_guard(start, (size_t)1 << zone->shift))
        return false;
    page_t *page = &zone->pages[index];
    page->zone = zone->index;
    page->start = start;
    page->place = PAGE_GUARD;
    zone->guards++;
    guards_split += os_guard_splits();
    fresh_set(zone, index + 1);
    return true;
}

static page_t *take_fresh(zone_t *zone, unsigned class)
{
    if (zone->fresh >= zone->committed && !zone_commit_more(zone))
        return NULL;
    if (zone->fresh >= zone->committed) // one page came, and it is page 0 of zone 0
        return NULL;
    if (unlikely(harden_level >= HARDEN_GUARDS) && guard_is_due(zone) && guard_place(zone))
        return take_fresh(zone, class); // which is not one
    uint32_t index = zone->fresh;
    page_t *page = page_begin(zone, index, class);
    fresh_set(zone, index + 1);
    return page;
}

static page_t *take_from(zone_t *zone, unsigned class)
{
    if (zone->dirty.count != 0)
        return take_dirty(zone, dirty_pick(zone, class), class);
    if (zone->clean.count != 0)
        return take_clean(zone, bitset_lowest(&zone->clean), class);
    return take_fresh(zone, class);
}

// Whether it is for want of addresses that there is no page of the kind, and not of memory.
static bool zones_are_full(unsigned kind)
{
    for (unsigned i = 0; i < zone_count(); i++)
        if (zones[i].kind == kind && (zones[i].fresh < zones[i].bound || zones[i].clean.count != 0))
            return false;
    return true;
}

// Another zone of the kind, twice as large as all that there are of it, or as large as can be had.
static bool zone_extend(unsigned kind)
{
    size_t have = 0, least = size_max((size_t)1 << shift_of_kind(kind), commit_least_bytes);
    for (unsigned i = 0; i < zone_count(); i++)
        have += zones[i].kind == kind ? (size_t)zones[i].bound << zones[i].shift : 0;
    for (size_t bytes = size_max(have, least); bytes >= least; bytes /= 2) {
        char *base = os_reserve(bytes, size_min(zone_alignment, size_max(least, os_page_bytes())));
        if (base == NULL)
            continue;
        os_no_huge_pages(base, bytes);
        if (zone_add(kind, base, bytes))
            return true;
        os_unmap(base, bytes);
    }
    return false;
}

static page_t *take_any(unsigned kind, unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++) {
        page_t *page = zones[i].kind == kind ? take_from(&zones[i], class) : NULL;
        if (page != NULL)
            return page;
    }
    return NULL;
}

size_t zone_page_dirty_bytes(const page_t *page)
{
    if (page_is_small(page))
        return bits_count(page->soiled) * CARVE_BYTES;
    return (size_t)(page_class(page)->block_count - bits_count(page->clean_bits)) * page_class(page)->block_bytes;
}

// Pages that came back while a fork that did not finish held the lock, linked by page->next. Pushed by anyone, taken whole
// by the next holder of the lock.
static _Atomic page_id_t late_pages;

static void late_push(page_t *page)
{
    page_id_t first = atomic_load_explicit(&late_pages, memory_order_relaxed), id = zone_page_id(page);
    do
        page->next = first;
    while (!atomic_compare_exchange_weak_explicit(&late_pages, &first, id, memory_order_release,
                                                  memory_order_relaxed));
}

// Of a page in a huge region all is resident, whatever its owner knew of.
static void page_soil_all(page_t *page)
{
    if (page_is_small(page)) {
        page->soiled = (uint16_t)bits_mask(page_steps(page));
    } else {
        page->dirty_bits = bits_mask(page_class(page)->block_count);
        page->clean_bits = 0;
    }
}

static void page_put(page_t *page)
{
    zone_t *zone = &zones[page->zone];
    uint32_t index = (uint32_t)(page - zone->pages);
    if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, index >> region_shift(zone)) == HUGE_RESIDENT)
        page_soil_all(page);
    size_t dirty_bytes = zone_page_dirty_bytes(page);
    bitset_add(dirty_bytes != 0 ? &zone->dirty : &zone->clean, index);
    budget_retain(dirty_bytes);
    if (unlikely(zone->huge.backed != 0))
        huge_note_free(&zone->huge, index >> region_shift(zone), dirty_bytes);
}

static bool zone_lock_take(void)
{
    if (!lock_take(&zone_lock))
        return false;
    if (likely(atomic_load_explicit(&late_pages, memory_order_relaxed) == 0))
        return true;
    page_id_t id = atomic_exchange_explicit(&late_pages, 0, memory_order_acquire);
    for (page_t *page; id != 0; page_put(page)) {
        page = zone_page_by_id(id);
        id = page->next;
    }
    return true;
}

static void page_return(page_t *page, bool locked)
{
    if (locked)
        page_put(page);
    else
        late_push(page);
}

// --- huge pages ------------------------------------------------------------------------------------------------------

// The page that the zone would take next, if a region begins there of which nothing is in use; else BITSET_NONE.
static uint32_t unused_region(const zone_t *zone)
{
    uint32_t first = zone->clean.count != 0 ? bitset_lowest(&zone->clean) : zone->fresh, each = zone->huge.pages_each;
    if (zone->huge.region == NULL || (first & (each - 1)) != 0 || zone->bound - first < each)
        return BITSET_NONE;
    if (zone->index == 0 && first == 0) // page 0 is the number "none"
        return BITSET_NONE;
    for (uint32_t i = first; i < first + each && i < zone->fresh; i++)
        if (!bitset_has(&zone->clean, i) || zone->pages[i].place == PAGE_WITHDRAWN)
            return BITSET_NONE;
    return first;
}

// More becomes resident by a collapse than faults would have brought, if the heap does not come back whole: with half a region in
// use peaks were 5 % higher (decision 034).
static const unsigned collapse_used_shift = 3;

// The first page of the region of the zone's next page, if that is no huge one and an eighth of it at most is in use, though not
// all; else BITSET_NONE. When no page is dirty: so what is not clean is in use.
static uint32_t partly_unused_region(const zone_t *zone)
{
    uint32_t each = zone->huge.pages_each, lowest = bitset_lowest(&zone->clean), first = lowest & ~(each - 1);
    if (zone->huge.region == NULL || lowest == BITSET_NONE || zone->bound - first < each || zone->guards != 0 ||
        huge_state(&zone->huge, first >> region_shift(zone)) != HUGE_PLAIN)
        return BITSET_NONE;
    uint32_t end = first + each, fresh = end > zone->fresh ? end - zone->fresh : 0;
    if (bitset_count_in(&zone->clean, first, end) + fresh < each - (each >> collapse_used_shift))
        return BITSET_NONE;
    for (uint32_t i = first; i < end - fresh; i++)
        if (bitset_has(&zone->clean, i) && zone->pages[i].place == PAGE_WITHDRAWN) // what is used is its owner's to read
            return BITSET_NONE;
    return first;
}

#define REGION_PAGES_MAX (HUGE_BYTES >> LOW_PAGE_SHIFT)

// Pages of a region, a bit each.
typedef struct region_pages {
    uint64_t words[REGION_PAGES_MAX / 64];
} region_pages_t;

// The pages of a region that nobody uses leave the set of clean ones, or are no longer fresh. False: they cannot be
// committed.
static bool region_take(zone_t *zone, uint32_t first, unsigned class, region_pages_t *taken)
{
    uint32_t end = first + zone->huge.pages_each;
    *taken = (region_pages_t){0};
    while (zone->committed < end)
        if (!zone_commit_more(zone))
            return false;
    for (uint32_t i = first; i < end; i++) {
        if (i < zone->fresh && !bitset_has(&zone->clean, i))
            continue;
        if (i < zone->fresh)
            bitset_remove(&zone->clean, i);
        else
            page_begin(zone, i, class)->place = PAGE_FREE;
        taken->words[(i - first) / 64] |= (uint64_t)1 << (i - first) % 64;
    }
    if (end > zone->fresh)
        fresh_set(zone, end);
    return true;
}

static void page_soil(page_t *page, unsigned class, bool soiled)
{
    page_init(page, class, !soiled);
    page->place = PAGE_FREE;
    if (page_is_small(page))
        page->soiled = soiled ? (uint16_t)bits_mask(page_steps(page)) : 0;
}

// What a region does for its next life: backed by a new huge page; or, if some of its pages are in use, collapsed into one.
typedef enum region_way { REGION_NEW, REGION_AGAIN, REGION_COLLAPSE } region_way_t;

static bool region_ask(zone_t *zone, char *start, region_way_t way)
{
    if (way == REGION_COLLAPSE)
        return huge_collapse(start);
    bool backed = huge_back(start, way == REGION_AGAIN);
    if (way == REGION_AGAIN)
        os_name(start, HUGE_BYTES, zone_name(zone)); // else it would not merge with its neighbours
    return backed;
}

// The region is a huge page now. Pages that came back while the lock was not held are resident whole, too.
static void region_note_backed(zone_t *zone, uint32_t first)
{
    huge_note_backed(&zone->huge, first >> region_shift(zone));
    for (uint32_t i = first; i < first + zone->huge.pages_each; i++) {
        if (!is_free(zone, i) || zone->pages[i].place == PAGE_WITHDRAWN)
            continue;
        size_t dirty_bytes = zone_page_dirty_bytes(&zone->pages[i]);
        bitset_remove(dirty_bytes != 0 ? &zone->dirty : &zone->clean, i);
        budget_release(dirty_bytes);
        page_put(&zone->pages[i]);
    }
}

// The lock is held before, and afterwards if true.
static bool region_back(zone_t *zone, uint32_t first, unsigned class, const region_pages_t *taken, region_way_t way)
{
    uint32_t region = first >> region_shift(zone), end = first + zone->huge.pages_each;
    char *start = region_start(zone, region);
    budget_excuse(BUDGET_FILLING, HUGE_BYTES); // so that no other thread counts on the same proportion
    lock_give(&zone_lock); // what was taken of the region is ours alone now
    bool backed = region_ask(zone, start, way);
    bool locked = zone_lock_take();
    budget_unexcuse(BUDGET_FILLING, HUGE_BYTES);
    if (locked && backed)
        region_note_backed(zone, first);
    else if (locked)
        huge_note_plain(&zone->huge, region);
    else if (backed)
        huge_split(start); // nobody will know that it is one
    for (uint32_t i = first; i < end; i++)
        if (taken->words[(i - first) / 64] >> (i - first) % 64 & 1) {
            page_soil(&zone->pages[i], class, backed);
            page_return(&zone->pages[i], locked);
        }
    return locked;
}

// The zone that the next page of the kind comes from; NULL: a new one.
static zone_t *zone_to_take_from(unsigned kind)
{
    for (unsigned i = 0; i < zone_count(); i++)
        if (zones[i].kind == kind && (zones[i].dirty.count | zones[i].clean.count || zones[i].fresh < zones[i].bound))
            return &zones[i];
    return NULL;
}

// Where the next page of the kind would be the first of its region, all of that may become resident at once; and so may the
// rest of a region of which some is in use, if the heap comes back to where it was. False: the lock is not held any more.
static bool regions_back(unsigned kind, unsigned class)
{
    zone_t *zone = zone_to_take_from(kind);
    if (zone == NULL || zone->dirty.count != 0)
        return true;
    region_pages_t taken;
    region_way_t way = REGION_NEW;
    uint32_t first = unused_region(zone);
    if (first == BITSET_NONE && huge_is_return()) {
        first = partly_unused_region(zone);
        way = REGION_COLLAPSE;
    }
    if (likely(first == BITSET_NONE))
        return true;
    bool used = first < zone->fresh;
    if (way == REGION_NEW && used && huge_state(&zone->huge, first >> region_shift(zone)) != HUGE_EMPTY)
        way = REGION_AGAIN;
    // Blocks of 1 to 4 KiB are touched in each OS page, or in every second one: where such were, they need no proof of it.
    bool carved = kind < SMALL_ZONES || (kind == SMALL_ZONES && used);
    size_t before = (size_t)first << zone->shift;
    if (!huge_wanted(zone->base + before, before, carved) || !region_take(zone, first, class, &taken))
        return true;
    if (used)
        budget_regret(BUDGET_WHOLE, HUGE_BYTES >> regret_shift);
    return region_back(zone, first, class, &taken, way);
}

bool zone_has_dirty(unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++)
        if (zones[i].kind == size_class_table[class].zone && __atomic_load_n(&zones[i].dirty.count, __ATOMIC_RELAXED) != 0)
            return true;
    return false;
}

// Limited: a page whose dirty blocks count more than there is room for comes clean. If the kernel refuses even that, the
// limit is passed by less than a page.
static RARE void page_use_limited(page_t *page)
{
    size_t page_bytes = page_class(page)->page_bytes, dirty_bytes = zone_page_dirty_bytes(page);
    if (page_bytes % os_page_bytes() != 0 || !zone_purge_inside(page, page->start, page_bytes)) {
        budget_use(dirty_bytes);
        return;
    }
    page_init(page, page->class, true);
    page->purged = PURGED_WHOLE;
    budget_purged(dirty_bytes);
}

// A block that is dirty in part counts whole. So a page may count for more than it did among what is kept, where its blocks
// were smaller.
static void page_use(page_t *page)
{
    if (unlikely(!budget_take(zone_page_dirty_bytes(page))))
        page_use_limited(page);
}

page_t *zone_page_alloc(unsigned class, heap_t *owner)
{
    unsigned kind = size_class_table[class].zone;
    if (!zone_lock_take() || !regions_back(kind, class))
        return NULL;
    page_t *page = take_any(kind, class);
    if (page == NULL && zones_are_full(kind) && zone_extend(kind))
        page = take_any(kind, class);
    if (page != NULL) {
        atomic_store_explicit(&page->remote, 0, memory_order_relaxed);
        atomic_store_explicit(&page->owner, owner, memory_order_release);
    }
    lock_give(&zone_lock);
    if (page != NULL)
        page_use(page);
    return page;
}

void zone_page_free(page_t *page)
{
    assert(page_used(page) == 0);
    size_t dirty_bytes = zone_page_dirty_bytes(page);
    atomic_store_explicit(&page->owner, NULL, memory_order_relaxed);
    page->place = PAGE_FREE;
    if (zone_lock_take()) {
        page_put(page);
        lock_give(&zone_lock);
    } else {
        late_push(page);
    }
    budget_unuse(dirty_bytes);
}

// Whether the page and the one before it can be given back in one run: no run reaches into a huge page.
static bool runs_on(const zone_t *zone, uint32_t index)
{
    uint32_t region = index >> region_shift(zone), before = (index - 1) >> region_shift(zone);
    return likely(zone->huge.backed == 0) || region == before || huge_state(&zone->huge, before) == HUGE_PLAIN;
}

// Pages a whole number of which makes up OS pages.
static uint32_t pages_grain(const zone_t *zone)
{
    return (uint32_t)size_max(os_page_bytes() >> zone->shift, 1);
}

// x86's kernel flushes a range of up to 33 OS pages from the TLB one by one (tlb_single_page_flush_ceiling), a longer one at
// once. Under a hypervisor that has to do it that makes a difference of 30 times: 34 us an OS page against 1.2.
static size_t long_run_bytes(void)
{
    return 34 * os_page_bytes();
}

// A run goes on over what is clean already, if that is no more than this: one call serves both sides, and the kernel skips
// what is not there.
static const size_t bridge_most_bytes = (size_t)512 << 10;

// Where the run starts that goes on from `first` downwards over clean pages; `first` if there is no dirty one behind them.
static uint32_t bridge(const zone_t *zone, uint32_t first)
{
    uint32_t at = first;
    while (at > 0 && bitset_has(&zone->clean, at - 1) && runs_on(zone, at) &&
           ((size_t)(first - at) << zone->shift) < bridge_most_bytes)
        at--;
    return at > 0 && at < first && bitset_has(&zone->dirty, at - 1) && runs_on(zone, at) ? at - 1 : first;
}

// The first page of the run of dirty pages that ends at `last`.
static uint32_t dirty_run_first(const zone_t *zone, uint32_t last, size_t most_bytes)
{
    uint32_t first = last, before = last + 1;
    while (first != before && ((size_t)(last - first + 1) << zone->shift) < most_bytes) {
        before = first;
        if (first > 0 && bitset_has(&zone->dirty, first - 1) && runs_on(zone, first))
            first--;
        else
            first = bridge(zone, first);
    }
    return first;
}

// Takes the pages first..last out of the sets, with clean ones that share OS pages with them, cut to whole OS pages;
// *count is the run's length.
static uint32_t dirty_run_take(zone_t *zone, uint32_t first, uint32_t last, uint32_t *count)
{
    uint32_t end = last + 1, grain = pages_grain(zone);
    while (first % grain != 0 && is_free(zone, first - 1))
        first--;
    while (end % grain != 0 && end < zone->fresh && is_free(zone, end))
        end++;
    end = (uint32_t)align_down(end, grain);
    first = (uint32_t)align_up(first, grain);
    *count = end > first ? end - first : 0;
    for (uint32_t i = first; i < first + *count; i++) {
        if (bitset_has(&zone->dirty, i))
            dirty_remove(zone, i);
        else
            bitset_remove(&zone->clean, i);
    }
    return first;
}

// The pages of a run come back: clean if the kernel took their memory.
static size_t dirty_run_return(zone_t *zone, uint32_t first, uint32_t count, bool purged, bool locked)
{
    size_t bytes = 0;
    for (uint32_t i = first; i < first + count; i++) {
        page_t *page = &zone->pages[i];
        bytes += zone_page_dirty_bytes(page);
        if (purged && !page_is_small(page))
            page->dirty_bits = 0;
        if (purged) // small: nothing carved, nothing soiled
            page->clean_bits = page_is_small(page) ? 0 : bits_mask(page_class(page)->block_count);
        page_return(page, locked);
    }
    return purged ? bytes : 0;
}

// The next run to be given back, below *bound, which becomes its start: a huge page that is free whole, or a run of other
// pages of `least_bytes` or more. Of a huge page that is partly used only if `split`. *count = 0: there is nothing more.
static uint32_t purge_run_next(zone_t *zone, uint32_t *bound, size_t least_bytes, size_t most_bytes, bool split,
                               uint32_t *count)
{
    for (uint32_t last; (last = bitset_below(&zone->dirty, *bound)) != BITSET_NONE;) {
        uint32_t region = last >> region_shift(zone), each = zone->huge.pages_each;
        size_t most = most_bytes;
        if (unlikely(zone->huge.backed != 0) && huge_is_idle(&zone->huge, region)) {
            huge_note_empty(&zone->huge, region);
            most = HUGE_BYTES;
        } else if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, region) != HUGE_PLAIN) {
            *bound = region * each;
            if (!split)
                continue;
            region_split(zone, region);
        }
        uint32_t first = dirty_run_first(zone, last, most);
        if ((size_t)(last - first + 1) << zone->shift < least_bytes) {
            *bound = first;
            continue;
        }
        first = dirty_run_take(zone, first, last, count);
        *bound = *count == 0 ? last : first;
        if (*count != 0)
            return first;
    }
    *count = 0;
    return 0;
}

static size_t zone_purge_one(zone_t *zone, size_t bytes, size_t least_bytes, bool split)
{
    size_t purged = 0;
    if (!zone_lock_take())
        return 0;
    for (uint32_t bound = zone->fresh, count; purged < bytes;) {
        size_t most_bytes = size_max(bytes - purged, least_bytes);
        uint32_t first = purge_run_next(zone, &bound, least_bytes, most_bytes, split, &count);
        if (count == 0)
            break;
        lock_give(&zone_lock); // the run is ours alone now
        bool done = os_purge(zone->base + ((size_t)first << zone->shift), (size_t)count << zone->shift);
        bool locked = zone_lock_take();
        purged += dirty_run_return(zone, first, count, done, locked);
        if (!locked)
            return purged;
    }
    lock_give(&zone_lock);
    return purged;
}

static size_t zones_purge(size_t bytes, size_t least_bytes, bool split)
{
    size_t purged = 0;
    for (unsigned i = zone_count(); i-- > 0 && purged < bytes;)
        purged += zone_purge_one(&zones[i], bytes - purged, least_bytes, split);
    if (purged != 0)
        budget_purged(purged);
    return purged;
}

size_t zone_purge_long(size_t bytes)
{
    return zones_purge(bytes, long_run_bytes(), false);
}

size_t zone_purge_whole(size_t bytes)
{
    return zones_purge(bytes, 0, false);
}

size_t zone_purge(size_t bytes)
{
    size_t purged = zone_purge_whole(bytes);
    return purged < bytes ? purged + zones_purge(bytes - purged, 0, true) : purged;
}

bool zone_purge_inside(const page_t *page, void *from, size_t bytes)
{
    zone_t *zone = &zones[page->zone];
    uint32_t region = (uint32_t)(page - zone->pages) >> region_shift(zone);
    if (unlikely(huge_state(&zone->huge, region) != HUGE_PLAIN)) {
        if (!zone_lock_take())
            return false;
        region_split(zone, region);
        lock_give(&zone_lock);
    }
    return os_purge(from, bytes);
}

// --- when memory is refused ------------------------------------------------------------------------------------------
//
// What is committed counts as data for RLIMIT_DATA, and as promised where the kernel overcommits nothing, resident or
// not; what is reserved counts for RLIMIT_AS. So what one kind of zone keeps clean another could not have.

// Shorter runs are left alone: each can cost the process two mappings, of 65,530.
static const size_t withdraw_least_bytes = (size_t)64 << 10;
static const unsigned withdraw_runs_most = 4096;

static size_t pages_withdraw(zone_t *zone, uint32_t first, uint32_t end)
{
    char *start = zone->base + ((size_t)first << zone->shift);
    size_t bytes = (size_t)(end - first) << zone->shift;
    for (uint32_t i = first; zone->huge.backed != 0 && i < end; i++)
        if (huge_state(&zone->huge, i >> region_shift(zone)) != HUGE_PLAIN)
            region_split(zone, i >> region_shift(zone));
    if (first >= end || !os_withdraw(start, bytes))
        return 0;
    os_no_huge_pages(start, bytes);
    os_name(start, bytes, zone_name(zone)); // else it would not merge with its neighbours
    return bytes;
}

static bool is_committed_clean(const zone_t *zone, uint32_t index)
{
    return index < zone->fresh && bitset_has(&zone->clean, index) && zone->pages[index].place != PAGE_WITHDRAWN;
}

// The run of clean pages from `first` on, cut to whole OS pages; *end is the first page behind all of it.
static size_t clean_run_withdraw(zone_t *zone, uint32_t first, uint32_t *end)
{
    uint32_t grain = pages_grain(zone), last = first;
    while (is_committed_clean(zone, last))
        last++;
    *end = (uint32_t)size_max(last, first + 1);
    first = (uint32_t)align_up(first, grain);
    last = (uint32_t)align_down(last, grain);
    if (first >= last || (size_t)(last - first) << zone->shift < withdraw_least_bytes)
        return 0;
    size_t bytes = pages_withdraw(zone, first, last);
    for (uint32_t i = first; bytes != 0 && i < last; i++)
        zone->pages[i].place = PAGE_WITHDRAWN;
    return bytes;
}

static size_t zone_withdraw_one(zone_t *zone)
{
    size_t total = 0;
    uint32_t fresh = (uint32_t)align_up(zone->fresh, pages_grain(zone)), end;
    size_t ahead = pages_withdraw(zone, fresh, zone->committed);
    if (ahead != 0)
        atomic_store_explicit(&zone->committed, fresh, memory_order_release);
    uint32_t at = bitset_lowest(&zone->clean);
    for (unsigned runs = 0; at != BITSET_NONE && runs < withdraw_runs_most; at = bitset_next(&zone->clean, end)) {
        size_t bytes = clean_run_withdraw(zone, at, &end);
        runs += bytes != 0;
        total += bytes;
    }
    return total + ahead;
}

size_t zone_withdraw(void)
{
    size_t total = 0;
    if (!zone_lock_take())
        return 0;
    for (unsigned i = 0; i < zone_count(); i++)
        total += zone_withdraw_one(&zones[i]);
    lock_give(&zone_lock);
    return total;
}

// Some more than the one that is wanted, so that not each costs a system call.
static bool withdrawn_commit(zone_t *zone, uint32_t index)
{
    uint32_t grain = pages_grain(zone), first = (uint32_t)align_down(index, grain), end = first + grain;
    uint32_t most = first + (uint32_t)size_max(commit_least_bytes >> zone->shift, grain), least = end;
    while (end < most && end < zone->fresh && zone->pages[end].place == PAGE_WITHDRAWN)
        end++;
    end = (uint32_t)align_down(end, grain);
    char *start = zone->base + ((size_t)first << zone->shift);
    if (!os_commit(start, (size_t)(end - first) << zone->shift)) {
        end = least;
        if (!os_commit(start, (size_t)(end - first) << zone->shift))
            return false;
    }
    for (uint32_t i = first; i < end; i++)
        zone->pages[i].place = PAGE_FREE;
    return true;
}

// Nothing of it is used, so no pointer of the program's leads here.
static size_t zone_leave(zone_t *zone)
{
    size_t bytes = (size_t)zone->bound << zone->shift;
    if (zone->base == NULL || zone->clean.count + zone->guards != zone->fresh)
        return 0;
    zone_later_t *later = &zones_later[zone->index];
    atomic_fetch_add_explicit(&later->generation, 1, memory_order_relaxed);
    atomic_store_explicit(&later->fresh, 0, memory_order_release);
    os_unmap(zone->base, bytes);
    os_unmap(zone->dirty.level[0], zone->meta_bytes); // its metadata starts there
    *zone = (zone_t){.index = zone->index};
    return bytes;
}

size_t zone_leave_empty(void)
{
    size_t total = 0;
    if (!zone_lock_take())
        return 0;
    if (zones_staying == 0)
        for (unsigned i = (unsigned)zone_first_count; i < zone_count(); i++)
            total += zone_leave(&zones[i]);
    lock_give(&zone_lock);
    return total;
}

static void staying_add(unsigned count)
{
    bool locked = zone_lock_take(); // a zone being left is left whole before, or after
    zones_staying += count;
    if (locked)
        lock_give(&zone_lock);
}

void zone_stay_begin(void)
{
    staying_add(1);
}

void zone_stay_end(void)
{
    staying_add(-1u);
}

// A zone may be left, and its place be taken by another one, while this looks at it. Neither can be the one that a live
// block is in: that was there before, and stays. So what changed meanwhile is passed over.
page_t *zone_page_of_later(const void *address)
{
    unsigned count = zone_count();
    for (unsigned i = (unsigned)zone_first_count; i < count; i++) {
        zone_later_t *later = &zones_later[i];
        uint32_t generation = atomic_load_explicit(&later->generation, memory_order_acquire);
        uint32_t fresh = atomic_load_explicit(&later->fresh, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&later->base, memory_order_acquire);
        size_t index = ((uintptr_t)address - base) >> atomic_load_explicit(&later->shift, memory_order_acquire);
        page_t *pages = atomic_load_explicit(&later->pages, memory_order_acquire);
        if (index < fresh && atomic_load_explicit(&later->generation, memory_order_relaxed) == generation)
            return &pages[index];
    }
    return NULL;
}
