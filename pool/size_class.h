// pool/size_class.h - size <-> class: pure arithmetic.
//
//   class    0        1..64                    65..128
//   block    -        16 * class               (8 + step + 1) * 128 << doubling, with class - 65 = 8 * doubling + step
//
// Every request up to 256 KiB has the smallest class that holds it. A block's index in its page is a division by its
// size; the size is odd * 2^shift with odd in 1..63, so it is a shift and a multiplication by a rounded-up 1/odd. Where
// only starts of blocks count, one multiplication by the inverse of odd modulo 2^32 both divides and tests.
#ifndef TARN_SIZE_CLASS_H
#define TARN_SIZE_CLASS_H

#include "config.h"

#define SIZE_CLASS_RECIPROCAL_SHIFT 31 // with odd = 1 the reciprocal still fits 32 bits

typedef struct size_class {
    uint32_t block_bytes;
    uint32_t block_count; // blocks in a page
    uint32_t page_bytes;
    uint32_t reciprocal;  // 2^31 / odd + 1
    uint32_t inverse;     // inverse * odd = 1 modulo 2^32
    uint8_t shift;        // block_bytes = odd << shift
    uint8_t zone;         // 0, 1 = small (low, high), 2..4 = medium
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

// offset_bytes / block_bytes, exactly, for offsets inside a page: offset >> shift is far below 2^31.
static inline unsigned size_class_index(const size_class_t *class, size_t offset_bytes)
{
    return (unsigned)(((uint64_t)(offset_bytes >> class->shift) * class->reciprocal) >> SIZE_CLASS_RECIPROCAL_SHIFT);
}

// The same for an offset that is a multiple of block_bytes; for any other a number above every block's. (With m = offset
// >> shift, m * inverse is m / odd modulo 2^(32 - shift) if odd divides m, and else above 2^(32 - shift) / odd, which is
// 1092 at least where a page has 56 blocks, and 66576 where it has 1024. Bits below the shift end up on top. Granlund and
// Montgomery, "Division by invariant integers using multiplication", 1994, section 9.)
static inline unsigned size_class_index_exact(const size_class_t *class, size_t offset_bytes)
{
    uint32_t product = (uint32_t)offset_bytes * class->inverse;
    return product >> (class->shift & 31) | product << (-class->shift & 31);
}

#endif
