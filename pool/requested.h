// pool/requested.h - what was asked for, as against what was given: the gap is rounding.
//
// Normally an estimate: each refill of a list sees the one request that caused it, so the sizes of a class are sampled
// without a test on the fast path. With requested=exact every small request takes the slow path, and each block's
// size is noted in a table beside the pages (4 bytes for each 16 bytes of a small page, resident only where used).
#ifndef TARN_REQUESTED_H
#define TARN_REQUESTED_H

#include "heap.h"

// Whether a refill of a small class is to be noted: every 8th of the heap, and a class's first few.
static inline bool requested_refill_in_turn(const heap_t *heap)
{
    return (heap->refills & 7) == 0;
}

#define REQUESTED_NOTED_FIRST 8u

static inline bool requested_refill_due(heap_t *heap, unsigned class)
{
    bool due = requested_refill_in_turn(heap) || heap->small_sizes[class].count < REQUESTED_NOTED_FIRST ||
               heap_requested_exact;
    heap->refills++;
    return due;
}

void requested_start(bool exact);
void requested_note(heap_t *heap, unsigned class, const void *block, size_t size_bytes);
// The size noted for a block; its class's block size if there is none. Exact mode only.
RARE size_t requested_of(const page_t *page, unsigned index);
// The table's ranges; true while index is below their number.
bool requested_bounds(unsigned index, char **start, char **end);

#endif
