// pool/budget.h - how much free memory may stay resident: numbers only, no memory is touched here.
//
//   limit = max(1 MiB, waste % of the bytes in use that are not hollow) + credit
//
// Regret: when memory that was given back is wanted again within a second, giving it back was a mistake, and the credit
// grows by twice its size; it halves every second. There are two credits. That for whole free pages and blocks counts
// up to the way back to the recent peak, and to four times what is in use beyond two floors: so a heap that oscillates
// keeps its pages, and one that was emptied loses them. That for free memory inside partly used pages counts up to half
// of what is in use: so a heap that churns keeps some of its holes.
// Hollow is what is free in nearly empty pages of small blocks, and in mosaics: such pages are in use, but a program that left
// much of that behind is not to have as much again kept for it (docs/decisions/040).
// Excused is what is free in huge pages that are partly used (huge.h): it cannot be given back without splitting them.
// It does not count as kept, up to a point: 6 % of what is in use, and, in pages that are being filled, as much again on
// the way back to the recent peak, until half of the heap has gone again.
// All counters are [atomic], relaxed: they steer, they do not account (the survey does).
#ifndef TARN_BUDGET_H
#define TARN_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>

#include "bits.h"

#define BUDGET_FLOOR_BYTES ((size_t)1 << 20)
#define BUDGET_WASTE_PERCENT 3u
#define BUDGET_GENEROUS_BYTES ((size_t)64 << 20) // 32 huge pages, which take the kernel 3 to 5 ms to give again

void budget_start(unsigned waste_percent);
// Free memory that is kept whole: empty pages in the zones, cached large blocks. In and out.
void budget_retain(size_t bytes);
void budget_release(size_t bytes);
// Resident bytes in pages and large blocks that hold something.
void budget_use(size_t bytes);
void budget_unuse(size_t bytes);
// Bytes of what is in use that are free, in pages that are nearly empty; about.
void budget_hollow(size_t bytes);
void budget_unhollow(size_t bytes);
// Blocks were freed by others than their page's owner, who has not taken them back yet; and has. In use, and yet no reason to
// keep memory for: a heap of which nothing else is left is an empty one.
void budget_pend(size_t bytes);
void budget_unpend(size_t bytes);
// The same under a limit on both together, used and kept: false, and nothing is counted, if it would be passed. Before
// memory becomes resident; what is large counts whole when it is handed out, since its touch cannot be refused.
bool budget_take(size_t bytes);
// The same for memory that counts `kept_bytes` among what is kept and `used_bytes` as used. The caller releases the
// former afterwards: meanwhile it counts twice, and nobody else takes the room.
bool budget_reuse(size_t kept_bytes, size_t used_bytes);
void budget_limit_start(size_t most_bytes); // SIZE_MAX: none, as at first
RARE bool budget_would_refuse(size_t bytes);
bool budget_is_limited(void);
typedef enum budget_kind { BUDGET_WHOLE, BUDGET_INSIDE, BUDGET_KINDS } budget_kind_t;

// Memory was given back; memory that was given back is wanted again.
void budget_purged(size_t bytes);
void budget_regret(budget_kind_t kind, size_t bytes);

// FILLING: of huge pages in their first use; PARTLY: of others that hold something.
typedef enum budget_excuse { BUDGET_FILLING, BUDGET_PARTLY, BUDGET_EXCUSES } budget_excuse_t;
void budget_excuse(budget_excuse_t kind, size_t bytes);
void budget_unexcuse(budget_excuse_t kind, size_t bytes);
// Whether so much more may be resident ahead of its use. again: where it was used a moment ago; then what is regretted counts, too.
bool budget_may_fill(size_t bytes, bool again);
// The same with huge=on: as much as is in use, and BUDGET_FLOOR_BYTES.
bool budget_may_fill_freely(size_t bytes);
// Memory has become resident ahead of its use: what is in use now says for how long that is excused.
void budget_fill_begins(void);
// huge=on, from the first huge page on: all that is free in partly used ones is excused, and much more may be kept:
// as much as is in use, and of the recent peak up to BUDGET_GENEROUS_BYTES.
void budget_be_generous(void);

// Whether anything that was given back has been wanted again of late.
bool budget_has_credit(budget_kind_t kind);

size_t budget_retained(void);
size_t budget_kept(void); // retained and not excused
size_t budget_recent_peak(void);
// Whether less is in use than was a moment ago, by more than an eighth: then it is likely to come back.
bool budget_has_sunk(void);
// What a recent peak, of whatever unit, has come down to after so many seconds in which no more than `now` was in use.
size_t budget_peak_sunk(size_t peak, size_t now, uint64_t seconds);
size_t budget_used(void);
size_t budget_hollow_bytes(void);
size_t budget_pending(void); // as far as it was told (heap_pend); wraps below 0
size_t budget_used_peak(void);
size_t budget_purged_total(void);
size_t budget_limit(budget_kind_t kind);
// What it is by waste alone: no floor, no credit.
size_t budget_waste(void);
// How much is kept beyond the limit; 0 if within.
size_t budget_excess(void);
// After more has become resident: whether the heap, used and kept together, has risen to a new height by a step.
bool budget_has_risen(void);
// If so, else 0: what of the kept memory is stale, since nobody asked for it meanwhile; and the next step begins. Of threads
// that ask at once, one is told. A heap is to reuse its memory before it takes more, and where it cannot, since it wants other
// sizes now, to give it back. Not what the waste allows for, and nothing while what was given back is regretted.
RARE size_t budget_stale(void);
// Whether so much could be kept if nothing else were.
bool budget_fits(size_t bytes);

#endif
