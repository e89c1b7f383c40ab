// pool/zone_leave.h - zones that were added since the start are left when none of their pages is in use; and how to keep them.
//
// Where addresses are scarce, what one kind of zone holds another could have. The zones of the start stay. Thread safe.
#ifndef TARN_ZONE_LEAVE_H
#define TARN_ZONE_LEAVE_H

#include "zone.h"

// When addresses are refused: gives those of zones that were added and hold no used page back. Returns the bytes.
RARE size_t zone_leave_empty(void);
// Between the two no zone is left, so that descriptors of all zones can be read without the lock. They may be nested.
RARE void zone_stay_begin(void);
RARE void zone_stay_end(void);

#endif
