// tests/unit/test_block_bits.c - hardened small pages: bits instead of lists, and what a hardened pool makes of misuse.
#include <criterion/criterion.h>
#include <string.h>

#include "check.h"
#include "support.h"
#include "zone_page.h"

static void start_hardened(void)
{
    support_harden = 1;
    cr_assert(pool_start());
}

static void start_with_holds(void)
{
    support_harden = HARDEN_HOLDS;
    cr_assert(pool_start());
}

TestSuite(block_bits, .init = start_hardened);
TestSuite(block_bits_held, .init = start_with_holds);

static void double_free_is_told(void *block)
{
    unsigned before = support_misuses;
    pool_free(block);
    cr_assert(support_misuses == before + 1 && strcmp(support_misuse.what, "double free") == 0);
    cr_assert_null(check_pool(), "%s", check_pool());
}

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

// In words that a carve step fills, and in those that it leaves a few blocks in.
Test(block_bits, the_order_of_blocks_is_not_that_of_their_addresses)
{
    static const size_t sizes[] = {24, 56, 184, 600, 1016};
    for (unsigned size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
        unsigned next = 0;
        char *last = pool_malloc(sizes[size]);
        size_t stride = pool_usable_size(last) + harden_tail_bytes;
        for (unsigned i = 0; i < 600; i++) {
            char *block = pool_malloc(sizes[size]);
            next += block == last + stride || block == last - stride;
            last = block;
        }
        // Of neighbours that are drawn as decision 037 says, 263 are expected at most, with a deviation of 25.
        cr_assert_lt(next, 480, "%zu bytes: %u of 600 lie beside the one before", sizes[size], next);
    }
}

// How many of 600 blocks of 64 bytes lie farther from the one before than neighbours that are drawn from do.
static unsigned far_apart(void)
{
    unsigned far = 0;
    char *last = pool_malloc(64 - HARDEN_TAIL_BYTES);
    for (unsigned i = 0; i < 600; i++) {
        char *block = pool_malloc(64 - HARDEN_TAIL_BYTES);
        ptrdiff_t apart = block - last;
        far += apart > 8 * 64 || apart < -8 * 64;
        last = block;
    }
    return far;
}

// It is where a word, or what is looked at, begins anew.
Test(block_bits, at_level_1_blocks_that_come_in_turn_lie_together)
{
    unsigned far = far_apart();
    cr_assert_lt(far, 120, "%u of 600", far);
}

// Two of the places 0..63, drawn evenly, are more than 8 apart three times in four.
Test(block_bits_held, a_block_comes_from_the_whole_word)
{
    unsigned far = far_apart();
    cr_assert_gt(far, 300, "%u of 600", far);
}

static void free_is_not_short(void *block)
{
    pool_free(pool_malloc(1)); // so that there is a heap
    cr_assert_not(pool_free_is_short(page_owner_word(support_page(block))));
}

Test(block_bits, a_free_has_a_short_way_at_level_1_in_the_pages_of_the_thread)
{
    void *block = pool_malloc(64);
    cr_assert(pool_free_is_short(page_owner_word(support_page(block))));
    support_thread(free_is_not_short, block);
}

Test(block_bits_held, a_free_has_no_short_way)
{
    free_is_not_short(pool_malloc(64));
}

// The short way of malloc: to the last block of each page, and back from a page that others are freed in meanwhile.
Test(block_bits, a_draw_gives_no_block_twice)
{
    static void *blocks[4000];
    static const size_t sizes[] = {1, 56, 200, 248, 249, 1000, 1016};
    for (unsigned size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
        for (unsigned i = 0; i < 4000; i++) {
            blocks[i] = pool_malloc(sizes[size]);
            *(unsigned char *)blocks[i] = (unsigned char)size;
            if (i % 3 == 2) {
                cr_assert_eq(*(unsigned char *)blocks[i / 2], size);
                *(unsigned char *)blocks[i / 2] = 0xff;
                pool_free(blocks[i / 2]);
                blocks[i / 2] = pool_malloc(sizes[size]);
                *(unsigned char *)blocks[i / 2] = (unsigned char)size;
            }
            if (i % 50 == 0)
                cr_assert_null(check_pool(), "%s", check_pool());
        }
        for (unsigned i = 0; i < 4000; i++) {
            cr_assert_eq(*(unsigned char *)blocks[i], size);
            *(unsigned char *)blocks[i] = 0xff;
            pool_free(blocks[i]);
        }
    }
    cr_assert_eq(support_misuses, 0);
}

// The class that they would have with it has no bin, which the sanitizers see.
Test(block_bits, requests_that_their_canary_makes_medium_ones_are_served_as_such)
{
    for (size_t size = SMALL_MAX_BYTES - 2 * HARDEN_TAIL_BYTES; size <= SMALL_MAX_BYTES; size++) {
        void *block = pool_malloc(size);
        cr_assert_eq(page_is_small(zone_page_of(block)), size + HARDEN_TAIL_BYTES <= SMALL_MAX_BYTES, "%zu bytes", size);
        memset(block, 0xff, size);
        pool_free(block);
    }
    cr_assert_eq(support_misuses, 0);
}

Test(block_bits, a_page_that_is_not_the_current_one_any_more_is_drawn_from_no_more)
{
    for (unsigned i = 0; i < 3; i++)
        pool_malloc(56);
    unsigned class = (unsigned)size_class_small(64);
    cr_assert_not_null(heap_self->draw[class].word);
    heap_flush(heap_self);
    cr_assert_null(heap_self->draw[class].word);
    cr_assert_null(check_pool(), "%s", check_pool());
    cr_assert_not_null(pool_malloc(56));
}

Test(block_bits, the_words_of_a_page_are_found_from_its_zone_and_a_shift)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class++) {
        page_t *page = begun_page(class);
        cr_assert_eq(block_bits_free_front(page), block_bits_free(page), "class %u", class);
    }
}

Test(block_bits, medium_blocks_by_the_short_way_are_told_of_as_small_ones)
{
    char *blocks[100];
    for (unsigned i = 0; i < 100; i++)
        blocks[i] = pool_malloc(5000);
    for (unsigned i = 0; i < 100; i++)
        pool_free(blocks[i]);
    for (unsigned i = 0; i < 100; i++)
        blocks[i] = pool_malloc(5000);
    cr_assert_eq(support_misuses, 0);
    pool_free(blocks[50]);
    double_free_is_told(blocks[50]);
    blocks[51][pool_usable_size(blocks[51])]++;
    pool_free(blocks[51]);
    cr_assert_str_eq(support_misuse.what, "its end was written over");
    pool_free(blocks[52] + GRANULE_BYTES);
    cr_assert_str_eq(support_misuse.what, "not the start of a block");
    cr_assert_null(check_pool(), "%s", check_pool());
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

// The page began another life since, and canaries of the one before are still there.
Test(block_bits, a_free_of_what_is_not_carved_yet_is_told)
{
    char *blocks[1000];
    unsigned told = 0;
    for (unsigned i = 0; i < 1000; i++)
        blocks[i] = pool_malloc(56);
    for (unsigned i = 0; i < 1000; i++)
        pool_free(blocks[i]);
    heap_flush(heap_self);
    page_t *page = support_page(pool_malloc(56));
    for (unsigned i = 0; i < 1000; i++)
        if (support_page(blocks[i]) == page && !(page->carved >> (blocks[i] - page->start) / CARVE_BYTES & 1)) {
            pool_free(blocks[i]);
            cr_assert_eq(support_misuses, ++told);
            cr_assert_str_eq(support_misuse.what, "double free, or never allocated");
        }
    cr_assert_gt(told, 0);
    cr_assert_null(check_pool(), "%s", check_pool());
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
