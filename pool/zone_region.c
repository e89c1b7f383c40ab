// pool/zone_region.c - see zone_region.h.
#include "zone_region.h"

#include "budget.h"
#include "os_linux.h"
#include "zone_sets.h"

// To have a huge page again costs about an eighth of what 512 small ones do: so much less is it to be regretted.
static const unsigned regret_shift = 3;

static char *region_start(const zone_t *zone, uint32_t region)
{
    return zone->base + ((size_t)region << HUGE_SHIFT);
}

void zone_region_split(zone_t *zone, uint32_t region)
{
    huge_note_plain(&zone->huge, region);
    huge_split(region_start(zone, region));
}

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

// To fill half a region by touching it takes 500 us, to collapse it 240: what is in use is copied, and all else cleared. But more
// becomes resident by a collapse than by touching, if the zone does not come so far: an eighth may be in use where that is not known.
static const unsigned collapse_used_shift = 1, collapse_used_shift_unsure = 3;

static uint32_t unused_in(const zone_t *zone, uint32_t first)
{
    uint32_t end = first + zone->huge.pages_each, fresh = end > zone->fresh ? end - zone->fresh : 0;
    return bitset_count_in(&zone->clean, first, end) + fresh;
}

// The first page of the region of the zone's next page, if that is no huge one and half of it at most is in use, though not
// all; else BITSET_NONE. When no page is dirty: so what is not clean is in use. (Where a heap comes back, its next page was in
// use before.)
static APART uint32_t partly_unused_region(const zone_t *zone)
{
    uint32_t lowest = zone->clean.count == 0 && huge_is_on() ? zone->fresh : bitset_lowest(&zone->clean);
    uint32_t each = zone->huge.pages_each, first = lowest & ~(each - 1);
    if (zone->huge.region == NULL || lowest == BITSET_NONE || zone->bound - first < each || zone->guards != 0 ||
        huge_state(&zone->huge, first >> zone_region_shift(zone)) != HUGE_PLAIN)
        return BITSET_NONE;
    uint32_t end = first + each, fresh = end > zone->fresh ? end - zone->fresh : 0;
    if (unused_in(zone, first) < each - (each >> collapse_used_shift))
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
static APART bool region_take(zone_t *zone, uint32_t first, unsigned class, region_pages_t *taken)
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
            zone_fresh_begin(zone, i, class)->place = PAGE_FREE;
        taken->words[(i - first) / 64] |= (uint64_t)1 << (i - first) % 64;
    }
    if (end > zone->fresh)
        zone_fresh_set(zone, end);
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
    huge_note_backed(&zone->huge, first >> zone_region_shift(zone));
    for (uint32_t i = first; i < first + zone->huge.pages_each; i++) {
        if (!zone_sets_has(zone, i) || zone->pages[i].place == PAGE_WITHDRAWN)
            continue;
        size_t dirty_bytes = page_dirty_bytes(&zone->pages[i]);
        bitset_remove(dirty_bytes != 0 ? &zone->dirty : &zone->clean, i);
        budget_release(dirty_bytes);
        zone_sets_put(&zone->pages[i]);
    }
}

// The lock is held before, and afterwards if true.
static APART bool region_back(zone_t *zone, uint32_t first, unsigned class, const region_pages_t *taken, region_way_t way)
{
    uint32_t region = first >> zone_region_shift(zone), end = first + zone->huge.pages_each;
    char *start = region_start(zone, region);
    budget_excuse(BUDGET_FILLING, HUGE_BYTES); // so that no other thread counts on the same proportion
    lock_give(&zone_lock); // what was taken of the region is ours alone now
    bool backed = region_ask(zone, start, way);
    bool locked = zone_sets_lock();
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
            zone_sets_return(&zone->pages[i], locked);
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

static const uint32_t class_pages_looked_at = 64; // more than that zone has classes
static const size_t class_free_from_bytes = 8 * HUGE_BYTES; // what is 12 % of the heap is not looked at so closely

static const uint64_t peak_ms = 1000; // a step down of the peak, as of the heap's

static uint32_t owned_peak(zone_t *zone, uint32_t owned)
{
    uint64_t now_ms = os_now_ms(), seconds = (now_ms - zone->owned_peak_ms) / peak_ms;
    if (seconds != 0)
        zone->owned_peak_ms = now_ms;
    zone->owned_peak = (uint32_t)budget_peak_sunk(zone->owned_peak, owned, seconds);
    return zone->owned_peak;
}

// Where a zone stands on the way back to where it was: it will use all of what is unused in a region; it will be there before;
// or it is there, and grows beyond.
typedef enum zone_way { ZONE_RETURNS, ZONE_ARRIVES, ZONE_GROWS } zone_way_t;

static zone_way_t zone_way(zone_t *zone, uint32_t unused)
{
    uint32_t owned = zone_sets_owned(zone), peak = owned_peak(zone, owned);
    if (owned + unused <= peak)
        return ZONE_RETURNS;
    return owned < peak ? ZONE_ARRIVES : ZONE_GROWS;
}

// huge=on, where a page is a huge one: blocks of its class lie already in one of the pages before, or did. A small program that
// has a block or two of each size would else hold 2 MiB for each.
static bool is_class_of_many(const zone_t *zone, uint32_t first, unsigned class)
{
    uint32_t from = first < class_pages_looked_at ? 0 : first - class_pages_looked_at;
    for (uint32_t i = from; i <= first && i < zone->fresh; i++)
        if (zone->pages[i].class == class)
            return true;
    return false;
}

// The region that begins at page `first` is backed if it is in proportion. As zone_regions_back.
static APART bool region_consider(zone_t *zone, uint32_t first, unsigned class, region_way_t way)
{
    region_pages_t taken;
    bool used = first < zone->fresh;
    uint32_t each = zone->huge.pages_each, unused = unused_in(zone, first);
    zone_way_t zone_is = zone_way(zone, unused);
    if (zone_is == ZONE_ARRIVES && huge_is_return())
        return true;
    if (each == 1 && budget_used() < class_free_from_bytes && !is_class_of_many(zone, first, class))
        return true;
    if (zone_is != ZONE_RETURNS && way == REGION_COLLAPSE && !huge_is_on() && unused < each - (each >> collapse_used_shift_unsure))
        return true;
    if (way == REGION_NEW && used && huge_state(&zone->huge, first >> zone_region_shift(zone)) != HUGE_EMPTY)
        way = REGION_AGAIN;
    // Blocks of 1 to 4 KiB are touched in each OS page, or in every second one: where such were, they need no proof of it.
    bool carved = zone->kind < SMALL_ZONES || (zone->kind == SMALL_ZONES && used);
    size_t before = (size_t)first << zone->shift;
    if (!huge_wanted(zone->base + before, before, carved, zone_is == ZONE_RETURNS) || !region_take(zone, first, class, &taken))
        return true;
    bool locked = region_back(zone, first, class, &taken, way);
    if (used && huge_state(&zone->huge, first >> zone_region_shift(zone)) == HUGE_RESIDENT) // else its pages are, one by one
        budget_regret(BUDGET_WHOLE, HUGE_BYTES >> regret_shift);
    return locked;
}

bool zone_regions_back(unsigned kind, unsigned class)
{
    zone_t *zone = zone_to_take_from(kind);
    if (zone == NULL || zone->dirty.count != 0)
        return true;
    region_way_t way = REGION_NEW;
    uint32_t first = unused_region(zone);
    if (first == BITSET_NONE && huge_may_collapse()) {
        first = partly_unused_region(zone);
        way = REGION_COLLAPSE;
    }
    return likely(first == BITSET_NONE) || likely(!huge_may_be_wanted()) || region_consider(zone, first, class, way);
}
