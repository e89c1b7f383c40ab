// pool/zone_region.h - which regions of a zone become huge pages, and when: huge.h says whether, this one which.
//
// Where the next page of a kind would be the first of its region, all of the region may become resident at once; and so may
// the rest of a region of which some is in use, if the heap comes back to where it was. Meanwhile its free pages are in no
// set: they are this file's alone, and the kernel works without the lock.
#ifndef TARN_ZONE_REGION_H
#define TARN_ZONE_REGION_H

#include "zone.h"

// Before a page for blocks of `class` is taken from the zones of `kind`: backs its region if that is due. The lock
// (zone_sets_lock) is held before; false: it is not held any more, since a fork took it.
bool zone_regions_back(unsigned kind, unsigned class);
// The region is no huge page any more: what is resident of it stays so. [LOCK_ZONES]
void zone_region_split(zone_t *zone, uint32_t region);

#endif
