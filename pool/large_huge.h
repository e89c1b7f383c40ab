// pool/large_huge.h - large blocks ask for huge pages, with huge=on: those of 1.5 MiB and more.
//
//   huge pages   |               |               |               |               |
//   extents      | live, 1.75 MiB| live, 4.5 MiB                     |   | live, 3 MiB ...
//                 one, whole      two, and what is left by 4 KiB
//
// Their extents begin where a huge page does, and all of an extent asks, so that it stays one mapping, which can be moved
// (mremap). What is given back asks no more: a shorter block there would else make 2 MiB resident, of which most is free. Where
// no more than a third of the block would lie unused, the extent has all of the last huge page; none reaches beyond its extent,
// so the books need no further rule: what is behind a block is its tail. Where the kernel gives no huge pages, which it is asked
// once, and seldom again, extents are as without. Everything is [LOCK_LARGE] unless said otherwise.
#ifndef TARN_LARGE_HUGE_H
#define TARN_LARGE_HUGE_H

#include "extent.h"

// Whether a block of so many bytes is to ask: its extent begins where a huge page does, and gets so many grains instead of those
// that the block needs. No lock is needed.
bool large_huge_suits(size_t bytes);
size_t large_huge_grains(size_t grains);
// Such a block is in the extent, which is not a mapping of its own outside the range.
void large_huge_ask(extent_t *extent, size_t bytes);
// The extent asks no more. No lock is needed, but its memory must be the caller's alone.
void large_huge_ask_no_more(extent_t *extent);
// The grains behind the first `grains` are about to be cut off: they are given back, and ask no more. False: the kernel refused.
bool large_huge_leave_behind(const extent_t *extent, size_t grains);

#endif
