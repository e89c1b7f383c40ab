// tests/unit/test_purge.c - memory goes back to the kernel: whole pages at once and by themselves, and OS pages inside
// partly used pages; what lives there stays as it was. Residency is the kernel's own, by /proc/self/pagemap.
#include <criterion/criterion.h>

#include "books.h"
#include "budget.h"
#include "fixture.h"
#include "os_linux.h"
#include "support.h"

#define MIB   ((size_t)1 << 20)
#define COUNT ((size_t)400000)

static unsigned char **blocks;

static unsigned purge_calls;

bool __wrap_os_purge(void *start, size_t bytes);
bool __real_os_purge(void *start, size_t bytes);

bool __wrap_os_purge(void *start, size_t bytes)
{
    purge_calls++;
    return __real_os_purge(start, bytes);
}

static void purge_begin(void)
{
    blocks = calloc(COUNT, sizeof(*blocks));
    pool_free(pool_malloc(1));
}

static void purge_end(void)
{
    fixture_end();
    free(blocks);
}

static size_t resident(void)
{
    static survey_t survey;
    survey_take(&survey);
    cr_assert_eq(books_sum(&survey), survey.heap_rss_bytes);
    return survey.heap_rss_bytes - survey.metadata_bytes;
}

static void block_fill(size_t i, size_t size)
{
    memset(blocks[i], (int)(i % 251), size);
}

static bool block_is_whole(size_t i, size_t size)
{
    for (size_t at = 0; at < size; at++)
        if (blocks[i][at] != i % 251)
            return false;
    return true;
}

static void fill(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = pool_malloc(size);
        block_fill(i, size);
    }
}

TestSuite(purge, .init = purge_begin, .fini = purge_end, .timeout = 60);

static void freed_whole(size_t size)
{
    size_t count = 64 * MIB / size;
    fill(count, size);
    cr_assert_geq(resident(), 64 * MIB);
    for (size_t i = 0; i < count; i++)
        pool_free(blocks[i]);
    cr_assert_leq(resident(), 2 * MIB, "blocks of %zu bytes: %zu bytes stay", size, resident());
}

Test(purge, small_pages_go_back_as_soon_as_all_is_freed)
{
    freed_whole(256);
}

Test(purge, medium_pages_go_back_as_soon_as_all_is_freed)
{
    freed_whole(6000);
}

Test(purge, pages_of_the_largest_class_go_back_as_soon_as_all_is_freed)
{
    freed_whole(MEDIUM_MAX_BYTES);
}

// --- what others freed ------------------------------------------------------------------------------------------------

typedef struct share {
    size_t count, step; // the blocks 0, step, 2 * step, ... are freed
} share_t;

static void free_share(void *argument)
{
    const share_t *share = argument;
    for (size_t i = 0; i < share->count; i += share->step)
        pool_free(blocks[i]);
}

// Others free every `step`th of 64 MiB of blocks, while the owner is at work: no deputy takes anything back for it.
static size_t freed_by_others(size_t size, size_t step)
{
    share_t share = {64 * MIB / size, step};
    fill(share.count, size);
    heap_enter(heap_self);
    support_thread(free_share, &share);
    heap_leave(heap_self);
    cr_assert_geq(resident(), 64 * MIB);
    return share.count;
}

static void rest_freed_by_the_owner(size_t size, size_t step)
{
    size_t count = freed_by_others(size, step);
    for (size_t i = 0; i < count; i++)
        if (i % step != 0)
            pool_free(blocks[i]);
    cr_assert_leq(resident(), 4 * MIB, "blocks of %zu bytes: %zu bytes stay", size, resident());
}

Test(purge, what_others_freed_goes_back_when_the_owner_frees_the_rest)
{
    rest_freed_by_the_owner(256, 2);
    rest_freed_by_the_owner(800, 2);
    rest_freed_by_the_owner(6000, 2);
}

Test(purge, what_others_freed_goes_back_though_the_owner_frees_an_eighth_only)
{
    for (size_t i = 0, count = freed_by_others(256, 8); i < count; i++)
        if (i % 8 != 0)
            blocks[i / 8 * 7 + i % 8 - 1] = blocks[i];
    share_t rest = {64 * MIB / 256 / 8 * 7, 1}, others = {rest.count / 8 * 7, 1};
    support_thread(free_share, &others);
    for (size_t i = others.count; i < rest.count; i++)
        pool_free(blocks[i]);
    cr_assert_leq(resident(), 4 * MIB, "%zu bytes stay", resident());
}

Test(purge, what_others_freed_goes_back_though_the_owner_asks_for_large_blocks_alone)
{
    freed_by_others(256, 1);
    for (size_t i = 1; i <= 4; i++)
        pool_free(pool_malloc(i * MIB));
    cr_assert_leq(resident(), 4 * MIB, "%zu bytes stay", resident());
}

Test(purge, what_others_freed_is_used_again_rather_than_given_back)
{
    size_t count = freed_by_others(256, 1);
    unsigned before = purge_calls;
    fill(count, 256);
    cr_assert_eq(purge_calls, before);
    for (size_t i = 0; i < count; i++)
        pool_free(blocks[i]);
}

// --- inside pages -----------------------------------------------------------------------------------------------------

// One block of each small page lives.
static void freed_but_one_a_page(size_t size)
{
    size_t count = 16 * MIB / size, per_page = size_class_table[size_class_of(size)].block_count, survivors = 0;
    fill(count, size);
    for (size_t i = 0; i < count; i++)
        if (i % per_page != per_page / 2)
            pool_free(blocks[i]);
    pool_trim(0);
    for (size_t i = per_page / 2; i < count; i += per_page, survivors++)
        cr_assert(block_is_whole(i, size), "block %zu", i);
    size_t most = survivors * (size + 2 * CARVE_BYTES) + MIB / 4;
    cr_assert_leq(resident(), most, "blocks of %zu bytes: %zu stay, not %zu", size, resident(), most);
    for (size_t i = per_page / 2; i < count; i += per_page)
        pool_free(blocks[i]);
}

Test(purge, empty_os_pages_inside_small_pages_go_back_and_survivors_stay)
{
    freed_but_one_a_page(64);
}

Test(purge, a_block_that_reaches_into_the_next_os_page_keeps_both)
{
    freed_but_one_a_page(720);
}

Test(purge, free_blocks_inside_medium_pages_go_back_and_survivors_stay)
{
    freed_but_one_a_page(10000);
}

// Blocks of which each shares OS pages with its neighbours: what of them lies beside one in use stays.
Test(purge, what_was_given_back_inside_medium_pages_is_not_given_back_again)
{
    size_t size = 3624, count = 3000;
    fill(count, size);
    for (size_t i = 0; i < count; i++)
        if (i % 5 != 0)
            pool_free(blocks[i]);
    cr_assert(pool_trim(0));
    purge_calls = 0;
    pool_trim(0);
    cr_assert_eq(purge_calls, 0);
    for (size_t i = 0; i < count; i += 5)
        cr_assert(block_is_whole(i, size));
}

Test(purge, what_was_given_back_inside_a_page_is_used_again_and_whole)
{
    size_t size = 208, count = 4 * MIB / size;
    fill(count, size);
    for (size_t i = 0; i < count; i++)
        if (i % 40 != 0)
            pool_free(blocks[i]);
    cr_assert(pool_trim(0));
    for (size_t i = 0; i < count; i++)
        if (i % 40 != 0) {
            blocks[i] = pool_malloc(size);
            block_fill(i, size);
        }
    for (size_t i = 0; i < count; i++)
        cr_assert(block_is_whole(i, size), "block %zu", i);
}

Test(purge, calloc_in_purged_medium_pages_is_zero)
{
    static const size_t sizes[] = {5000, 1200, 3624, 2192, 20000};
    for (unsigned round = 0; round < 15; round++) {
        size_t size = sizes[round % 5], count = 10000000 / size;
        for (size_t i = 0; i < count; i++) {
            blocks[i] = pool_calloc(size);
            cr_assert(blocks[i][0] == 0 && memcmp(blocks[i], blocks[i] + 1, size - 1) == 0, "round %u", round);
            memset(blocks[i], 0x5a, size);
        }
        for (size_t i = 0; i < count; i++)
            if (i % 3 != round % 3)
                pool_free(blocks[i]);
        pool_trim(0);
        for (size_t i = 0; i < count; i++)
            if (i % 3 == round % 3)
                pool_free(blocks[i]);
    }
}

Test(purge, a_scattered_free_brings_memory_down_without_a_call)
{
    fill(COUNT, 128);
    size_t before = resident();
    for (size_t i = 0; i < COUNT; i++)
        if (i % 256 != 0)
            pool_free(blocks[i]);
    cr_assert_lt(resident(), before / 3, "%zu of %zu", resident(), before);
    for (size_t i = 0; i < COUNT; i += 256)
        cr_assert(block_is_whole(i, 128), "block %zu", i);
}

Test(purge, trim_keeps_what_it_is_told_to_keep)
{
    fill(20000, 256);
    for (size_t i = 0; i < 20000; i++)
        pool_free(blocks[i]);
    size_t kept = budget_retained();
    cr_assert_gt(kept, MIB / 2);
    pool_trim(MIB / 4);
    cr_assert_leq(budget_retained(), MIB / 4);
    cr_assert_geq(budget_retained() + LOW_PAGE_BYTES, MIB / 4);
    cr_assert(pool_trim(0));
    cr_assert_eq(budget_retained(), 0);
    cr_assert_not(pool_trim(0), "there is nothing more to give");
}

Test(purge, a_heap_that_oscillates_keeps_its_pages)
{
    size_t count = 16 * MIB / 512;
    fill(64 * MIB / 1024, 1024); // lives all the time
    uint64_t purged[8];
    for (unsigned round = 0; round < 8; round++) {
        for (size_t i = 0; i < count; i++)
            blocks[200000 + i] = pool_malloc(512);
        for (size_t i = 0; i < count; i++)
            pool_free(blocks[200000 + i]);
        purged[round] = budget_purged_total();
    }
    cr_assert_gt(purged[0], 12 * MIB, "the first time it is given back");
    cr_assert_lt(purged[7] - purged[5], 12 * MIB, "%zu bytes were given back in the last two rounds",
                 (size_t)(purged[7] - purged[5]));
}

static unsigned soiled_steps(size_t first, size_t end, size_t per_page)
{
    unsigned steps = 0;
    for (size_t i = first; i < end; i += per_page)
        steps += bits_count(support_page(blocks[i])->soiled);
    return steps;
}

Test(purge, pages_of_the_largest_blocks_are_searched_first)
{
    size_t small = 64, per_low = LOW_PAGE_BYTES / small, lows = 8 * per_low;
    size_t large = 1024, per_high = HIGH_PAGE_BYTES / large, highs = 8 * per_high;
    fill(lows, small);
    for (size_t i = lows; i < lows + highs; i++)
        blocks[i] = pool_malloc(large);
    for (size_t i = 0; i < lows + highs; i++)
        if (i < lows ? i % per_low != 0 : (i - lows) % per_high != 0)
            pool_free(blocks[i]);
    unsigned low_steps = soiled_steps(0, lows, per_low), high_steps = soiled_steps(lows, lows + highs, per_high);
    cr_assert_gt(heap_purge_idle(heap_self, 1), 0);
    cr_assert_eq(soiled_steps(0, lows, per_low), low_steps);
    cr_assert_lt(soiled_steps(lows, lows + highs, per_high), high_steps);
}

// Whoever takes such a list tells of it; until then nothing of the page is given back, and nobody hangs or leaves the page.
static void damaged_list_is_left(bool circle)
{
    size_t size = 208, per_page = LOW_PAGE_BYTES / size, count = 8 * per_page;
    fill(count, size);
    for (size_t i = 0; i < count; i++)
        if (i % per_page != 0)
            pool_free(blocks[i]);
    page_t *page = support_page(blocks[0]);
    block_t *first = page->list, *second = first->next;
    unsigned soiled = page->soiled;
    first->next = circle ? first : (block_t *)((uintptr_t)second ^ (uintptr_t)1 << 40);
    pool_trim(0);
    cr_assert_eq(page->soiled, soiled);
    first->next = second;
    cr_assert_lt(support_page(blocks[4 * per_page])->soiled, soiled, "of the others something is");
}

Test(purge, a_list_that_is_a_circle_is_left_as_it_is)
{
    damaged_list_is_left(true);
}

Test(purge, a_list_that_leads_out_of_its_page_is_left_as_it_is)
{
    damaged_list_is_left(false);
}

static size_t blocks_fill(size_t count, size_t size)
{
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = pool_malloc(size);
        block_fill(i, size);
        most = size_max(most, budget_used() + budget_retained());
    }
    return most;
}

static void blocks_free(size_t count)
{
    for (size_t i = 0; i < count; i++)
        pool_free(blocks[i]);
}

// What jq does: it frees what it parsed of its own library, 160 bytes a block, and reads the file into others.
Test(purge, a_small_heap_that_wants_other_sizes_gives_up_what_it_keeps_for_the_old_ones)
{
    size_t first = blocks_fill(4000, 160);
    blocks_free(4000);
    cr_assert_gt(budget_retained(), first / 2);
    size_t second = blocks_fill(1600, 400);
    cr_assert_lt(second, first + first / 4, "%zu bytes after %zu", second, first);
    blocks_free(1600);
}

// Where that is wrong, since the old sizes come back, it is done once.
Test(purge, a_small_heap_that_goes_to_and_fro_between_sizes_keeps_them_all)
{
    for (unsigned round = 0; round < 50; round++) {
        blocks_fill(4000, 160);
        blocks_free(4000);
        blocks_fill(1600, 400);
        blocks_free(1600);
        if (round == 2)
            purge_calls = 0;
    }
    cr_assert_leq(purge_calls, 2);
}

static void blocks_free_first(void *count)
{
    blocks_free(*(size_t *)count);
}

// An owner that takes back what others have freed when it asks for other sizes has freed nothing itself, which is when memory is
// given back else.
static void other_size_after_others_have_freed(size_t size)
{
    size_t count = 64 * MIB / 256, first = blocks_fill(count, 256);
    support_thread(blocks_free_first, &count);
    size_t second = blocks_fill(64 * MIB / size, size);
    cr_assert_lt(second, first + first / 4, "%zu bytes after %zu", second, first);
    blocks_free(64 * MIB / size);
}

Test(purge, small_blocks_of_another_size_take_the_place_of_what_others_have_freed)
{
    other_size_after_others_have_freed(400);
}

Test(purge, medium_blocks_take_the_place_of_what_others_have_freed)
{
    other_size_after_others_have_freed(6000);
}

Test(purge, large_blocks_take_the_place_of_what_others_have_freed)
{
    other_size_after_others_have_freed(MIB / 2);
}
