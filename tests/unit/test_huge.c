// tests/unit/test_huge.c - huge pages in proportion: when a region is backed, what is excused, what is given back. The
// kernel's answer stands in this file (-Wl,--wrap), and so does the clock.
#include <criterion/criterion.h>

#include "budget.h"
#include "extent.h"
#include "fixture.h"
#include "os_linux.h"
#include "support.h"

#define MIB   ((size_t)1 << 20)
#define SMALL ((size_t)1000) // in the zone of 64 KiB pages: 32 of them a region
#define MOST  (110 * MIB / SMALL)

static void *blocks[MOST];
static bool refuses, gives_none;
static unsigned asked, backed, collapsed;
static uint64_t now_ms = 1000000, now_us = 1000000;
static unsigned collapses_refused;
static uint64_t stopped_us; // the process is stopped for so long when it asks next

bool __wrap_os_huge_page(char *start, size_t bytes, bool again);
bool __real_os_huge_page(char *start, size_t bytes, bool again);
bool __wrap_os_huge_page_collapse(char *start, size_t bytes);
bool __real_os_huge_page_collapse(char *start, size_t bytes);
bool __wrap_os_gives_huge_pages(size_t bytes);
unsigned __wrap_os_resident_percent(const char *start, size_t bytes);
unsigned __real_os_resident_percent(const char *start, size_t bytes);
uint64_t __wrap_os_now_ms(void);
uint64_t __wrap_os_now_us(void);

#define SECOND_US (uint64_t)1000000
#define ASKING_US 150 // what it takes the kernel to answer; a block of SMALL takes 1 to touch

// A kernel without huge pages is stood in for by touching the range: what follows is the same.
bool __wrap_os_huge_page(char *start, size_t bytes, bool again)
{
    asked++;
    now_us += ASKING_US + stopped_us;
    stopped_us = 0;
    if (refuses)
        return false;
    backed++;
    if (!__real_os_huge_page(start, bytes, again))
        for (size_t at = 0; at < bytes; at += os_page_bytes())
            *(volatile char *)(start + at) = 0;
    return true;
}

bool __wrap_os_huge_page_collapse(char *start, size_t bytes)
{
    collapsed++;
    now_us += ASKING_US;
    if (collapses_refused != 0) {
        collapses_refused--;
        return false;
    }
    if (!__real_os_huge_page_collapse(start, bytes))
        for (volatile char *at = start; at < start + bytes; at += os_page_bytes())
            *at = *at;
    return true;
}

bool __wrap_os_gives_huge_pages(size_t bytes)
{
    (void)bytes;
    return !gives_none;
}

// A block of TiB, of which nothing is there: what is asked about is resident but for a hole in it.
static const char *hole_start, *hole_end, *looked_end;
static size_t looked_bytes;

unsigned __wrap_os_resident_percent(const char *start, size_t bytes)
{
    if (hole_start == NULL)
        return __real_os_resident_percent(start, bytes);
    looked_bytes += bytes;
    looked_end = start + bytes;
    return start + bytes <= hole_start || start >= hole_end ? 100 : 0;
}

uint64_t __wrap_os_now_ms(void)
{
    return now_ms;
}

uint64_t __wrap_os_now_us(void)
{
    return now_us;
}

static void begin_auto(void)
{
    support_huge = HUGE_AUTO;
    cr_assert(pool_start());
}

static void begin_on(void)
{
    support_huge = HUGE_ON;
    cr_assert(pool_start());
}

static void begin_off(void)
{
    support_huge = HUGE_OFF;
    cr_assert(pool_start());
}

static size_t used_count;

static void fill_to(size_t bytes)
{
    for (; used_count < bytes / SMALL; used_count++)
        memset(blocks[used_count] = pool_malloc(SMALL), 0x5a, SMALL);
}

static void empty(void)
{
    for (size_t i = 0; i < used_count; i++)
        pool_free(blocks[i]);
    used_count = 0;
}

static uint64_t resident_of_heap(void)
{
    static survey_t survey;
    survey_take(&survey);
    return survey.heap_rss_bytes - survey.metadata_bytes;
}

TestSuite(huge, .init = begin_auto, .timeout = 100);
TestSuite(huge_on, .init = begin_on, .timeout = 100);
TestSuite(huge_off, .init = begin_off, .timeout = 100);

Test(huge, a_heap_below_32_mib_has_none)
{
    fill_to(28 * MIB);
    cr_assert_eq(asked, 0);
    require_books();
}

Test(huge, a_growing_heap_gets_them_in_proportion)
{
    for (size_t mib = 40; mib <= 100; mib += 15) {
        fill_to(mib * MIB);
        cr_assert_leq(resident_of_heap(), mib * MIB * 107 / 100 + MIB, "at %zu MiB", mib); // 6 %, and what was there before
    }
    cr_assert_gt(backed, 20);
    require_books();
}

Test(huge, what_is_freed_goes_back_at_once)
{
    fill_to(64 * MIB);
    empty();
    cr_assert_leq(resident_of_heap(), 2 * MIB);
    require_books();
}

Test(huge, a_heap_that_comes_back_gets_them_before_it_is_as_large_again)
{
    fill_to(50 * MIB);
    empty();
    backed = 0;
    fill_to(30 * MIB);
    cr_assert_geq(backed, 8);
    require_books();
}

Test(huge, a_heap_that_comes_back_after_seconds_gets_them_though_the_peak_has_sunk)
{
    fill_to(40 * MIB);
    empty();
    backed = 0;
    now_ms += 4000; // to 7/8 of it with each second: 23 MiB
    fill_to(20 * MIB);
    cr_assert_geq(backed, 6);
    cr_assert_leq(resident_of_heap(), 22 * MIB);
    require_books();
}

Test(huge, a_heap_that_comes_back_has_as_much_ahead_as_it_uses)
{
    fill_to(50 * MIB);
    empty();
    now_ms += 2000; // what was given back is not regretted any more
    backed = 0;
    fill_to(MIB * 7 / 2);
    cr_assert_eq(backed, 1);
    cr_assert_leq(resident_of_heap(), 5 * MIB);
    require_books();
}

static void swing_twice(void)
{
    for (unsigned i = 0; i < 2; i++) {
        fill_to(50 * MIB);
        empty();
    }
    backed = 0;
}

// More than was kept, so that a page is wanted of a region of which none is in use; and less than a region.
static void require_regions(unsigned expected, size_t size)
{
    for (unsigned i = 0; i < 1300; i++)
        blocks[used_count++] = pool_malloc(size);
    cr_assert_eq(backed, expected);
    require_books();
    empty();
    cr_assert_leq(resident_of_heap(), 2 * MIB);
}

Test(huge, a_heap_that_came_back_a_moment_ago_gets_its_first_region_at_once)
{
    swing_twice();
    require_regions(1, SMALL);
}

Test(huge, a_heap_that_came_back_a_while_ago_does_not)
{
    swing_twice();
    now_ms += 6000; // the credit has halved six times
    require_regions(0, SMALL);
}

Test(huge, a_heap_that_comes_back_gets_nothing_at_once_where_it_had_nothing)
{
    swing_twice();
    require_regions(0, 1500); // in a third zone
}

Test(huge, a_zone_that_comes_back_gets_no_region_beyond_where_it_was)
{
    for (unsigned round = 0; round < 3; round++) { // two zones grow side by side, to no whole number of regions
        backed = 0;
        for (unsigned i = 0; i < 18500; i++) {
            memset(blocks[used_count++] = pool_malloc(SMALL), 0x5a, SMALL);
            memset(blocks[used_count++] = pool_malloc(1500), 0x5a, 1500);
        }
        cr_assert(round == 0 || backed >= 16);
        cr_assert(round == 0 || resident_of_heap() <= budget_used() + MIB / 2, "%zu ahead", resident_of_heap() - budget_used());
        empty();
    }
    require_books();
}

#define KEPT_EVERY 3000 // blocks: not even one in a region of 2 MiB

// A heap of 30 MiB, which is below what gets huge pages at first, is emptied but for a block here and there, and comes back.
static void come_back_to_what_stayed(void)
{
    fill_to(30 * MIB);
    for (size_t i = 0; i < used_count; i++)
        if (i % KEPT_EVERY != 0)
            pool_free(blocks[i]);
    cr_assert_leq(resident_of_heap(), 3 * MIB);
    backed = 0;
    for (size_t i = 0; i < used_count; i++)
        if (i % KEPT_EVERY != 0) {
            memset(blocks[i] = pool_malloc(SMALL), 0x5a, SMALL);
            now_us++;
        }
    for (size_t i = 0; i < used_count; i++)
        cr_assert(blocks[i] != NULL && *(char *)blocks[i] == 0x5a && memcmp(blocks[i], (char *)blocks[i] + 1, SMALL - 1) == 0);
    cr_assert_leq(resident_of_heap(), 32 * MIB);
    require_books();
}

Test(huge, a_heap_that_comes_back_fills_regions_of_which_little_stayed_in_use)
{
    come_back_to_what_stayed();
    cr_assert_geq(collapsed, 6);
    empty();
    cr_assert_leq(resident_of_heap(), 2 * MIB);
    require_books();
}

// A collapse fails where one of the OS pages is being moved at that moment.
Test(huge, a_collapse_that_failed_costs_one_region)
{
    collapses_refused = 1;
    come_back_to_what_stayed();
    cr_assert_geq(collapsed, 5);
    cr_assert_eq(collapses_refused, 0);
}

// Before Linux 6.1.
Test(huge, a_kernel_that_collapses_nothing_still_gives_what_is_touched)
{
    come_back_to_what_stayed();
    unsigned backed_beside_collapses = backed;
    empty();
    collapses_refused = UINT32_MAX;
    come_back_to_what_stayed();
    cr_assert_lt(collapses_refused, UINT32_MAX);
    cr_assert_geq(backed, backed_beside_collapses);
}

Test(huge, where_the_kernel_gives_none_nothing_is_collapsed)
{
    refuses = gives_none = true;
    come_back_to_what_stayed();
    cr_assert_eq(collapsed, 0);
}

Test(huge, what_comes_free_in_a_region_that_was_full_is_not_ahead_of_its_use)
{
    const size_t page_bytes = HUGE_BYTES / 32;
    huge_region_t region = {0};
    huge_table_t table = {.region = &region, .pages_each = 32};
    budget_use(16 * MIB);
    budget_unuse(8 * MIB);
    huge_note_backed(&table, 0);
    for (unsigned i = 0; i < 32; i++)
        huge_note_free(&table, 0, page_bytes);
    budget_retain(31 * page_bytes);
    huge_note_taken(&table, 0, page_bytes);
    cr_assert_eq(budget_kept(), 0, "all of it is ahead of its use");
    for (unsigned i = 0; i < 31; i++)
        huge_note_taken(&table, 0, page_bytes);
    for (unsigned i = 0; i < 31; i++)
        huge_note_free(&table, 0, page_bytes);
    cr_assert_geq(budget_kept(), MIB);
}

Test(huge, a_kernel_that_refuses_is_not_asked_again_for_a_while)
{
    refuses = true;
    fill_to(50 * MIB);
    cr_assert_eq(asked, 1);
    require_books();
    now_us += 8 * ASKING_US;
    fill_to(56 * MIB);
    cr_assert_eq(asked, 2);
    now_us += 8 * ASKING_US; // twice as long now
    fill_to(62 * MIB);
    cr_assert_eq(asked, 2);
    refuses = false;
    now_us += 8 * ASKING_US;
    fill_to(84 * MIB);
    cr_assert_gt(backed, 4);
    require_books();
}

Test(huge, a_process_that_was_stopped_while_it_asked_asks_again_after_a_minute)
{
    refuses = true;
    stopped_us = 3600 * SECOND_US;
    fill_to(50 * MIB);
    cr_assert_eq(asked, 1);
    now_us += 59 * SECOND_US;
    fill_to(56 * MIB);
    cr_assert_eq(asked, 1);
    now_us += 2 * SECOND_US;
    fill_to(62 * MIB);
    cr_assert_eq(asked, 2);
}

Test(huge, what_is_sparsely_used_is_not_filled)
{
    for (unsigned i = 0; i < 20000; i++) { // blocks of 8 KiB, of which the program touches half
        blocks[i] = pool_malloc(8192);
        *(volatile char *)blocks[i] = 1;
    }
    cr_assert_eq(backed, 0);
    require_books();
}

static unsigned resident_regions(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        for (uint32_t region = 0; region << (HUGE_SHIFT - zone_get(i)->shift) < zone_get(i)->fresh; region++)
            count += huge_state(&zone_get(i)->huge, region) == HUGE_RESIDENT;
    return count;
}

Test(huge, a_page_that_is_partly_given_back_splits_its_region)
{
    fill_to(64 * MIB);
    unsigned before = resident_regions();
    for (size_t i = 0; i < used_count; i++) // one block in 32 stays: OS pages inside pages can go
        if (i % 32 != 0)
            pool_free(blocks[i]);
    pool_trim(0);
    cr_assert_lt(resident_regions(), before);
    cr_assert_leq(resident_of_heap(), 28 * MIB);
    require_books();
}

Test(huge_on, a_heap_of_less_than_1_mib_has_none)
{
    fill_to(MIB * 9 / 10);
    cr_assert_eq(asked + collapsed, 0);
    require_books();
}

Test(huge_on, from_1_mib_on_all_regions_are_backed_also_the_one_that_was_begun)
{
    fill_to(10 * MIB);
    cr_assert_geq(backed, 4);
    cr_assert_eq(collapsed, 1);
    cr_assert_leq(resident_of_heap(), 14 * MIB);
    require_books();
}

Test(huge_on, blocks_of_200_kib_have_them_where_their_size_is_not_the_only_one)
{
    const size_t size = 200 * (MIB >> 10);
    for (unsigned i = 0; i < 54; i++) // 9 a page of 2 MiB
        memset(blocks[i] = pool_malloc(size), 1, size);
    cr_assert_eq(backed, 5); // all but the first page
    require_books();
}

Test(huge_on, what_is_free_stays_up_to_64_mib_and_goes_as_time_passes)
{
    fill_to(100 * MIB);
    require_books();
    empty();
    cr_assert_geq(resident_of_heap(), 44 * MIB); // purges go a quarter below their limit
    cr_assert_leq(resident_of_heap(), 68 * MIB);
    require_books();
    now_ms += 60000; // its recent peak sinks by an eighth a second
    fill_to(4 * MIB);
    empty();
    cr_assert_leq(resident_of_heap(), 12 * MIB);
    require_books();
}

Test(huge_on, as_much_stays_free_as_is_in_use)
{
    fill_to(100 * MIB);
    for (; used_count > 60 * MIB / SMALL; used_count--)
        pool_free(blocks[used_count - 1]);
    cr_assert_geq(resident_of_heap(), 98 * MIB);
    cr_assert_eq(budget_purged_total(), 0);
    require_books();
}

static void free_31_of_32(void)
{
    for (size_t i = 0; i < used_count; i++)
        if (i % 32 != 0)
            pool_free(blocks[i]);
}

Test(huge_on, nothing_inside_a_used_region_is_given_back_until_it_is_asked_for)
{
    fill_to(40 * MIB);
    unsigned before = resident_regions();
    free_31_of_32();
    cr_assert_eq(resident_regions(), before);
    cr_assert_geq(resident_of_heap(), 38 * MIB);
    cr_assert_eq(budget_purged_total(), 0);
    require_books();
    pool_trim(0);
    cr_assert_leq(resident_of_heap(), 20 * MIB);
    require_books();
}

Test(huge_on, where_the_kernel_gives_none_all_is_as_without)
{
    refuses = gives_none = true;
    fill_to(40 * MIB);
    free_31_of_32();
    cr_assert_leq(asked + collapsed, 12);
    cr_assert_leq(resident_of_heap(), 22 * MIB);
    require_books();
}

Test(huge_on, calloc_is_zero_whatever_was_there)
{
    uint64_t random = 5;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned at = (unsigned)(support_random(&random) % 3000);
        size_t size = 1 + support_random(&random) % ((size_t)1 << support_random(&random) % 17);
        pool_free(blocks[at]);
        char *block = blocks[at] = pool_calloc(size);
        cr_assert(block[0] == 0 && memcmp(block, block + 1, size - 1) == 0);
        memset(block, 0x5a, size);
    }
    require_books();
}

Test(huge_on, random_sizes_keep_the_books)
{
    uint64_t random = 7;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            unsigned at = (unsigned)(support_random(&random) % 20000);
            size_t size = 1 + support_random(&random) % ((size_t)1 << support_random(&random) % 16);
            pool_free(blocks[at]);
            memset(blocks[at] = pool_malloc(size), 1, size);
        }
        if (round % 2 == 1)
            for (unsigned i = 0; i < 20000; i++) {
                pool_free(blocks[i]);
                blocks[i] = NULL;
            }
        require_books();
    }
}

#define TIB ((size_t)1 << 40)

// Whether a block of 1 TiB that grows is full, if so much of it is not resident.
static bool suits_with_hole(size_t at, size_t bytes)
{
    const char *block = (const char *)TIB;
    looked_bytes = 0;
    hole_start = block + at;
    hole_end = hole_start + bytes;
    bool suits = huge_suits_growth(block, TIB, 2 * TIB);
    cr_assert(looked_end <= block + TIB && looked_end >= block + TIB - MIB, "to its end");
    hole_start = NULL;
    return suits;
}

Test(huge, of_a_long_block_that_grows_a_part_is_looked_at_wherever_a_hole_may_be)
{
    for (size_t at = 0; at < TIB; at += TIB / 8) {
        cr_assert(suits_with_hole(at, TIB / 10));
        cr_assert_not(suits_with_hole(at, TIB / 8 + TIB / 64));
    }
    cr_assert_not(suits_with_hole(TIB - TIB / 7, TIB));
    cr_assert_eq(looked_bytes, 64 * MIB);
}

Test(huge_off, there_are_none)
{
    fill_to(48 * MIB);
    cr_assert_eq(asked, 0);
}

Test(huge_off, nor_does_a_full_block_that_grows)
{
    char *block = pool_malloc(40 * MIB);
    memset(block, 1, 40 * MIB);
    cr_assert_not_null(block = pool_realloc(block, 60 * MIB));
    cr_assert_not(extent_node(extent_at(block))->huge);
    pool_free(block);
}
