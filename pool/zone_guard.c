// pool/zone_guard.c - see zone_guard.h.
#include "zone_guard.h"

#include "misuse.h"
#include "os_linux.h"

// What runs on and on over blocks' ends meets one. Where a guard is a mark in the page table, it costs addresses alone: a
// sixteenth. Where it splits the mapping, it costs two of the 65,530 that a process may have, so groups are 1 MiB at least:
// 20,480 mappings for a heap of 10 GiB, 30,000 for large blocks (large_direct.c), 512 for traps. Beyond guards_most there are none.
static const uint32_t group_pages = 16;
static const size_t group_split_bytes = (size_t)1 << 20;
static const unsigned guards_most = 12000;
static unsigned guards_split; // [LOCK_ZONES]

static uint32_t pages_a_group(const zone_t *zone)
{
    return os_guard_splits() ? (uint32_t)size_max(group_split_bytes >> zone->shift, group_pages) : group_pages;
}

bool zone_guard_is_due(const zone_t *zone)
{
    uint32_t group = pages_a_group(zone);
    return harden_level >= HARDEN_GUARDS && zone->fresh % group == group - 1 && guards_split < guards_most &&
           zone->index < zone_first_count && (size_t)1 << zone->shift >= os_page_bytes() &&
           os_address_limit_bytes() == SIZE_MAX;
}

bool zone_guard_place(zone_t *zone)
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
    zone_fresh_set(zone, index + 1);
    return true;
}
