// pool/zone_page.c - see zone_page.h.
#include "zone_page.h"

#include <assert.h>

#include "budget.h"
#include "misuse.h"
#include "os_linux.h"
#include "zone_guard.h"
#include "zone_purge.h"
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

static page_t *take_dirty(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    zone_sets_remove_dirty(zone, index);
    uint64_t clean = zone->kind < SMALL_ZONES ? 0 : clean_bits_after(page, class);
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

static page_t *take_any(unsigned kind, unsigned class)
{
    for (unsigned i = 0; i < zone_count(); i++) {
        page_t *page = zones[i].kind == kind ? take_from(&zones[i], class) : NULL;
        if (page != NULL)
            return page;
    }
    return NULL;
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
    size_t page_bytes = page_class(page)->page_bytes, dirty_bytes = page_dirty_bytes(page);
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
    if (unlikely(!budget_take(page_dirty_bytes(page))))
        page_use_limited(page);
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
    if (page != NULL)
        page_use(page);
    return page;
}

void zone_page_free(page_t *page)
{
    assert(page_used(page) == 0);
    size_t dirty_bytes = page_dirty_bytes(page);
    atomic_store_explicit(&page->owner, NULL, memory_order_relaxed);
    page->place = PAGE_FREE;
    if (zone_sets_lock()) {
        zone_sets_put(page);
        lock_give(&zone_lock);
    } else {
        zone_sets_put_late(page);
    }
    budget_unuse(dirty_bytes);
}
