// pool/zone_withdraw.h - when memory is refused: what is clean is reserved only, so that others can have it.
//
// What is committed counts as data for RLIMIT_DATA, and as promised where the kernel overcommits nothing, resident or
// not; what is reserved counts for RLIMIT_AS. So what one kind of zone keeps clean another could not have. A page that was
// withdrawn stays in the set of clean ones, its place is PAGE_WITHDRAWN, and it is committed before it is used again.
#ifndef TARN_ZONE_WITHDRAW_H
#define TARN_ZONE_WITHDRAW_H

#include "zone.h"

// Clean pages, and those that were committed ahead of need. Returns the bytes. Thread safe.
RARE size_t zone_withdraw(void);
// The page is committed again; and some more behind it, so that not each costs a system call. False: no memory. [LOCK_ZONES]
RARE bool zone_withdrawn_commit(zone_t *zone, uint32_t index);

#endif
