// pool/zone_page.c - see zone_page.h.
#include "zone_page.h"

#include <assert.h>

#include "budget.h"
#include "misuse.h"
#include "zone_guard.h"
#include "zone_region.h"
#include "zone_sets.h"
#include "zone_withdraw.h"

static const unsigned same_class_tries = 8;

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

static size_t dirty_bytes_after(const page_t *page, unsigned class, uint64_t clean)
{
    const size_class_t *info = &size_class_table[class];
    return page_is_small(page) ? page_dirty_bytes(page)
                               : (size_t)(info->block_count - bits_count(clean)) * info->block_bytes;
}

// A block that is dirty in part counts whole. So a page may count for more than it does among what is kept, where its
// blocks are smaller. NULL: there is no room for that under the limit.
static APART page_t *take_dirty(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    uint64_t clean = zone->kind < SMALL_ZONES ? 0 : clean_bits_after(page, class);
    if (unlikely(!budget_reuse(page_dirty_bytes(page), dirty_bytes_after(page, class, clean))))
        return NULL;
    zone_sets_remove_dirty(zone, index);
    page_init(page, class, false);
    if (zone->kind >= SMALL_ZONES) {
        page->clean_bits = clean;
        page->dirty_bits &= ~clean;
    }
    return page;
}

static page_t *take_clean(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, index >> zone_region_shift(zone)) != HUGE_PLAIN)
        zone_region_split(zone, index >> zone_region_shift(zone)); // else its first touch would fill all of it
    if (unlikely(page->place == PAGE_WITHDRAWN) && !zone_withdrawn_commit(zone, index))
        return NULL;
    bitset_remove(&zone->clean, index);
    page_init(page, class, true);
    page->purged = PURGED_WHOLE;
    return page;
}

static page_t *take_fresh(zone_t *zone, unsigned class)
{
    if (zone->fresh >= zone->committed && !zone_commit_more(zone))
        return NULL;
    if (zone->fresh >= zone->committed) // one page came, and it is page 0 of zone 0
        return NULL;
    if (unlikely(harden_level >= HARDEN_GUARDS) && zone_guard_is_due(zone) && zone_guard_place(zone))
        return take_fresh(zone, class); // which is not one
    uint32_t index = zone->fresh;
    page_t *page = zone_fresh_begin(zone, index, class);
    zone_fresh_set(zone, index + 1);
    return page;
}

static page_t *take_from(zone_t *zone, unsigned class)
{
    page_t *page = zone->dirty.count == 0 ? NULL : take_dirty(zone, dirty_pick(zone, class), class);
    if (likely(page != NULL))
        return page;
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

static page_t *take_any(unsigned kind, unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++) {
        page_t *page = zones[i].kind == kind ? take_from(&zones[i], class) : NULL;
        if (page != NULL) {
            zones[i].owned_peak = (uint32_t)size_max(zones[i].owned_peak, zone_sets_owned(&zones[i]));
            return page;
        }
    }
    return NULL;
}

// Asked to choose where blocks come from: any answer of the last moment will do.
static GLANCES bool zone_is_dirty(const zone_t *zone, unsigned class)
{
    return zone->kind == size_class_table[class].zone && __atomic_load_n(&zone->dirty.count, __ATOMIC_RELAXED) != 0;
}

bool zone_has_dirty(unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++)
        if (zone_is_dirty(&zones[i], class))
            return true;
    return false;
}

GLANCES bool zone_has_dirty_left(unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++)
        if (zone_is_dirty(&zones[i], class) && __atomic_load_n(&zones[i].huge.backed, __ATOMIC_RELAXED) == 0)
            return true;
    return false;
}

page_t *zone_page_alloc(unsigned class, heap_t *owner)
{
    unsigned kind = size_class_table[class].zone;
    if (!zone_sets_lock() || !zone_regions_back(kind, class))
        return NULL;
    page_t *page = take_any(kind, class);
    if (page == NULL && zones_are_full(kind) && zone_extend(kind))
        page = take_any(kind, class);
    if (page != NULL) {
        atomic_store_explicit(&page->remote, 0, memory_order_relaxed);
        atomic_store_explicit(&page->owner, owner, memory_order_release);
    }
    lock_give(&zone_lock);
    return page;
}

void zone_page_free(page_t *page)
{
    assert(page_used(page) == 0);
    size_t dirty_bytes = page_dirty_bytes(page);
    atomic_store_explicit(&page->owner, NULL, memory_order_relaxed);
    page->place = PAGE_FREE;
    bool locked = zone_sets_lock();
    zone_sets_return(page, locked);
    if (locked)
        lock_give(&zone_lock);
    budget_unuse(dirty_bytes);
}
