// pool/zone_guard.h - guards between groups of pages (level 2): the last page of each cannot be accessed.
//
//   zone   | page | page | ... | guard | page | page | ... | guard | ...
//
// What runs on and on over blocks' ends meets one (decision 024). A guard is never used, and never comes to be.
// All of it [LOCK_ZONES].
#ifndef TARN_ZONE_GUARD_H
#define TARN_ZONE_GUARD_H

#include "zone.h"

// The level from which on of each group of pages the last is a guard.
#define HARDEN_GUARDS 2

// Whether the next fresh page is to be one. Not where addresses are scarce, nor where an OS page is more than one of the zone's.
bool zone_guard_is_due(const zone_t *zone);
// The next fresh page, which is committed, becomes one. False: the kernel does not do it, and the page can be used.
bool zone_guard_place(zone_t *zone);

#endif
