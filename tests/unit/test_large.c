// tests/unit/test_large.c - large blocks through the pool's front: cached and fitted, grown in place, moved without
// copying, shrunk, aligned.
#include <criterion/criterion.h>
#include <pthread.h>

#include "books.h"
#include "budget.h"
#include "check.h"
#include "large.h"
#include "os_linux.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

static void large_begin(void)
{
    cr_assert(pool_start());
}

static void large_end(void)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}

static void pattern_fill(unsigned char *block, size_t from, size_t to)
{
    for (size_t i = from; i < to; i += 509)
        block[i] = (unsigned char)(i % 251);
}

static bool pattern_is(const unsigned char *block, size_t to)
{
    for (size_t i = 0; i < to; i += 509)
        if (block[i] != (unsigned char)(i % 251))
            return false;
    return true;
}

TestSuite(large, .init = large_begin, .fini = large_end, .timeout = 60);

Test(large, a_block_is_whole_os_pages_and_all_of_it_usable)
{
    for (size_t size = MEDIUM_MAX_BYTES + 1; size < MEDIUM_MAX_BYTES + 20000; size += 1234) {
        unsigned char *block = pool_malloc(size);
        cr_assert_eq(pool_usable_size(block), align_up(size, os_page_bytes()));
        memset(block, 0x5a, pool_usable_size(block));
    }
}

Test(large, a_freed_block_is_cached_and_served_again)
{
    char *block = pool_malloc(MIB / 2);
    memset(block, 0x5a, MIB / 2);
    pool_free(block);
    cr_assert_eq(budget_retained(), MIB / 2);
    cr_assert_eq(books_resident(block, block + MIB / 2), MIB / 2);
    cr_assert_eq(pool_malloc(MIB / 2), block);
    cr_assert_eq(budget_retained(), 0);
}

Test(large, of_several_cached_blocks_the_best_fit_is_served)
{
    static const size_t sizes[] = {436 << 10, 316 << 10, 380 << 10};
    char *blocks[3];
    pool_malloc(40 * MIB); // so that the budget has room
    for (unsigned i = 0; i < 3; i++)
        memset(blocks[i] = pool_malloc(sizes[i]), 0x5a, sizes[i]);
    for (unsigned i = 0; i < 3; i++)
        pool_free(blocks[i]);
    cr_assert_eq(pool_malloc(376 << 10), blocks[2]);
    cr_assert_eq(pool_malloc(300 << 10), blocks[1]);
}

Test(large, a_much_larger_cached_block_is_left_alone)
{
    char *block = pool_malloc(MIB);
    pool_free(block);
    cr_assert_neq(pool_malloc(MIB / 2), block);
}

Test(large, what_the_last_owner_left_behind_the_end_is_given_back)
{
    size_t longer = 320 << 10, shorter = 300 << 10;
    char *block = pool_malloc(longer);
    memset(block, 0x5a, longer);
    pool_free(block);
    cr_assert_eq(pool_malloc(shorter), block);
    cr_assert_eq(books_resident(block + align_up(shorter, os_page_bytes()), block + longer), 0);
}

Test(large, beyond_the_budget_nothing_is_kept)
{
    char *block = pool_malloc(64 * MIB);
    memset(block, 0x5a, 64 * MIB);
    pool_free(block);
    cr_assert_eq(books_resident(block, block + 64 * MIB), 0);
    cr_assert_leq(budget_retained(), BUDGET_FLOOR_BYTES);
}

Test(large, calloc_of_fresh_memory_touches_nothing_and_of_cached_memory_clears_it)
{
    char *fresh = pool_calloc(MIB / 2);
    cr_assert_eq(books_resident(fresh, fresh + MIB / 2), 0);
    memset(fresh, 0x5a, MIB / 2);
    pool_free(fresh);
    char *again = pool_calloc(MIB / 2);
    cr_assert_eq(again, fresh);
    for (size_t i = 0; i < MIB / 2; i++)
        cr_assert_eq(again[i], 0);
}

Test(large, it_grows_in_place_where_there_is_room)
{
    unsigned char *block = pool_malloc(MIB);
    pattern_fill(block, 0, MIB);
    for (size_t size = MIB; size <= 64 * MIB; size += MIB / 2)
        cr_assert_eq(pool_realloc(block, size), block, "%zu", size);
    cr_assert(pattern_is(block, MIB));
}

Test(large, moved_by_the_kernel_it_keeps_its_contents_and_its_memory)
{
    unsigned char *block = pool_malloc(16 * MIB);
    pool_malloc(MIB); // in the way
    pattern_fill(block, 0, 16 * MIB);
    uint64_t resident = books_resident(block, block + 16 * MIB);
    unsigned char *moved = pool_realloc(block, 24 * MIB);
    cr_assert_neq(moved, block);
    cr_assert(pattern_is(moved, 16 * MIB));
    cr_assert_eq(books_resident(moved, moved + 24 * MIB), resident);
    cr_assert_eq(books_resident(block, block + 16 * MIB), 0);
}

Test(large, a_growing_vector_keeps_its_contents_all_the_way)
{
    size_t size = 300 << 10;
    unsigned char *block = pool_malloc(size);
    pattern_fill(block, 0, size);
    while (size < 200 * MIB) {
        size_t longer = size + size / 2;
        pool_malloc(MEDIUM_MAX_BYTES + 1); // always in the way
        block = pool_realloc(block, longer);
        cr_assert_not_null(block);
        cr_assert(pattern_is(block, size), "%zu", size);
        pattern_fill(block, 0, longer);
        size = longer;
    }
    pool_free(block);
}

Test(large, the_addresses_left_by_a_move_are_used_again_and_read_as_zero)
{
    unsigned char *block = pool_malloc(4 * MIB);
    pool_malloc(MIB);
    memset(block, 0x5a, 4 * MIB);
    cr_assert_neq(pool_realloc(block, 8 * MIB), block);
    unsigned char *again = pool_calloc(4 * MIB);
    cr_assert_eq(again, block);
    cr_assert(again[0] == 0 && memcmp(again, again + 1, 4 * MIB - 1) == 0);
}

Test(large, shrinking_gives_the_rest_back)
{
    unsigned char *block = pool_malloc(8 * MIB);
    pattern_fill(block, 0, 8 * MIB);
    memset(block + 2 * MIB, 0x5a, 6 * MIB);
    cr_assert_eq(pool_realloc(block, 2 * MIB), block);
    cr_assert_eq(pool_usable_size(block), 2 * MIB);
    cr_assert_eq(books_resident(block + 2 * MIB, block + 8 * MIB), 0);
    cr_assert(pattern_is(block, 2 * MIB));
    unsigned char *rest = block + 2 * MIB + LARGE_GRAIN_BYTES;
    cr_assert_eq(pool_malloc(6 * MIB - LARGE_GRAIN_BYTES), rest, "the addresses, too, but for a gap");
}

Test(large, every_alignment_up_to_64_mib_is_kept)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2)
        for (size_t size = 1; size <= 2 * MIB; size = size * 5 + 3) {
            unsigned char *block = pool_aligned_alloc(alignment, size);
            cr_assert_not_null(block);
            cr_assert_eq((uintptr_t)block & (size_max(alignment, GRANULE_BYTES) - 1), 0, "%zu aligned to %zu", size,
                         alignment);
            cr_assert_geq(pool_usable_size(block), size);
            block[0] = block[size - 1] = 1;
            pool_free(block);
        }
}

Test(large, an_address_that_is_no_blocks_is_told_apart)
{
    size_t bytes;
    int elsewhere;
    char *block = pool_malloc(MIB);
    cr_assert_eq(large_usable(block, &bytes), LARGE_DONE);
    cr_assert_eq(bytes, MIB);
    cr_assert_eq(large_usable(block + 16, &bytes), LARGE_INTERIOR);
    cr_assert_eq(large_usable(block + LARGE_GRAIN_BYTES, &bytes), LARGE_INTERIOR);
    cr_assert_eq(large_usable(&elsewhere, &bytes), LARGE_FOREIGN);
    pool_free(block);
    cr_assert_eq(large_usable(block, &bytes), LARGE_FREED);
    cr_assert_eq(large_free(block), LARGE_FREED);
}

Test(large, the_block_that_was_freed_last_stands_ready_for_its_size)
{
    large_counts_t before = large_counts();
    void *block = pool_malloc(MIB / 2 - 5);
    for (unsigned i = 1; i < 4; i++) {
        pool_free(block);
        cr_assert_eq(extent_node(extent_at(block))->state, EXTENT_WARM);
        cr_assert_eq(large_counts().live_blocks, before.live_blocks);
        cr_assert_eq(large_counts().requested_bytes, before.requested_bytes);
        cr_assert_eq(budget_retained(), MIB / 2);
        cr_assert_eq(pool_malloc(MIB / 2 - 5), block);
        cr_assert_eq(large_counts().allocated_total, before.allocated_total + i + 1);
    }
    cr_assert_eq(large_counts().requested_bytes - before.requested_bytes, MIB / 2 - 5);
    pool_free(block);
}

Test(large, a_ready_block_is_cached_when_another_comes_or_another_size_is_wanted)
{
    void *first = pool_malloc(MIB / 2), *second = pool_malloc(MIB / 4 + 1);
    pool_free(first);
    pool_free(second);
    cr_assert_eq(extent_node(extent_at(first))->state, EXTENT_CACHED);
    cr_assert_eq(extent_node(extent_at(second))->state, EXTENT_WARM);
    cr_assert_eq(pool_malloc(MIB / 2 - 1), first);
    cr_assert_eq(extent_node(extent_at(second))->state, EXTENT_CACHED);
    pool_free(first);
    cr_assert(pool_trim(0));
    cr_assert_eq(budget_retained(), 0);
}

Test(large, a_ready_block_that_is_freed_again_is_reported)
{
    void *block = pool_malloc(MIB / 2);
    pool_free(block);
    pool_free(block);
    cr_assert_eq(support_misuses, 1);
    cr_assert_eq(pool_malloc(MIB / 2), block);
}

Test(large, what_lives_is_counted)
{
    large_counts_t before = large_counts();
    void *a = pool_malloc(MIB + 1), *b = pool_malloc(2 * MIB);
    b = pool_realloc(b, 3 * MIB + 5);
    large_counts_t counts = large_counts();
    cr_assert_eq(counts.live_blocks - before.live_blocks, 2);
    cr_assert_eq(counts.allocated_total - before.allocated_total, 2);
    cr_assert_eq(counts.requested_bytes - before.requested_bytes, 4 * MIB + 6);
    cr_assert_eq(counts.live_bytes - before.live_bytes, 4 * MIB + 2 * os_page_bytes());
    pool_free(a);
    pool_free(b);
    counts = large_counts();
    cr_assert_eq(counts.live_bytes, before.live_bytes);
    cr_assert_eq(counts.requested_bytes, before.requested_bytes);
}

// Writes its mark into blocks, and looks whether it is still there before it frees or resizes them.
static void *use_blocks(void *mark)
{
    void **held[8] = {NULL};
    uint64_t random = (uintptr_t)mark | 1;
    uintptr_t strange = 0;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned at = (unsigned)(support_random(&random) % 8);
        size_t size = MEDIUM_MAX_BYTES + 1 + support_random(&random) % MIB;
        strange += held[at] != NULL && *held[at] != mark;
        if (i % 4 == 0) {
            held[at] = pool_realloc(held[at], size);
        } else {
            pool_free(held[at]);
            held[at] = pool_malloc(size);
        }
        *held[at] = mark;
    }
    for (unsigned at = 0; at < 8; at++)
        pool_free(held[at]);
    pool_thread_exit();
    return (void *)strange;
}

Test(large, blocks_that_many_threads_use_at_once_are_neither_shared_nor_lost)
{
    pthread_t threads[4];
    unsigned marks[4];
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_blocks, &marks[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *strange;
        pthread_join(threads[i], &strange);
        cr_assert_null(strange);
    }
    cr_assert_eq(large_counts().live_blocks, 0);
    cr_assert_eq(large_counts().live_bytes, 0);
}

Test(large, what_is_more_than_can_be_is_refused)
{
    cr_assert_null(pool_malloc((size_t)PTRDIFF_MAX + 1));
    cr_assert_null(pool_malloc(PTRDIFF_MAX));
    cr_assert_null(pool_malloc(SIZE_MAX));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 62, MIB));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 63, SIZE_MAX / 2));
    void *block = pool_malloc(MIB);
    cr_assert_null(pool_realloc(block, PTRDIFF_MAX));
    cr_assert_null(pool_realloc(block, SIZE_MAX));
    cr_assert_eq(pool_usable_size(block), MIB, "the block is as it was");
}
