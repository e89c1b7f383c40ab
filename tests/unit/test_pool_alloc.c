// tests/unit/test_pool_alloc.c - allocation through the front: sizes, alignments, zeroes, and what is refused.
#include <criterion/criterion.h>

#include "fixture.h"

#define MIB ((size_t)1 << 20)

TestSuite(pool_alloc, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(pool_alloc, blocks_are_aligned_to_16_bytes_at_every_size)
{
    for (size_t size = 0; size < 5000; size++)
        cr_assert_eq((uintptr_t)pool_malloc(size) % 16, 0, "size %zu", size);
    for (size_t size = 5000; size < 2 * MIB; size = size * 9 / 8)
        cr_assert_eq((uintptr_t)pool_malloc(size) % 16, 0, "size %zu", size);
}

Test(pool_alloc, every_alignment_is_kept_at_every_class)
{
    for (size_t alignment = 1; alignment <= MIB; alignment *= 2)
        for (unsigned class = 1; class < CLASS_COUNT; class ++) {
            size_t size = size_class_table[class].block_bytes;
            for (size_t less = 0; less < 2; less++) {
                char *block = pool_aligned_alloc(alignment, size - less);
                cr_assert_eq((uintptr_t)block % alignment, 0, "%zu aligned to %zu", size - less, alignment);
                cr_assert_geq(pool_usable_size(block), size - less);
                block[0] = block[size - less - 1] = 1;
                pool_free(block);
            }
        }
}

Test(pool_alloc, blocks_do_not_overlap)
{
    enum { COUNT = 3000 };
    static unsigned char *blocks[COUNT];
    uint64_t random = 17;
    size_t sizes[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = pool_malloc(1 + support_random(&random) % 3000);
        sizes[i] = pool_usable_size(blocks[i]); // all of it is usable
        memset(blocks[i], (int)(i % 251), sizes[i]);
    }
    for (unsigned i = 0; i < COUNT; i++)
        for (size_t at = 0; at < sizes[i]; at++)
            cr_assert_eq(blocks[i][at], i % 251, "block %u", i);
}

Test(pool_alloc, blocks_of_0_bytes_are_blocks)
{
    void *a = pool_malloc(0), *b = pool_malloc(0), *c = pool_calloc(0), *d = pool_aligned_alloc(64, 0);
    cr_assert(a != NULL && b != NULL && c != NULL && d != NULL && a != b);
    cr_assert_geq(pool_usable_size(a), 1);
    pool_free(a);
    pool_free(b);
    pool_free(c);
    pool_free(d);
    cr_assert_eq(support_misuses, 0);
}

Test(pool_alloc, more_than_can_be_is_refused_and_nothing_has_changed)
{
    void *block = pool_malloc(100);
    cr_assert_null(pool_malloc((size_t)PTRDIFF_MAX + 1));
    cr_assert_null(pool_calloc(SIZE_MAX));
    cr_assert_null(pool_aligned_alloc(64, SIZE_MAX - 64));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 63, 100));
    cr_assert_null(pool_realloc(block, (size_t)PTRDIFF_MAX + 1));
    cr_assert_eq(pool_usable_size(block), 112);
}

Test(pool_alloc, calloc_is_zero_at_every_size_even_where_others_wrote)
{
    for (unsigned round = 0; round < 2; round++)
        for (size_t size = 1; size < MIB; size = size * 9 / 8 + 1) {
            unsigned char *block = pool_calloc(size);
            for (size_t i = 0; i < size; i++)
                cr_assert_eq(block[i], 0, "size %zu", size);
            memset(block, 0x5a, pool_usable_size(block));
            pool_free(block);
        }
}

Test(pool_alloc, calloc_from_a_head_list_clears_the_whole_block_and_nothing_behind_it)
{
    for (size_t size = 1; size <= POOL_CLEAR_MOST_BYTES; size++) {
        size_t class = size_class_small(size), bytes = class * GRANULE_BYTES;
        while (heap_self->head[class] == NULL || support_page(heap_self->head[class]) !=
                                                     support_page((char *)heap_self->head[class] + bytes))
            pool_malloc(size);
        unsigned char *next = (unsigned char *)heap_self->head[class], behind[GRANULE_BYTES];
        memset(next + sizeof(block_t), 0x5a, bytes - sizeof(block_t));
        memcpy(behind, next + bytes, sizeof behind);
        unsigned char *block = pool_calloc_quick(size);
        cr_assert_eq(block, next);
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(block[i], 0, "size %zu", size);
        cr_assert_arr_eq(next + bytes, behind, sizeof behind);
    }
    cr_assert_null(pool_calloc_quick(0));
    cr_assert_null(pool_calloc_quick(POOL_CLEAR_MOST_BYTES + 1));
}
