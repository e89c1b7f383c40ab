// tests/unit/test_block_bits.c - hardened small pages: bits instead of lists, and what a hardened pool makes of misuse.
#include <criterion/criterion.h>
#include <string.h>

#include "check.h"
#include "support.h"

static void start_hardened(void)
{
    support_harden = 1;
    cr_assert(pool_start());
}

TestSuite(block_bits, .init = start_hardened);

static page_t *begun_page(unsigned class)
{
    void *block = pool_malloc(class * GRANULE_BYTES); // so that there is a heap
    page_t *page = zone_page_alloc(class, heap_self);
    cr_assert(page != NULL && block_bits_begin(page));
    pool_free(block);
    return page;
}

Test(block_bits, one_of_the_set_bits_is_chosen_and_each_can_be)
{
    uint64_t word = 0x8000000000010002u, seen = 0;
    for (unsigned chance = 0; chance < 64; chance++)
        seen |= (uint64_t)1 << block_bits_within(word, chance);
    cr_assert_eq(seen, word);
}

// As in a word that only the end of a carve step reaches into: no block of it comes more often than another.
Test(block_bits, chance_is_spread_over_the_bits_that_are_there)
{
    for (unsigned low = 0; low < 64; low += 7)
        for (unsigned count = 1; low + count <= 64; count *= 2) {
            unsigned chosen[64] = {0};
            for (unsigned chance = 0; chance < 64; chance++)
                chosen[block_bits_within(bits_mask(count) << low, chance)]++;
            for (unsigned bit = low; bit < low + count; bit++)
                cr_assert_eq(chosen[bit], 64 / count, "bit %u of %u from %u on: %u", bit, count, low, chosen[bit]);
        }
}

Test(block_bits, carving_gives_every_block_once)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class++) {
        page_t *page = begun_page(class);
        bool given[SMALL_BLOCKS_MAX] = {false};
        uint64_t random = class;
        unsigned count = 0;
        while (page_can_carve(page)) {
            block_bits_carve(page, block_bits_random(&random));
            for (; page->free_words != 0; count++, page->left++) {
                cr_assert_null(block_bits_check(page), "class %u: %s", class, block_bits_check(page));
                unsigned index = block_bits_take(page, block_bits_random(&random));
                cr_assert(index < page_class(page)->block_count && !given[index], "class %u: block %u", class, index);
                given[index] = true;
            }
        }
        cr_assert_eq(count, page_class(page)->block_count, "class %u", class);
    }
}

Test(block_bits, what_others_free_waits_for_collect_and_cannot_be_freed_twice)
{
    page_t *page = begun_page(4);
    bool already;
    uint64_t random = 1;
    unsigned twice, twice_count;
    block_bits_carve(page, random);
    unsigned first = block_bits_take(page, block_bits_random(&random)), second = block_bits_take(page, block_bits_random(&random));
    page->left = 2;
    cr_assert(block_bits_free_remote(page, first, &already) && !already, "the first must queue the page");
    cr_assert(!block_bits_free_remote(page, second, &already) && !already);
    block_bits_free_remote(page, first, &already);
    cr_assert(already && block_bits_is_freed(page, first));
    cr_assert_eq(block_bits_waiting(page), 2);
    cr_assert_eq(block_bits_collect(page, remote_take(page, true), &twice, &twice_count), 2);
    cr_assert_eq(twice_count, 0);
    page->left = 0;
    cr_assert_null(block_bits_check(page));
}

Test(block_bits, a_block_that_owner_and_another_free_at_once_is_counted_once_and_named)
{
    page_t *page = begun_page(4);
    bool already;
    uint64_t random = 1;
    unsigned twice, twice_count;
    block_bits_carve(page, random);
    unsigned index = block_bits_take(page, block_bits_random(&random));
    block_bits_put(page, index);
    block_bits_free_remote(page, index, &already);
    cr_assert_eq(block_bits_collect(page, remote_take(page, true), &twice, &twice_count), 0);
    cr_assert(twice_count == 1 && twice == index);
    cr_assert_null(block_bits_check(page));
}

Test(block_bits, the_order_of_blocks_is_not_that_of_their_addresses)
{
    unsigned rises = 0;
    char *last = pool_malloc(64);
    for (unsigned i = 0; i < 60; i++) {
        char *block = pool_malloc(64);
        rises += block > last;
        last = block;
    }
    cr_assert(rises > 10 && rises < 50, "%u of 60 lie above the one before", rises);
}

Test(block_bits, a_write_through_a_dangling_pointer_reaches_no_list)
{
    void *blocks[1000];
    for (unsigned i = 0; i < 1000; i++)
        blocks[i] = pool_malloc(48);
    for (unsigned i = 0; i < 1000; i += 2) {
        pool_free(blocks[i]);
        memset(blocks[i], 0x41, 48);
    }
    for (unsigned i = 0; i < 2000; i++)
        cr_assert_not_null(pool_malloc(48));
    cr_assert_null(check_pool(), "%s", check_pool());
}

static void double_free_is_told(void *block)
{
    unsigned before = support_misuses;
    pool_free(block);
    cr_assert(support_misuses == before + 1 && strcmp(support_misuse.what, "double free") == 0);
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(block_bits, a_double_free_is_told_however_late_and_the_heap_stays_whole)
{
    void *blocks[200];
    for (unsigned i = 0; i < 200; i++)
        blocks[i] = pool_malloc(300);
    for (unsigned i = 0; i < 200; i += 3)
        pool_free(blocks[i]);
    for (unsigned i = 0; i < 200; i += 3)
        double_free_is_told(blocks[i]);
}

static void free_it(void *block)
{
    pool_free(block);
}

Test(block_bits, a_double_free_by_owner_and_thread_is_told_in_either_order)
{
    void *kept = pool_malloc(64), *first = pool_malloc(64), *second = pool_malloc(64);
    support_thread(free_it, first);
    double_free_is_told(first);
    pool_free(second);
    support_thread(double_free_is_told, second);
    pool_free(kept);
}

Test(block_bits, realloc_in_place_sees_what_was_freed)
{
    void *blocks[3] = {pool_malloc(64), pool_malloc(64), pool_malloc(64)};
    pool_free(blocks[0]);
    pool_free(blocks[1]);
    cr_assert_null(pool_realloc(blocks[0], 60));
    cr_assert_str_eq(support_misuse.what, "not a live block");
}
