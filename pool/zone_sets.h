// pool/zone_sets.h - the pages of a zone that nobody owns, as two sets: dirty (resident, in part at least) and clean (given back).
//
//   below fresh: free pages | dirty + clean |  owned pages, mosaics, guards: in neither
//
// What is dirty counts as kept (budget_retain), and, in a huge page, in the books of its region (huge.h). A page that comes
// back while a fork holds the lock waits in a list without one, until the lock is taken again.
#ifndef TARN_ZONE_SETS_H
#define TARN_ZONE_SETS_H

#include "zone.h"

// Takes LOCK_ZONES (zone_lock), and puts what waited for it into the sets. False: as lock_take. lock_give gives it back.
bool zone_sets_lock(void);
// A page joins the sets, by what its descriptor says is resident of it. Its place is not PAGE_GUARD. [LOCK_ZONES]
void zone_sets_put(page_t *page);
// The same, or when the lock is taken next. locked: zone_sets_lock gave the caller the lock.
void zone_sets_return(page_t *page, bool locked);
// A dirty page leaves the sets. [LOCK_ZONES]
void zone_sets_remove_dirty(zone_t *zone, uint32_t index);

// Pages that are neither free nor guards; and for a moment those of a region that is asked for, or of a run that is given back.
// [LOCK_ZONES]
static inline uint32_t zone_sets_owned(const zone_t *zone)
{
    return zone->fresh - zone->dirty.count - zone->clean.count - zone->guards;
}

// Whether the page is free. [LOCK_ZONES]
static inline bool zone_sets_has(const zone_t *zone, uint32_t index)
{
    return bitset_has(&zone->dirty, index) || bitset_has(&zone->clean, index);
}

#endif
