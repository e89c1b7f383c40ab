// tests/unit/test_size_class.c - exhaustive: every size, and every offset in a page of every class.
#include <criterion/criterion.h>

#include "size_class.h"

TestSuite(size_class, .init = size_class_start, .timeout = 60);

Test(size_class, every_size_has_the_smallest_class_that_holds_it)
{
    for (size_t size_bytes = 1; size_bytes <= MEDIUM_MAX_BYTES; size_bytes++) {
        unsigned class = size_class_of(size_bytes);
        cr_assert(class >= 1 && class < CLASS_COUNT, "size %zu", size_bytes);
        cr_assert_geq(size_class_table[class].block_bytes, size_bytes, "size %zu", size_bytes);
        if (class > 1)
            cr_assert_lt(size_class_table[class - 1].block_bytes, size_bytes, "size %zu", size_bytes);
    }
}

Test(size_class, the_smallest_and_the_largest_request_have_the_outermost_classes)
{
    cr_assert_eq(size_class_of(0), 1);
    cr_assert_eq(size_class_of(1), 1);
    cr_assert_eq(size_class_of(MEDIUM_MAX_BYTES), CLASS_COUNT - 1);
    cr_assert_eq(size_class_table[CLASS_COUNT - 1].block_bytes, MEDIUM_MAX_BYTES);
    cr_assert_eq(size_class_table[SMALL_CLASSES].block_bytes, SMALL_MAX_BYTES);
}

Test(size_class, blocks_grow_with_the_class_and_are_whole_granules)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        const size_class_t *info = &size_class_table[class];
        cr_assert_eq(info->block_bytes % GRANULE_BYTES, 0, "class %u", class);
        if (class > 1)
            cr_assert_gt(info->block_bytes, size_class_table[class - 1].block_bytes, "class %u", class);
    }
}

Test(size_class, rounding_is_at_most_a_granule_or_an_eighth)
{
    for (size_t size_bytes = 1; size_bytes <= MEDIUM_MAX_BYTES; size_bytes++) {
        size_t gap = size_class_table[size_class_of(size_bytes)].block_bytes - size_bytes;
        size_t most = size_bytes <= SMALL_MAX_BYTES ? GRANULE_BYTES - 1 : size_bytes / MEDIUM_STEPS;
        cr_assert_leq(gap, most, "size %zu", size_bytes);
    }
}

Test(size_class, a_page_holds_its_blocks_and_medium_ones_fit_a_word_of_bits)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        const size_class_t *info = &size_class_table[class];
        cr_assert_eq(info->block_count, info->page_bytes / info->block_bytes, "class %u", class);
        if (class >= CLASS_FIRST_MEDIUM)
            cr_assert(info->block_count >= 8 && info->block_count <= 62, "class %u: the top bits are QUEUED's", class);
        cr_assert_eq(info->zone < SMALL_ZONES, class < CLASS_FIRST_MEDIUM, "class %u", class);
    }
}

// cr_assert for each of some 100 million offsets would take minutes.
Test(size_class, every_offset_in_a_page_is_divided_exactly)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        const size_class_t *info = &size_class_table[class];
        size_t wrong = SIZE_MAX, index = 0, end = info->block_bytes;
        for (size_t offset = 0; offset < info->page_bytes; offset++) {
            if (offset == end) {
                index++;
                end += info->block_bytes;
            }
            if (size_class_index(info, offset) != index)
                wrong = offset;
            bool starts = index * info->block_bytes == offset && index < info->block_count;
            unsigned exact = size_class_index_exact(info, offset);
            if (starts ? exact != index : exact < info->block_count)
                wrong = offset;
        }
        cr_assert_eq(wrong, SIZE_MAX, "class %u, offset %zu", class, wrong);
    }
}

Test(size_class, an_aligned_request_has_the_smallest_class_of_aligned_blocks)
{
    for (size_t alignment = 1; alignment <= (size_t)4 << 20; alignment *= 2)
        for (size_t size_bytes = 0; size_bytes <= MEDIUM_MAX_BYTES + 100; size_bytes += 97) {
            unsigned expected = 0;
            for (unsigned class = CLASS_COUNT - 1; class >= 1; class --)
                if (size_class_table[class].block_bytes >= size_bytes &&
                    size_class_table[class].block_bytes % alignment == 0 &&
                    alignment <= size_class_table[class].page_bytes)
                    expected = class;
            cr_assert_eq(size_class_aligned(alignment, size_bytes), expected, "%zu aligned to %zu", size_bytes,
                         alignment);
        }
}
