// pool/large_huge.h - large blocks ask for huge pages: with huge=on those of 1.5 MiB and more, else those of 32 MiB and more
// that are full when they grow (huge.h).
//
//   huge pages   |               |               |               |               |
//   extents      | live, 1.75 MiB| live, 4.5 MiB                     |   | live, 3 MiB ...
//                 one, whole      two, and what is left by 4 KiB
//
// A new extent for one begins where a huge page does, and all of it asks (extent_t.huge), so that it stays one mapping, which can
// be moved (mremap). It goes on to ask until its addresses are mapped anew: when it is given back, or cut off behind a block that
// shrank. A shorter block there would else make 2 MiB resident, of which most is free. Where no more than a third of the
// block would lie unused, the extent has all of the last huge page; none reaches beyond its extent, so the books need no
// further rule: what is behind a block is its tail. Where the kernel gives no huge pages, which with huge=on it is asked once, and
// seldom again, extents are as without. Everything is [LOCK_LARGE] unless said otherwise.
#ifndef TARN_LARGE_HUGE_H
#define TARN_LARGE_HUGE_H

#include "extent.h"

// Whether a new block of so many bytes is to ask: its extent begins where a huge page does. No lock is needed.
bool large_huge_suits(size_t bytes);
// Whether the block in the extent is to ask, or goes on to, when it becomes so long.
bool large_huge_suits_resized(const extent_t *extent, size_t bytes);
// How many grains an extent gets for one that needs so many. start: NULL if it is to begin where a huge page does. No lock is needed.
size_t large_huge_grains(const char *start, size_t grains);
// Such a block is in the extent, which is not a mapping of its own outside the range.
void large_huge_ask(extent_t *extent, size_t bytes);

#endif
