// pool/size_class.h - size <-> class: pure arithmetic.
//
//   class    0        1..64                    65..128
//   block    -        16 * class               (8 + step + 1) * 128 << doubling, with class - 65 = 8 * doubling + step
//
// Every request up to 256 KiB has the smallest class that holds it. A block's index in its page is a division by its
// size; the size is k * 2^n with k in 1..64, so it is a shift and a multiplication by a rounded-up 1/k.
#ifndef TARN_SIZE_CLASS_H
#define TARN_SIZE_CLASS_H

#include "config.h"

#define SIZE_CLASS_RECIPROCAL_SHIFT 31 // with k = 1 the reciprocal still fits 32 bits

typedef struct size_class {
    uint32_t block_bytes;
    uint16_t block_count; // blocks in a page
    uint8_t zone;         // 0, 1 = small (low, high), 2..4 = medium
    uint8_t unit_shift;   // block_bytes = k << unit_shift
    uint32_t reciprocal;  // 2^31 / k + 1
    uint32_t page_bytes;
} size_class_t;

// [const] filled by size_class_start
extern size_class_t size_class_table[CLASS_COUNT];

void size_class_start(void);

// A size_t, since it is malloc's index: a narrower type would cost an instruction there.
static inline size_t size_class_small(size_t size_bytes)
{
    return (size_bytes + GRANULE_BYTES - 1) >> GRANULE_SHIFT;
}

// size_bytes in SMALL_MAX_BYTES + 1 .. MEDIUM_MAX_BYTES
static inline unsigned size_class_medium(size_t size_bytes)
{
    size_t last = size_bytes - 1; // so that a power of two ends its doubling
    unsigned doubling = bits_highest(last) - SMALL_MAX_SHIFT;
    unsigned step = (unsigned)(last >> (doubling + SMALL_MAX_SHIFT - MEDIUM_STEPS_SHIFT)) - MEDIUM_STEPS;
    return CLASS_FIRST_MEDIUM + doubling * MEDIUM_STEPS + step;
}

// size_bytes in 0..MEDIUM_MAX_BYTES; 0 is served as 1.
static inline unsigned size_class_of(size_t size_bytes)
{
    if (size_bytes > SMALL_MAX_BYTES)
        return size_class_medium(size_bytes);
    return size_bytes == 0 ? 1 : (unsigned)size_class_small(size_bytes);
}

// The smallest class of at least size_bytes whose blocks all start at multiples of alignment; 0 if there is none.
// alignment: a power of two.
unsigned size_class_aligned(size_t alignment, size_t size_bytes);

// offset_bytes / block_bytes, exactly, for offsets inside a page: (offset / unit) * k is far below 2^31.
static inline unsigned size_class_index(const size_class_t *class, size_t offset_bytes)
{
    return (unsigned)(((uint64_t)(offset_bytes >> class->unit_shift) * class->reciprocal) >> SIZE_CLASS_RECIPROCAL_SHIFT);
}

#endif
