// pool/config.h - the sizes that shape the pool, each with the reason for it.
//
//   request      tier     pages                        blocks a page   free blocks are known by
//   1..256       small    16 KiB   (zone LOW)          64..1024        a linked list a page
//   256..1K      small    64 KiB   (zone HIGH)         64..240         the same
//   1K..4K       medium   32 KiB   (zone MEDIUM_1)     8..28           one bit a block, in the descriptor
//   4K..32K      medium   256 KiB  (zone MEDIUM_2)     8..56           the same
//   32K..256K    medium   2 MiB    (zone MEDIUM_3)     8..56           the same
//   above        large    mapped alone, 64 KiB grain   1               a node out of band
//
// Few blocks a page is what keeps external fragmentation low (simulated at 30 % live: 1.26 times the minimum with 64
// blocks a page, 3.1 times with 1024); but with fewer than 64 a refill finds two or three (docs/decisions/002). Medium
// pages are large only in address space, since blocks of an OS page and more are given back to the kernel one by one.
#ifndef TARN_CONFIG_H
#define TARN_CONFIG_H

#include "bits.h"

#define CACHE_LINE_BYTES 64

// Every block is aligned for max_align_t, and small classes are this far apart.
#define GRANULE_SHIFT 4
#define GRANULE_BYTES ((size_t)1 << GRANULE_SHIFT)

// Small: one class every 16 bytes, so that size to class is an add and a shift, with no table on the fast path.
#define SMALL_MAX_BYTES ((size_t)1024)
#define SMALL_MAX_SHIFT 10
#define SMALL_CLASSES 64u // 1024 / 16; class 0 is the request of 0 bytes and never holds a block
#define LOW_CLASSES 16u // to 256 B
#define LOW_PAGE_SHIFT 14
#define LOW_PAGE_BYTES ((size_t)1 << LOW_PAGE_SHIFT)
#define HIGH_PAGE_SHIFT 16
#define HIGH_PAGE_BYTES ((size_t)1 << HIGH_PAGE_SHIFT)
#define SMALL_ZONES 2u
#define SMALL_BLOCKS_MAX 1024u // blocks in a page: LOW_PAGE_BYTES / GRANULE_BYTES

// A small page is carved in steps of this many bytes: what is not carved was never touched. 4 KiB is the smallest OS
// page; on kernels with larger ones the steps are finer than they need be.
#define CARVE_SHIFT 12
#define CARVE_BYTES ((size_t)1 << CARVE_SHIFT)
#define CARVE_STEPS_MAX 16u // HIGH_PAGE_BYTES / CARVE_BYTES

// Medium: 8 classes a doubling (4.3 % mean rounding on log-uniform sizes), 8 doublings from 1 KiB to 256 KiB.
#define MEDIUM_MAX_BYTES ((size_t)256 * 1024)
#define MEDIUM_STEPS_SHIFT 3
#define MEDIUM_STEPS 8u
#define MEDIUM_DOUBLINGS 8u
#define MEDIUM_CLASSES (MEDIUM_STEPS * MEDIUM_DOUBLINGS)
#define MEDIUM_ZONES 3u
#define MEDIUM_DOUBLINGS_PER_ZONE 3u // a page holds 56 of the smallest and 8 of the largest blocks of its zone;
                                     // the first of them lacks the doubling that is small
#define MEDIUM_1_PAGE_SHIFT 15       // each next zone's pages are 2^3 times as large, as its blocks are
#define MEDIUM_2_PAGE_SHIFT (MEDIUM_1_PAGE_SHIFT + MEDIUM_DOUBLINGS_PER_ZONE)
#define MEDIUM_3_PAGE_SHIFT (MEDIUM_2_PAGE_SHIFT + MEDIUM_DOUBLINGS_PER_ZONE)

#define CLASS_FIRST_MEDIUM (SMALL_CLASSES + 1)
#define CLASS_COUNT (CLASS_FIRST_MEDIUM + MEDIUM_CLASSES)

// Under RLIMIT_AS each of the four zones of the start, and the table of large blocks, takes this fraction of the addresses.
#define LIMITED_FRACTION ((size_t)64)

// Runs that are given up at once when memory is refused, in the zones and among large blocks: each costs the process two of
// the 65,530 mappings that it may have.
#define WITHDRAW_RUNS_MOST 4096u

// Large: address space comes in grains, so that a block can grow a little in place and a table of starts stays small.
#define LARGE_GRAIN_SHIFT 16
#define LARGE_GRAIN_BYTES ((size_t)1 << LARGE_GRAIN_SHIFT)

// A block that realloc makes longer, to so much or more, becomes a large one, which then grows where it is. Smaller ones
// move by a copy: that costs less than the pages of their own that large ones need.
#define LARGE_GROWING_BYTES ((size_t)32 << 10)

// A page that is full is looked at again when an eighth of it has been freed: sooner, and a refill would find a block
// or two at a time; later, and free blocks would idle.
#define FULL_PAGE_RETURN_SHIFT 3

// A class that took no page while the others took so many is not in need of its own. (A program whose work touches some
// tens of classes in turn needs each of them once in about as many turns.)
#define UNWANTED_TURNS 64u

// A class that has no page yet gets so many blocks from larger classes before it takes one, of up to so many times its size: else
// a program that wants a few blocks of many sizes has an OS page for each size (docs/decisions/043).
#define LENT_BLOCKS 4u
#define LENT_TIMES 3u
// A medium request that would be faulted in gets a resident block of a class up to so many steps larger, which is half as much again
// at most: what is free of one class serves its neighbours (docs/decisions/051).
#define LENT_MEDIUM_STEPS 4u

// Fullness buckets of partly used pages: four get nearly all that an exact order gets.
#define BUCKETS 4u

// Frees of other threads' blocks are gathered before they are handed over, in one place a class. A thread that only frees
// gathers blocks of one page at a time, so many at most. One that allocates such blocks, too, borrows them: of any pages, and
// more, since each that is handed over comes back by a cold walk. In all no more than an idle thread may hold back.
// (bench/producer_consumer.c both=1, of 1,000 blocks freed: 490 are handed over with 16 of one page, 180 with 64 of any.)
#define RING_SLOTS SMALL_CLASSES
#define RING_PAGE_BLOCKS 16u
#define RING_PAGE_BYTES CARVE_BYTES
#define RING_BLOCKS 64u
#define RING_SLOT_BYTES (4 * CARVE_BYTES)
#define RING_BYTES ((size_t)256 << 10)

_Static_assert(RING_BLOCKS <= LOW_PAGE_BYTES / (LOW_CLASSES * GRANULE_BYTES) && RING_BLOCKS <= HIGH_PAGE_BYTES / SMALL_MAX_BYTES,
               "a borrowed head list is no longer than a page's (survey_sums.c)");
_Static_assert(SMALL_CLASSES * GRANULE_BYTES == SMALL_MAX_BYTES, "one class a granule");
_Static_assert(CARVE_STEPS_MAX * CARVE_BYTES == HIGH_PAGE_BYTES, "a small page is carved whole");
_Static_assert(SMALL_BLOCKS_MAX * GRANULE_BYTES == LOW_PAGE_BYTES, "the smallest blocks fill a page");
_Static_assert(MEDIUM_ZONES * MEDIUM_DOUBLINGS_PER_ZONE == MEDIUM_DOUBLINGS + 1, "each doubling has a zone");
_Static_assert((size_t)1 << SMALL_MAX_SHIFT == SMALL_MAX_BYTES, "log2");

#endif
