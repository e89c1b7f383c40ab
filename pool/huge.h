// pool/huge.h - huge pages in proportion: which 2 MiB regions of a zone stand on one, and whether another one may.
//
//   zone   | region 0 | region 1 | region 2 | ...
//            plain      huge       empty
//
//   plain --huge_back, huge_collapse--> huge --given back whole--> empty --huge_back--> huge
//     ^                   |                                          |
//     '-- a part of it is given back,  or  a page of it is wanted, but not all of it: huge_split
//
// All of a huge region is resident, touched or not. So its pages that nobody owns are dirty ones, all of them, and who
// asks what is resident needs no further rule. (Where a region was collapsed, pages that were in use then hold more than
// their owners know of, until they come back.) Of these bytes the budget is told: what is free in a region that is being
// filled, or that still holds a used page, cannot be given back without splitting the huge page, and is excused up to a
// point (budget.h). A region that is free whole is given back like any other memory, all at once.
//
// The kernel fills the holes of a huge region by itself (khugepaged): so a region opts out before a part of it is given
// back. An empty one has no page table, and is left alone.
#ifndef TARN_HUGE_H
#define TARN_HUGE_H

#include <stdatomic.h>

#include "bits.h"

#define HUGE_SHIFT 21 // of x86-64, and of aarch64 with OS pages of 4 KiB; elsewhere there are none
#define HUGE_BYTES ((size_t)1 << HUGE_SHIFT)

typedef enum huge_mode {
    HUGE_AUTO, // in proportion
    HUGE_ON,   // wherever a region begins, from 1 MiB on; and nothing inside of one is given back
    HUGE_OFF
} huge_mode_t;

typedef enum huge_state { HUGE_PLAIN, HUGE_RESIDENT, HUGE_EMPTY } huge_state_t;

typedef struct huge_region {
    _Atomic uint8_t state; // huge_state_t; written with LOCK_ZONES, read by anyone
    uint16_t free_pages;   // of a resident region: those that nobody owns
    uint32_t free_bytes;   // and what is resident of them
} huge_region_t;

// The regions of one zone: all of it [LOCK_ZONES].
typedef struct huge_table {
    huge_region_t *region; // [const] the caller's memory, zero at the start; NULL: the zone has no huge pages
    uint32_t backed;       // regions that are not plain; zone_has_dirty_left reads it without the lock, too
    uint32_t filling;      // the one that was backed last, plus 1, until it is full: what is free in it is ahead of its use
    uint16_t pages_each;   // [const] pages in a region
} huge_table_t;

void huge_start(huge_mode_t mode);
// huge=on, and there is no limit.
bool huge_is_on(void);
// The same, and the kernel has given one: free memory inside used pages stays, and only regions that are free whole go
// back, unless memory is refused. Where the kernel has none to give all is as with huge=auto.
bool huge_keeps_inside(void);
// huge=on: large blocks ask for huge pages, as far as it is known that the kernel gives any.
bool huge_suits_large(void);
// Whether the heap is, or was a moment ago, large enough for one at all. Quick.
bool huge_may_be_wanted(void);
// Whether another region is in proportion, behind `bytes` of addresses that end at `before`: what was filled densely so
// far will be filled on. Under limit= none is: there, memory is counted before it is resident. carved: what is handed out
// there is touched in any case (small blocks). known: a moment ago it was all in use.
bool huge_wanted(const char *before, size_t bytes, bool carved, bool known);
// Backs an unused region, which is resident then. again: it may have been used before. False: the kernel has none to
// give, and it is not asked again for a while; the region is plain and not resident. No lock is needed.
bool huge_back(char *start, bool again);
// Whether the heap is on its way back to where it was, with room for a region: what is missing in one that is partly in use
// will be touched soon. Quick, for huge_wanted is to be asked, too.
bool huge_is_return(void);
// The same, and no collapse was refused a moment ago.
bool huge_may_collapse(void);
// As huge_back, for such a region, but a refusal is none to back another one. What is in use in it stays what it is,
// resident or not as its owners know; all else is resident then, and unchanged. No lock is needed, but what nobody uses of
// it must be the caller's alone.
bool huge_collapse(char *start);
// Whether a large block that grows beyond `before` bytes, to `bytes`, is to be filled on by huge pages: all but all of it is
// resident, so what it grows by will be, too, and a huge page more is in proportion to the block alone. Asked for each eighth, for
// the kernel goes through its OS pages: those of 64 MiB at most.
RARE bool huge_suits_growth(const char *start, size_t before, size_t bytes);
// The region opts out again.
void huge_split(char *start);

// The books. A region was backed; its pages that are free are noted one by one.
void huge_note_backed(huge_table_t *table, uint32_t region);
// A page of it came free, or was taken: of no consequence unless the region is resident.
void huge_note_free(huge_table_t *table, uint32_t region, size_t bytes);
void huge_note_taken(huge_table_t *table, uint32_t region, size_t bytes);
// All of it is given back; it is plain again.
void huge_note_empty(huge_table_t *table, uint32_t region);
void huge_note_plain(huge_table_t *table, uint32_t region);

static inline huge_state_t huge_state(const huge_table_t *table, uint32_t region)
{
    return table->region == NULL ? HUGE_PLAIN
                                 : (huge_state_t)atomic_load_explicit(&table->region[region].state, memory_order_relaxed);
}

// Resident, and all its pages are free.
static inline bool huge_is_idle(const huge_table_t *table, uint32_t region)
{
    return huge_state(table, region) == HUGE_RESIDENT && table->region[region].free_pages == table->pages_each;
}

#endif
