// pool/zone_purge.c - see zone_purge.h.
#include "zone_purge.h"

#include "budget.h"
#include "os_linux.h"
#include "zone_region.h"
#include "zone_sets.h"

// Whether the page and the one before it can be given back in one run: no run reaches into a huge page.
static bool runs_on(const zone_t *zone, uint32_t index)
{
    uint32_t region = index >> zone_region_shift(zone), before = (index - 1) >> zone_region_shift(zone);
    return likely(zone->huge.backed == 0) || region == before || huge_state(&zone->huge, before) == HUGE_PLAIN;
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
    uint32_t end = last + 1, grain = zone_grain(zone);
    while (first % grain != 0 && zone_sets_has(zone, first - 1))
        first--;
    while (end % grain != 0 && end < zone->fresh && zone_sets_has(zone, end))
        end++;
    end = (uint32_t)align_down(end, grain);
    first = (uint32_t)align_up(first, grain);
    *count = end > first ? end - first : 0;
    for (uint32_t i = first; i < first + *count; i++) {
        if (bitset_has(&zone->dirty, i))
            zone_sets_remove_dirty(zone, i);
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
        bytes += page_dirty_bytes(page);
        if (purged && !page_is_small(page))
            page->dirty_bits = 0;
        if (purged) // small: nothing carved, nothing soiled
            page->clean_bits = page_is_small(page) ? 0 : bits_mask(page_class(page)->block_count);
        zone_sets_return(page, locked);
    }
    return purged ? bytes : 0;
}

// The next run to be given back, below *bound, which becomes its start: a huge page that is free whole, or a run of other
// pages of `least_bytes` or more. Of a huge page that is partly used only if `split`. *count = 0: there is nothing more.
static uint32_t purge_run_next(zone_t *zone, uint32_t *bound, size_t least_bytes, size_t most_bytes, bool split,
                               uint32_t *count)
{
    for (uint32_t last; (last = bitset_below(&zone->dirty, *bound)) != BITSET_NONE;) {
        uint32_t region = last >> zone_region_shift(zone), each = zone->huge.pages_each;
        size_t most = most_bytes;
        if (unlikely(zone->huge.backed != 0) && huge_is_idle(&zone->huge, region)) {
            huge_note_empty(&zone->huge, region);
            most = HUGE_BYTES;
        } else if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, region) != HUGE_PLAIN) {
            *bound = region * each;
            if (!split)
                continue;
            zone_region_split(zone, region);
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
    if (!zone_sets_lock())
        return 0;
    if (zone_sets_owned(zone) > zone->owned_peak / 2)
        zone->owned_peak_ms = os_now_ms();
    for (uint32_t bound = zone->fresh, count; purged < bytes;) {
        size_t most_bytes = size_max(bytes - purged, least_bytes);
        uint32_t first = purge_run_next(zone, &bound, least_bytes, most_bytes, split, &count);
        if (count == 0)
            break;
        lock_give(&zone_lock); // the run is ours alone now
        bool done = os_purge(zone->base + ((size_t)first << zone->shift), (size_t)count << zone->shift);
        bool locked = zone_sets_lock();
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
    uint32_t region = (uint32_t)(page - zone->pages) >> zone_region_shift(zone);
    if (unlikely(huge_state(&zone->huge, region) != HUGE_PLAIN)) {
        if (!zone_sets_lock())
            return false;
        zone_region_split(zone, region);
        lock_give(&zone_lock);
    }
    return os_purge(from, bytes);
}
