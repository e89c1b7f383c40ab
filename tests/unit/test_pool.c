// tests/unit/test_pool.c - the front: edges of each function, and each mistake of a caller is reported by its name
// while the heap stays whole.
#include <criterion/criterion.h>

#include "check.h"
#include "large.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

static void pool_begin(void)
{
    cr_assert(pool_start());
}

static void pool_end(void)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}

static void misused(const char *function, const void *address, const char *what)
{
    cr_assert_eq(support_misuses, 1, "%u reports", support_misuses);
    cr_assert_str_eq(support_misuse.function, function);
    cr_assert_eq(support_misuse.address, address);
    cr_assert_str_eq(support_misuse.what, what);
    support_misuses = 0;
}

TestSuite(pool, .init = pool_begin, .fini = pool_end, .timeout = 60);

Test(pool, blocks_are_aligned_to_16_bytes_at_every_size)
{
    for (size_t size = 0; size < 5000; size++)
        cr_assert_eq((uintptr_t)pool_malloc(size) % 16, 0, "size %zu", size);
    for (size_t size = 5000; size < 2 * MIB; size = size * 9 / 8)
        cr_assert_eq((uintptr_t)pool_malloc(size) % 16, 0, "size %zu", size);
}

Test(pool, every_alignment_is_kept_at_every_class)
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

Test(pool, blocks_do_not_overlap)
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

Test(pool, blocks_of_0_bytes_are_blocks)
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

Test(pool, null_can_be_freed_measured_and_resized)
{
    pool_free(NULL);
    cr_assert_eq(pool_usable_size(NULL), 0);
    cr_assert_not_null(pool_realloc(NULL, 100));
    cr_assert_eq(support_misuses, 0);
}

Test(pool, more_than_can_be_is_refused_and_nothing_has_changed)
{
    void *block = pool_malloc(100);
    cr_assert_null(pool_malloc((size_t)PTRDIFF_MAX + 1));
    cr_assert_null(pool_calloc(SIZE_MAX));
    cr_assert_null(pool_aligned_alloc(64, SIZE_MAX - 64));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 63, 100));
    cr_assert_null(pool_realloc(block, (size_t)PTRDIFF_MAX + 1));
    cr_assert_eq(pool_usable_size(block), 112);
}

Test(pool, calloc_is_zero_at_every_size_even_where_others_wrote)
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

Test(pool, calloc_from_a_head_list_clears_the_whole_block_and_nothing_behind_it)
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

Test(pool, realloc_keeps_what_is_there_from_every_class_to_every_other)
{
    for (size_t from = 1; from < 2 * MIB; from = from * 3 + 1)
        for (size_t to = 1; to < 2 * MIB; to = to * 3 + 1) {
            unsigned char *block = pool_malloc(from);
            for (size_t i = 0; i < from; i++)
                block[i] = (unsigned char)(i * 7 + i / 251);
            block = pool_realloc(block, to);
            cr_assert_geq(pool_usable_size(block), to);
            for (size_t i = 0; i < size_min(from, to); i++)
                cr_assert_eq(block[i], (unsigned char)(i * 7 + i / 251), "%zu to %zu", from, to);
            pool_free(block);
        }
}

Test(pool, a_block_that_grows_becomes_large_and_goes_on_growing_where_it_is)
{
    size_t least = large_growing_least();
    char *block = pool_malloc(least / 2);
    memset(block, 3, least / 2);
    cr_assert(!large_in_range(block));
    char *grown = pool_realloc(block, least);
    cr_assert(large_in_range(grown));
    char *next_to_it = pool_realloc(pool_malloc(least / 2), least);
    for (size_t size = least; size <= MEDIUM_MAX_BYTES; size += size / 8) {
        cr_assert_eq(pool_realloc(grown, size), grown, "moved at %zu", size);
        cr_assert_geq(pool_usable_size(grown), size);
        grown[size - 1] = 5;
    }
    cr_assert_eq(grown[0], 3);
    cr_assert_eq(grown[least / 2 - 1], 3);
    pool_free(next_to_it);
    pool_free(grown);
}

Test(pool, a_block_that_grew_and_shrinks_to_little_is_in_a_page_again)
{
    size_t least = large_growing_least();
    char *block = pool_realloc(pool_malloc(least / 2), least);
    block[0] = 7;
    char *shorter = pool_realloc(block, least / 2 + 1);
    cr_assert(large_in_range(shorter));
    char *little = pool_realloc(shorter, 100);
    cr_assert(!large_in_range(little));
    cr_assert_eq(little[0], 7);
    pool_free(little);
}

Test(pool, requests_of_the_same_size_that_do_not_grow_stay_in_pages)
{
    char *block = pool_malloc(MEDIUM_MAX_BYTES);
    cr_assert(!large_in_range(block));
    cr_assert(!large_in_range(pool_realloc(block, MEDIUM_MAX_BYTES / 3)), "a shrink is no growth");
}

Test(pool, realloc_within_the_block_leaves_it_where_it_is)
{
    void *block = pool_malloc(1000);
    cr_assert_eq(pool_realloc(block, 1008), block);
    cr_assert_eq(pool_realloc(block, 600), block);
    cr_assert_neq(pool_realloc(block, 100), block, "less than half: the rest would be waste");
}

Test(pool, the_usable_size_stays_the_same_for_the_blocks_life)
{
    static void *blocks[500];
    static size_t usable[500];
    for (unsigned i = 0; i < 500; i++)
        usable[i] = pool_usable_size(blocks[i] = pool_malloc(i * 700));
    for (unsigned i = 0; i < 500; i += 2)
        pool_free(blocks[i]);
    pool_trim(0);
    for (unsigned i = 1; i < 500; i += 2)
        cr_assert_eq(pool_usable_size(blocks[i]), usable[i]);
}

// --- mistakes --------------------------------------------------------------------------------------------------------

Test(pool, a_double_free_is_reported_and_the_heap_stays_whole)
{
    void *block = pool_malloc(100);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free");
    cr_assert_eq(support_misuse.block_bytes, 112);
    cr_assert_neq(pool_malloc(100), pool_malloc(100));
}

Test(pool, a_double_free_of_a_large_block_is_reported)
{
    void *block = pool_malloc(MIB);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free, or never allocated");
}

static void free_twice(void *block)
{
    pool_free(block);
    pool_free(block);
}

Test(pool, a_double_free_of_another_threads_block_is_reported)
{
    void *block = pool_malloc(100);
    pool_malloc(100);
    support_thread(free_twice, block);
    misused("free", block, "double free");
}

Test(pool, a_free_inside_a_block_is_reported)
{
    char *medium = pool_malloc(5000), *large = pool_malloc(MIB);
    pool_free(medium + 16);
    misused("free", medium + 16, "not the start of a block");
    pool_free(large + 4096);
    misused("free", large + 4096, "not the start of a block");
    memset(medium, 0x5a, 5000);
    memset(large, 0x5a, MIB);
}

Test(pool, a_free_of_what_was_never_allocated_is_reported)
{
    char *block = pool_malloc(100);
    page_t *page = support_page(block);
    char *uncarved = page_block(page, page_class(page)->block_count - 1);
    cr_assert_eq(pool_usable_size(uncarved), 0);
    misused("malloc_usable_size", uncarved, "not a live block");
}

Test(pool, a_foreign_pointer_is_known_by_its_address_alone)
{
    static block_t local;
    void *others = malloc(100), *nowhere = (void *)(uintptr_t)0x123450;
    pool_free(&local);
    misused("free", &local, "not from this heap");
    pool_free(others);
    misused("free", others, "not from this heap");
    pool_free(nowhere);
    misused("free", nowhere, "not from this heap");
    cr_assert_null(pool_realloc(others, 10));
    misused("realloc", others, "not from this heap");
    cr_assert_eq(pool_usable_size(nowhere), 0);
    misused("malloc_usable_size", nowhere, "not from this heap");
    free(others);
}

Test(pool, realloc_and_usable_size_of_a_freed_block_are_reported)
{
    void *medium = pool_malloc(5000), *large = pool_malloc(MIB);
    pool_free(medium);
    pool_free(large);
    cr_assert_null(pool_realloc(medium, 10));
    misused("realloc", medium, "not a live block");
    cr_assert_eq(pool_usable_size(large), 0);
    misused("malloc_usable_size", large, "not a live block");
}

Test(pool, a_free_of_a_page_that_went_back_is_reported)
{
    static void *blocks[2000];
    for (unsigned i = 0; i < 2000; i++)
        blocks[i] = pool_malloc(64);
    for (unsigned i = 0; i < 2000; i++)
        pool_free(blocks[i]);
    cr_assert_null(page_owner(support_page(blocks[0])));
    pool_free(blocks[0]);
    misused("free", blocks[0], "double free, or never allocated");
}

// Its page is there, and the block on no list: the step that it lay in was given back.
Test(pool, realloc_of_a_block_whose_carve_step_went_back_is_reported)
{
    static void *blocks[2000];
    unsigned reported = 0;
    for (unsigned i = 0; i < 2000; i++)
        blocks[i] = pool_malloc(256);
    for (unsigned i = 0; i < 2000; i++)
        if (i % 64 != 0)
            pool_free(blocks[i]);
    pool_trim(0);
    for (unsigned i = 0; i < 2000 && reported < 10; i++) {
        page_t *page = support_page(blocks[i]);
        size_t step = (size_t)((char *)blocks[i] - page->start) / CARVE_BYTES;
        if (page_owner(page) == NULL || page->carved >> step & 1)
            continue;
        cr_assert_null(pool_realloc(blocks[i], 5000));
        misused("realloc", blocks[i], "not a live block");
        reported++;
    }
    cr_assert_eq(reported, 10);
}
