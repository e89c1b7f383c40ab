// pool/size_class.c - the table of classes; see size_class.h.
#include "size_class.h"

size_class_t size_class_table[CLASS_COUNT];

// Newton's step doubles the number of right bits; an odd number is its own inverse in the lowest three.
static uint32_t inverse_of(uint32_t odd)
{
    uint32_t inverse = odd;
    for (unsigned bits = 3; bits < 32; bits *= 2)
        inverse *= 2 - odd * inverse;
    return inverse;
}

static void class_fill(unsigned class, unsigned zone, size_t page_bytes, unsigned k, unsigned unit_shift)
{
    size_t block_bytes = (size_t)k << unit_shift;
    unsigned twos = bits_lowest(k);
    size_class_table[class] = (size_class_t){
        .block_bytes = (uint32_t)block_bytes,
        .block_count = (uint32_t)(page_bytes / block_bytes),
        .zone = (uint8_t)zone,
        .shift = (uint8_t)(unit_shift + twos),
        .reciprocal = ((uint32_t)1 << SIZE_CLASS_RECIPROCAL_SHIFT) / (k >> twos) + 1,
        .inverse = inverse_of(k >> twos),
        .page_bytes = (uint32_t)page_bytes,
    };
}

void size_class_start(void)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class++)
        class_fill(class, class > LOW_CLASSES, class > LOW_CLASSES ? HIGH_PAGE_BYTES : LOW_PAGE_BYTES, class, GRANULE_SHIFT);
    for (unsigned medium = 0; medium < MEDIUM_CLASSES; medium++) {
        unsigned doubling = medium / MEDIUM_STEPS, step = medium % MEDIUM_STEPS;
        unsigned zone = (doubling + 1) / MEDIUM_DOUBLINGS_PER_ZONE;
        size_t page_bytes = (size_t)1 << (MEDIUM_1_PAGE_SHIFT + zone * MEDIUM_DOUBLINGS_PER_ZONE);
        class_fill(CLASS_FIRST_MEDIUM + medium, SMALL_ZONES + zone, page_bytes, MEDIUM_STEPS + step + 1,
                   SMALL_MAX_SHIFT - MEDIUM_STEPS_SHIFT + doubling);
    }
}

unsigned size_class_aligned(size_t alignment, size_t size_bytes)
{
    if (size_bytes > MEDIUM_MAX_BYTES || alignment > MEDIUM_MAX_BYTES)
        return 0;
    // No class below the rounded-up size can do, since every block is at least as large as its alignment.
    size_t at_least = align_up(size_max(size_bytes, 1), alignment);
    if (at_least > MEDIUM_MAX_BYTES)
        return 0;
    for (unsigned class = size_class_of(at_least); class < CLASS_COUNT; class++) {
        const size_class_t *info = &size_class_table[class];
        // Pages start at multiples of their size, blocks at multiples of theirs from there.
        if ((info->block_bytes & (alignment - 1)) == 0 && alignment <= info->page_bytes)
            return class;
    }
    return 0;
}
