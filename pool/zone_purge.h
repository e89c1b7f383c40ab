// pool/zone_purge.h - free pages' memory goes back to the kernel, in runs from the highest address down; addresses are kept.
//
//   | used | clean | dirty | dirty | used | dirty | clean | dirty | fresh ->
//                    '- 2nd run --'          '------ 1st run ------'
//
// A run goes on over what is clean already: one call serves both sides. It is taken out of the sets, given back without the
// lock, and comes back clean; dirty, if the kernel refused. Thread safe.
#ifndef TARN_ZONE_PURGE_H
#define TARN_ZONE_PURGE_H

#include "zone.h"

// Gives free pages' memory back, highest addresses first, until `bytes` are purged or none is left. Returns the bytes.
// Huge pages that are free whole go whole. Those that are partly used: not at all, or, if need be, in part. long: only
// runs that are cheap for their length.
size_t zone_purge_long(size_t bytes);
size_t zone_purge_whole(size_t bytes);
size_t zone_purge(size_t bytes);
// os_purge for a part of a page that its owner keeps: a huge page it lies in is split first.
bool zone_purge_inside(const page_t *page, void *from, size_t bytes);

#endif
