// tests/unit/test_medium.c - blocks with a bit each: which one comes next, what is clean, what becomes of their pages.
#include <criterion/criterion.h>

#include "books.h"
#include "budget.h"
#include "fixture.h"
#include "pool_alloc.h"
#include "support.h"

#define SIZE ((size_t)8192)
#define MOST 64u

static unsigned char *blocks[MOST];
static unsigned class, per_page;

static void medium_begin(void)
{
    pool_free(pool_malloc(1));
    class = size_class_of(SIZE);
    per_page = size_class_table[class].block_count;
}

static void fill_page(void)
{
    for (unsigned i = 0; i < per_page; i++) {
        blocks[i] = pool_malloc(SIZE);
        memset(blocks[i], 0x5a, SIZE);
    }
    cr_assert_eq(support_page(blocks[0]), support_page(blocks[per_page - 1]));
}

static void free_one(void *block)
{
    pool_free(block);
}

TestSuite(medium, .init = medium_begin, .fini = fixture_end, .timeout = 30);

Test(medium, a_current_page_whose_count_runs_out_stays_current)
{
    fill_page();
    page_t *page = support_page(blocks[0]);
    page->floor = 0;
    page->left = 1;
    pool_free(blocks[0]);
    cr_assert_eq(page->place, PAGE_CURRENT);
    cr_assert_eq(page->left, PAGE_NO_EVENT);
    cr_assert_eq(pool_malloc(SIZE), blocks[0]);
}

Test(medium, an_event_for_idle_memory_leaves_the_count_of_the_page)
{
    fill_page();
    page_t *page = support_page(blocks[0]);
    cr_assert_neq(support_page(pool_malloc(SIZE)), page);
    unsigned left = page->left, floor = page->floor;
    cr_assert_gt(left, 1);
    heap_self->idle_due_bytes = 0;
    pool_free(blocks[0]);
    cr_assert_neq(heap_self->idle_due_bytes, 0, "it was an event");
    cr_assert_eq(page->place, PAGE_UNLISTED);
    cr_assert_eq(page->left, left - 1);
    cr_assert_eq(page->floor, floor);
}

Test(medium, a_fresh_page_gives_its_lowest_block_first)
{
    fill_page();
    for (unsigned i = 0; i < per_page; i++)
        cr_assert_eq((char *)blocks[i], page_block(support_page(blocks[0]), i));
}

Test(medium, the_lowest_dirty_block_comes_before_any_fresh_one)
{
    for (unsigned i = 0; i < 4; i++)
        blocks[i] = pool_malloc(SIZE);
    pool_free(blocks[2]);
    pool_free(blocks[1]);
    cr_assert_eq(pool_malloc(SIZE), blocks[1]);
    cr_assert_eq(pool_malloc(SIZE), blocks[2]);
    cr_assert_gt((unsigned char *)pool_malloc(SIZE), blocks[3]);
}

Test(medium, free_writes_nothing_into_the_block)
{
    fill_page();
    pool_free(blocks[3]);
    for (size_t i = 0; i < SIZE; i++)
        cr_assert_eq(blocks[3][i], 0x5a);
}

Test(medium, calloc_of_a_used_block_is_zero_and_of_a_fresh_one_touches_nothing)
{
    fill_page();
    pool_free(blocks[3]);
    unsigned char *again = pool_calloc(SIZE);
    cr_assert_eq(again, blocks[3]);
    for (size_t i = 0; i < SIZE; i++)
        cr_assert_eq(again[i], 0);
    char *fresh = pool_calloc(SIZE);
    cr_assert_eq(books_resident(fresh, fresh + SIZE), 0);
}

Test(medium, a_clean_block_is_clean_only_once)
{
    for (unsigned round = 0; round < 3; round++) {
        unsigned char *block = pool_calloc(SIZE);
        for (size_t i = 0; i < SIZE; i++)
            cr_assert_eq(block[i], 0, "round %u", round);
        memset(block, 0x5a, SIZE);
        pool_free(block);
    }
}

Test(medium, a_page_without_live_blocks_goes_back_unless_it_is_the_current_one)
{
    fill_page();
    page_t *page = support_page(blocks[0]);
    void *elsewhere = pool_malloc(SIZE);
    cr_assert_neq(support_page(elsewhere), page);
    for (unsigned i = 0; i < per_page; i++)
        pool_free(blocks[i]);
    cr_assert_null(page_owner(page));
    pool_free(elsewhere);
    cr_assert_eq(page_owner(support_page(elsewhere)), heap_self);
}

Test(medium, a_full_page_is_used_again_when_enough_of_it_is_free)
{
    fill_page();
    page_t *page = support_page(blocks[0]);
    page_t *other = support_page(pool_malloc(SIZE));
    for (unsigned i = 0; i < per_page / 2; i++)
        pool_free(blocks[i]);
    cr_assert_eq(page->place, PAGE_LISTED);
    unsigned taken = 0;
    while (support_page(pool_malloc(SIZE)) == other)
        taken++;
    cr_assert_lt(taken, per_page);
    cr_assert_eq(page->place, PAGE_CURRENT);
}

Test(medium, a_block_freed_by_another_thread_comes_back)
{
    fill_page();
    page_t *page = support_page(blocks[0]);
    support_thread(free_one, blocks[5]);
    cr_assert_eq(remote_pending(page), 1);
    cr_assert_eq(page_used(page), per_page);
    cr_assert_eq(pool_malloc(SIZE), blocks[5]);
    cr_assert_eq(remote_pending(page), 0);
}

Test(medium, a_double_free_is_reported_and_the_heap_stays_whole)
{
    fill_page();
    pool_free(blocks[5]);
    pool_free(blocks[5]);
    cr_assert_eq(support_misuses, 1);
    cr_assert_str_eq(support_misuse.what, "double free");
    cr_assert_eq(support_misuse.address, blocks[5]);
    cr_assert_eq(support_misuse.block_bytes, SIZE);
}

Test(medium, a_double_free_by_another_thread_is_reported)
{
    fill_page();
    support_thread(free_one, blocks[5]);
    support_thread(free_one, blocks[5]);
    cr_assert_eq(support_misuses, 1);
    cr_assert_str_eq(support_misuse.what, "double free");
    pool_free(blocks[5]);
    cr_assert_eq(support_misuses, 2);
}

Test(medium, idle_bytes_are_what_is_free_and_dirty)
{
    fill_page();
    size_t before = heap_self->idle_bytes;
    pool_free(blocks[1]);
    pool_free(blocks[2]);
    cr_assert_eq(heap_self->idle_bytes, before + 2 * SIZE);
    pool_malloc(SIZE);
    cr_assert_eq(heap_self->idle_bytes, before + SIZE);
}

// A resident block by the short way, which the front of pool_malloc leaves out.
static void *take_last(void)
{
    void *block = pool_alloc_beyond_or(SIZE, pool_malloc_slow, pool_malloc_slow);
    cr_assert_eq(heap_self->last.block, block);
    return block;
}

static void short_way_begin(void)
{
    fill_page();
    while (heap_medium_is_noted(heap_medium_handed(&heap_self->medium[class - CLASS_FIRST_MEDIUM]) + 1)) {
        pool_free(blocks[5]);
        pool_malloc(SIZE);
    }
    pool_free(blocks[3]);
    pool_free(blocks[5]);
}

Test(medium, the_block_handed_out_last_is_freed_as_any_other)
{
    short_way_begin();
    size_t idle = heap_self->idle_bytes;
    void *block = take_last();
    cr_assert_eq(block, blocks[3]);
    cr_assert_eq(heap_self->idle_bytes, idle - SIZE);
    pool_free(block);
    cr_assert_eq(heap_self->idle_bytes, idle);
    cr_assert_eq(page_used(support_page(block)), per_page - 2);
    cr_assert_null(heap_self->last.block);
}

Test(medium, a_double_free_of_the_block_handed_out_last_is_reported)
{
    short_way_begin();
    void *block = take_last();
    pool_free(block);
    pool_free(block);
    cr_assert_eq(support_misuses, 1);
    cr_assert_str_eq(support_misuse.what, "double free");
}

Test(medium, that_another_thread_has_freed_the_block_handed_out_last_is_seen)
{
    short_way_begin();
    void *block = take_last();
    support_thread(free_one, block);
    pool_free(block);
    cr_assert_eq(support_misuses, 1);
}

Test(medium, that_another_thread_has_freed_it_is_seen_after_its_page_took_it_back, .timeout = 30)
{
    short_way_begin();
    void *block = take_last();
    support_thread(free_one, block);
    heap_collect(heap_self, support_page(block), false);
    pool_free(block);
    cr_assert_eq(support_misuses, 1);
    cr_assert_str_eq(support_misuse.what, "double free");
}

Test(medium, the_block_handed_out_last_is_searched_for_when_its_page_is_not_the_current_one_any_more)
{
    short_way_begin();
    void *block = take_last();
    for (unsigned i = 0; i < per_page; i++)
        pool_malloc(SIZE);
    cr_assert_null(heap_self->last.block);
    pool_free(block);
    cr_assert_eq(page_used(support_page(block)), per_page - 1);
}

// --- blocks that larger classes lend -----------------------------------------------------------------------------------

#define LARGER ((size_t)9216)

static void *freed_larger(size_t size_bytes)
{
    void *block = pool_malloc(size_bytes);
    memset(block, 0x5a, size_bytes);
    pool_malloc(size_bytes);
    pool_free(block);
    return block;
}

Test(medium, a_request_that_would_be_faulted_in_gets_a_freed_block_of_a_larger_class)
{
    void *first = pool_malloc(SIZE), *freed = freed_larger(LARGER);
    cr_assert_eq(pool_malloc(SIZE), freed);
    cr_assert_eq(support_page(freed)->class, size_class_of(LARGER));
    cr_assert_eq(support_page(pool_malloc(SIZE)), support_page(first), "there is no other");
    pool_free(freed);
    cr_assert_eq(pool_malloc(LARGER), freed, "it is its own class's again");
}

Test(medium, a_freed_block_of_its_own_class_comes_first)
{
    void *own = pool_malloc(SIZE), *freed = freed_larger(LARGER);
    pool_free(own);
    cr_assert_eq(pool_malloc(SIZE), own);
    cr_assert_eq(pool_malloc(SIZE), freed);
}

Test(medium, a_lent_block_is_at_most_half_as_large_again)
{
    size_t most = size_class_table[class + LENT_MEDIUM_STEPS].block_bytes;
    cr_assert_leq(most, SIZE + SIZE / 2);
    void *freed = freed_larger(most);
    cr_assert_eq(pool_malloc(SIZE), freed);
    void *too_large = freed_larger(most + 1);
    cr_assert_neq(pool_malloc(SIZE), too_large);
}

Test(medium, a_lent_block_of_a_page_that_is_not_the_current_one)
{
    for (unsigned i = 0; i < MOST; i++)
        blocks[i] = pool_malloc(LARGER);
    page_t *page = support_page(blocks[0]), *current = support_page(blocks[MOST - 1]);
    cr_assert_neq(page, current);
    for (unsigned i = 0; i < 8; i++)
        pool_free(blocks[i]);
    cr_assert_eq(page->place, PAGE_LISTED);
    cr_assert_eq(pool_malloc(SIZE), blocks[0]);
}

Test(medium, an_aligned_request_gets_no_lent_block_that_is_not)
{
    void *freed = freed_larger(LARGER), *aligned = pool_aligned_alloc(SIZE, SIZE);
    cr_assert_neq(aligned, freed);
    cr_assert_eq((uintptr_t)aligned % SIZE, 0);
    cr_assert_eq(pool_aligned_alloc(LARGER & -LARGER, SIZE), freed);
}

// Each medium class of up to 32 KiB has a few blocks in use, and as many resident free ones.
static void each_class_has_free_blocks(void)
{
    for (unsigned larger = CLASS_FIRST_MEDIUM; larger <= size_class_of(32768); larger++) {
        size_t bytes = size_class_table[larger].block_bytes;
        for (unsigned i = 0; i < 6; i++)
            blocks[i] = memset(pool_malloc(bytes), 0x5a, bytes);
        for (unsigned i = 0; i < 6; i += 2)
            pool_free(blocks[i]);
    }
}

Test(medium, whatever_is_lent_to_an_aligned_request_is_aligned_and_of_a_class_that_is)
{
    unsigned lent = 0;
    for (size_t alignment = 2 * GRANULE_BYTES; alignment <= 16384; alignment *= 2) {
        each_class_has_free_blocks();
        for (unsigned own = CLASS_FIRST_MEDIUM; own <= size_class_of(16384); own++) {
            size_t bytes = size_class_table[own].block_bytes;
            for (unsigned i = 0; i < 8; i++) {
                void *block = pool_aligned_alloc(alignment, bytes);
                page_t *page = support_page(block);
                cr_assert_eq((uintptr_t)block % alignment, 0, "%zu bytes aligned to %zu", bytes, alignment);
                cr_assert_eq(page_class(page)->block_bytes % alignment, 0);
                cr_assert_geq(pool_usable_size(block), bytes);
                lent += page->class != pool_alloc_class(alignment, bytes);
            }
        }
    }
    cr_assert_gt(lent, 0);
}

Test(medium, a_lent_block_is_cleared_by_calloc)
{
    static const char zeros[SIZE];
    void *freed = freed_larger(LARGER), *block = pool_calloc(SIZE);
    cr_assert_eq(block, freed);
    cr_assert_eq(memcmp(block, zeros, SIZE), 0);
}

Test(medium, a_lent_block_is_usable_whole_and_stays_where_it_is_at_any_size_that_gets_one)
{
    for (unsigned own = CLASS_FIRST_MEDIUM; own + LENT_MEDIUM_STEPS < CLASS_COUNT; own++) {
        size_t least = size_class_table[own - 1].block_bytes + 1;
        cr_assert(pool_fits_in_place(size_class_table[own + LENT_MEDIUM_STEPS].block_bytes, least), "class %u", own);
    }
    void *freed = freed_larger(LARGER);
    cr_assert_eq(pool_malloc(SIZE), freed);
    cr_assert_eq(pool_usable_size(freed), LARGER);
    cr_assert_eq(pool_realloc(freed, LARGER), freed);
    cr_assert_eq(pool_realloc(freed, SIZE), freed);
    cr_assert_eq(pool_usable_size(freed), LARGER);
}

Test(medium, a_heap_that_was_larger_a_moment_ago_lends_nothing)
{
    void *freed = freed_larger(LARGER);
    size_t more = budget_used();
    budget_use(more);
    budget_unuse(more);
    cr_assert_neq(pool_malloc(SIZE), freed);
}

Test(medium, what_is_resident_ahead_of_its_use_is_not_lent)
{
    void *freed = freed_larger(LARGER);
    support_page(freed)->ahead = true;
    cr_assert_neq(pool_malloc(SIZE), freed);
}

// The other page of the zone is one that its owner gave back as it was.
static void *free_page_beside_current(size_t size_bytes)
{
    unsigned count = size_class_table[size_class_of(size_bytes)].block_count;
    cr_assert_lt(count, MOST);
    for (unsigned i = 0; i <= count; i++)
        blocks[i] = memset(pool_malloc(size_bytes), 0x5a, size_bytes);
    for (unsigned i = 0; i < count; i++)
        pool_free(blocks[i]);
    return blocks[0];
}

Test(medium, a_free_page_that_is_resident_comes_before_clean_blocks)
{
    void *free_block = free_page_beside_current(SIZE);
    cr_assert_null(page_owner(support_page(free_block)));
    cr_assert_eq(pool_malloc(SIZE), free_block);
}

Test(medium, clean_blocks_of_less_than_an_os_page_come_before_a_free_page)
{
    const size_t size_bytes = SMALL_MAX_BYTES + 1;
    void *free_block = free_page_beside_current(size_bytes);
    void *current = blocks[size_class_table[size_class_of(size_bytes)].block_count];
    cr_assert_null(page_owner(support_page(free_block)));
    cr_assert_eq(support_page(pool_malloc(size_bytes)), support_page(current));
}

static void harden_begin(void)
{
    support_harden = 1;
    medium_begin();
}

TestSuite(medium_hardened, .init = harden_begin, .fini = fixture_end, .timeout = 30);

Test(medium_hardened, nothing_is_lent)
{
    void *freed = freed_larger(LARGER - HARDEN_TAIL_BYTES);
    cr_assert_neq(pool_malloc(SIZE - HARDEN_TAIL_BYTES), freed);
}
