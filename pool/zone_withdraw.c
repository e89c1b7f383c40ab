// pool/zone_withdraw.c - see zone_withdraw.h.
#include "zone_withdraw.h"

#include "os_linux.h"
#include "zone_region.h"
#include "zone_sets.h"

// Shorter runs are left alone: each can cost the process two mappings (WITHDRAW_RUNS_MOST).
static const size_t withdraw_least_bytes = (size_t)64 << 10;

static size_t pages_withdraw(zone_t *zone, uint32_t first, uint32_t end)
{
    char *start = zone->base + ((size_t)first << zone->shift);
    size_t bytes = (size_t)(end - first) << zone->shift;
    for (uint32_t i = first; zone->huge.backed != 0 && i < end; i++)
        if (huge_state(&zone->huge, i >> zone_region_shift(zone)) != HUGE_PLAIN)
            zone_region_split(zone, i >> zone_region_shift(zone));
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
    uint32_t grain = zone_grain(zone), last = first;
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
    uint32_t fresh = (uint32_t)align_up(zone->fresh, zone_grain(zone)), end;
    size_t ahead = pages_withdraw(zone, fresh, zone->committed);
    if (ahead != 0)
        atomic_store_explicit(&zone->committed, fresh, memory_order_release);
    uint32_t at = bitset_lowest(&zone->clean);
    for (unsigned runs = 0; at != BITSET_NONE && runs < WITHDRAW_RUNS_MOST; at = bitset_next(&zone->clean, end)) {
        size_t bytes = clean_run_withdraw(zone, at, &end);
        runs += bytes != 0;
        total += bytes;
    }
    return total + ahead;
}

size_t zone_withdraw(void)
{
    size_t total = 0;
    if (!zone_sets_lock())
        return 0;
    for (unsigned i = 0; i < zone_count(); i++)
        total += zone_withdraw_one(&zones[i]);
    lock_give(&zone_lock);
    return total;
}

bool zone_withdrawn_commit(zone_t *zone, uint32_t index)
{
    uint32_t grain = zone_grain(zone), first = (uint32_t)align_down(index, grain), end = first + grain;
    uint32_t most = first + (uint32_t)size_max(ZONE_COMMIT_LEAST_BYTES >> zone->shift, grain), least = end;
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
