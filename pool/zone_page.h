// pool/zone_page.h - a page of the zones for whoever wants one, and its way back.
//
//   get:   dirty, the lowest address first, rather of the same class; else clean, else fresh; else another zone of the kind
//   free:  into the set that it belongs to (zone_sets.h)
//
// What is resident goes first, so that nothing is touched that need not be. The page's bytes count as used from here on
// (budget.h). Thread safe.
#ifndef TARN_ZONE_PAGE_H
#define TARN_ZONE_PAGE_H

#include "zone.h"

// Whether a page of the class would be one that is resident already. Read without the lock: about.
bool zone_has_dirty(unsigned class);
// The same, and it has been used: no page of the kind is resident ahead of its use, in a huge one.
bool zone_has_dirty_left(unsigned class);
// A page for blocks of `class` (1..CLASS_COUNT - 1), initialised, with owner. NULL: no memory.
page_t *zone_page_alloc(unsigned class, heap_t *owner);
// Takes back an empty page. Its owner's lists must have forgotten it.
void zone_page_free(page_t *page);

#endif
