// tests/unit/test_survey.c - the heap as plain data: the books close, against /proc/self/smaps too, and what is counted
// is what was done.
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "fixture.h"
#include "os_linux.h"
#include "support.h"

#define MIB   ((size_t)1 << 20)
#define COUNT 20000u

static survey_t survey;
static void *blocks[COUNT];

static void take(void)
{
    survey_take(&survey);
    require_survey(&survey);
    cr_assert_eq(survey.live_bytes, survey.requested_bytes + survey.rounding_bytes);
    cr_assert_eq(survey.freed_total, survey.allocated_total - survey.live_blocks);
}

static const survey_class_t *class_for(size_t size)
{
    return &survey.classes[size_class_of(size) - 1];
}

static void allocate(unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++)
        memset(blocks[i] = pool_malloc(size), 0x5a, size);
}

TestSuite(survey, .timeout = 60);

Test(survey, before_the_first_allocation_all_is_zero)
{
    survey_take(&survey);
    cr_assert_eq(survey.heap_rss_bytes, 0);
    cr_assert_eq(survey.class_count, 0);
    cr_assert_eq(survey.range_count, 0);
}

Test(survey, of_a_pool_that_has_served_large_blocks_alone)
{
    memset(pool_malloc(MIB), 0x5a, MIB);
    take();
    cr_assert_eq(survey.large_blocks, 1);
    cr_assert_eq(survey.live_bytes, MIB);
}

Test(survey, every_class_is_there_in_order_of_size)
{
    allocate(1, 1);
    take();
    cr_assert_eq(survey.class_count, CLASS_COUNT - 1);
    for (unsigned i = 1; i < survey.class_count; i++)
        cr_assert_gt(survey_block_bytes(i), survey_block_bytes(i - 1));
}

Test(survey, live_blocks_and_bytes_are_exact_for_every_class)
{
    for (size_t size = 1; size <= MEDIUM_MAX_BYTES; size = size * 9 / 8 + 1) {
        uint64_t before = 0;
        take();
        before = class_for(size)->live_blocks;
        pool_free(blocks[1] = (pool_malloc(size)));
        for (unsigned i = 0; i < 5; i++)
            pool_malloc(size);
        take();
        cr_assert_eq(class_for(size)->live_blocks - before, 5, "size %zu", size);
    }
}

static void blocks_ever_allocated_are_counted(void)
{
    for (unsigned i = 0; i < 3000; i++) {
        pool_malloc(200);
        pool_free(pool_malloc(200));
        pool_free(pool_malloc(9000));
    }
    take();
    cr_assert_eq(class_for(200)->allocated_total, 6000);
    cr_assert_eq(class_for(200)->live_blocks, 3000);
    cr_assert_eq(class_for(9000)->allocated_total, 3000);
    cr_assert_eq(class_for(9000)->live_blocks, 0);
}

Test(survey, blocks_ever_allocated_are_exact)
{
    blocks_ever_allocated_are_counted();
}

// 3,000 is no multiple of what hardened blocks are counted by.
Test(survey, blocks_ever_allocated_are_exact_where_they_are_hardened)
{
    support_harden = 1;
    blocks_ever_allocated_are_counted();
}

// As another thread may find an owner that begins a run: its blocks are counted there, and behind it, too.
Test(survey, blocks_ever_allocated_do_not_wrap_round_while_a_run_begins)
{
    support_harden = 1;
    pool_malloc(200);
    small_draw_t *draw = &heap_self->draw[size_class_small(200 + HARDEN_TAIL_BYTES)];
    cr_assert_gt(draw->run, 1);
    draw->quick += draw->run;
    take();
    cr_assert_eq(class_for(200)->allocated_total, 1);
}

Test(survey, free_blocks_beside_live_ones_are_holes)
{
    allocate(COUNT, 256);
    take();
    uint64_t before = survey.holes_bytes;
    for (unsigned i = 0; i < 3000; i += 2) // within the budget, so none of it is given back
        pool_free(blocks[i]);
    take();
    cr_assert_geq(survey.holes_bytes, before + 1500 * 256);
    cr_assert_leq(survey.holes_bytes, before + 1500 * 256 + 2 * LOW_PAGE_BYTES);
    cr_assert_eq(survey.holes_bytes, class_for(256)->holes_bytes);
}

Test(survey, pages_without_a_live_block_are_retained)
{
    allocate(3000, 256);
    for (unsigned i = 0; i < 3000; i++)
        pool_free(blocks[i]);
    take();
    cr_assert_geq(survey.retained_bytes, 3000 * 256 - 2 * LOW_PAGE_BYTES);
    cr_assert_eq(survey.live_blocks, 0);
    cr_assert_eq(survey.holes_bytes, 0);
}

static void free_some(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 100; i++)
        pool_free(blocks[i * 3]);
}

Test(survey, what_another_thread_has_freed_is_pending_and_not_live)
{
    allocate(1000, 128);
    support_thread(free_some, NULL);
    take();
    cr_assert_eq(class_for(128)->live_blocks, 900);
    cr_assert_eq(survey.pending_bytes, 100 * 128);
}

Test(survey, a_medium_block_is_live_or_pending_or_a_hole)
{
    const size_t size = 2048;
    cr_assert_gt(size_class_of(size), SMALL_CLASSES);
    allocate(1000, size);
    support_thread(free_some, NULL);
    for (unsigned i = 1; i < 40; i += 3)
        pool_free(blocks[i]);
    take();
    cr_assert_eq(class_for(size)->live_blocks, 1000 - 100 - 13);
    cr_assert_eq(class_for(size)->pending_bytes, 100 * size);
    cr_assert_geq(class_for(size)->holes_bytes, 13 * size);
    cr_assert_leq(class_for(size)->holes_bytes, 13 * size + os_page_bytes()); // half of an OS page that the last one ends in
}

static void free_into_ring_and_survey(void *unused)
{
    (void)unused;
    pool_free(pool_malloc(1));
    for (unsigned i = 0; i < 5; i++)
        pool_free(blocks[i]);
    cr_assert_eq(heap_self->ring_bytes, 5 * 128);
    take();
    cr_assert_eq(class_for(128)->live_blocks, 995);
    cr_assert_eq(survey.pending_bytes, 5 * 128);
    cr_assert_eq(survey.heaps, 2);
}

Test(survey, what_waits_in_a_ring_is_pending_and_not_live)
{
    allocate(1000, 128);
    support_thread(free_into_ring_and_survey, NULL);
}

Test(survey, memory_that_was_never_touched_is_not_resident)
{
    char *large = pool_malloc(16 * MIB), *medium = pool_malloc(MEDIUM_MAX_BYTES);
    memset(large, 0x5a, MIB);
    medium[0] = 1;
    take();
    cr_assert_eq(survey.large_bytes, 16 * MIB);
    cr_assert_eq(survey.untouched_bytes, 15 * MIB + MEDIUM_MAX_BYTES - os_page_bytes());
    cr_assert_eq(survey.live_bytes, 16 * MIB + MEDIUM_MAX_BYTES);
}

// Pages are counted eight at a time, and a window's end may lie anywhere in a block.
Test(survey, single_pages_of_large_blocks_are_counted)
{
    const size_t touched[] = {0, 1, 7, 8, 9, 62, 63, 64, 255, 4095, 4096, 4097, 5000};
    size_t page = os_page_bytes(), count = sizeof(touched) / sizeof(touched[0]);
    for (size_t pages = 5001; pages < 5009; pages++) {
        char *block = pool_malloc(pages * page);
        for (size_t i = 0; i < count; i++)
            block[touched[i] * page + i] = 1;
        take();
        cr_assert_eq(survey.large_bytes - survey.untouched_bytes, count * page, "%zu pages", pages);
        pool_free(block);
        pool_trim(0);
    }
}

static void *beside;

static void another_comes(void *unused, const survey_page_t *page)
{
    (void)unused;
    if (page->kind == SURVEY_LARGE && beside == NULL)
        beside = pool_malloc(MIB);
}

// As other threads' do while a signal ends the process: behind what was the end of all large blocks when the walk began.
Test(survey, a_large_block_that_comes_during_a_walk_without_locks_is_counted_whole)
{
    const survey_visitor_t visitor = {another_comes, NULL};
    memset(pool_malloc(MIB), 0x5a, MIB);
    survey_take_pages(&survey, &visitor, false);
    cr_assert_not_null(beside);
    cr_assert_eq(survey.large_blocks, 2);
    cr_assert_eq(survey.large_bytes - survey.untouched_bytes, MIB);
    cr_assert_eq(books_sum(&survey), survey.heap_rss_bytes);
}

// Kernels before 6.7 cannot tell the page of zeros that all memory shares from a page of one's own.
static bool kernel_knows_the_zero_page(void)
{
    volatile char *page = os_map(os_page_bytes(), os_page_bytes());
    os_range_t range = {(uintptr_t)page, (uintptr_t)page + os_page_bytes()};
    return page[0] == 0 && os_resident_bytes(&range, 1) == 0;
}

Test(survey, memory_that_was_only_read_is_not_resident)
{
    size_t bytes = 16 * MIB;
    volatile char *block = pool_calloc(bytes);
    for (size_t i = 0; i < bytes; i += 1024)
        cr_assert_eq(block[i], 0);
    if (!kernel_knows_the_zero_page())
        return;
    take();
    cr_assert_eq(survey.untouched_bytes, bytes);
}

Test(survey, cached_large_blocks_are_retained)
{
    char *block = pool_malloc(MIB / 2);
    memset(block, 0x5a, MIB / 2);
    pool_free(block);
    take();
    cr_assert_eq(survey.large_cached_bytes, MIB / 2);
    cr_assert_eq(survey.retained_bytes, MIB / 2);
    cr_assert_eq(survey.large_blocks, 0);
    cr_assert_eq(survey.large_allocated_total, 1);
}

static void leave_a_heap(void *unused)
{
    (void)unused;
    pool_malloc(10);
}

Test(survey, heaps_of_living_and_of_ended_threads_are_counted)
{
    allocate(1, 1);
    support_thread(leave_a_heap, NULL);
    take();
    cr_assert_eq(survey.heaps, 1);
    cr_assert_eq(survey.heaps_orphaned, 1);
    cr_assert_eq(survey.live_blocks, 2);
}

Test(survey, what_was_given_back_is_counted)
{
    allocate(COUNT, 1000);
    for (unsigned i = 0; i < COUNT; i++)
        pool_free(blocks[i]);
    take();
    cr_assert_geq(survey.purged_total_bytes, COUNT * 1000 - 4 * MIB);
    cr_assert_geq(survey.mapped_peak_bytes, COUNT * 1000);
    cr_assert_geq(survey.budget_bytes, MIB);
}

Test(survey, its_ranges_do_not_overlap_and_hold_every_block)
{
    allocate(100, 100);
    blocks[0] = pool_malloc(20000);
    blocks[1] = pool_malloc(2 * MIB);
    take();
    for (unsigned i = 0; i < survey.range_count; i++)
        for (unsigned j = 0; j < i; j++)
            cr_assert(survey.ranges[i].end <= survey.ranges[j].start || survey.ranges[j].end <= survey.ranges[i].start);
    for (unsigned b = 0; b < 100; b++) {
        unsigned in = 0;
        for (unsigned i = 0; i < survey.range_count; i++)
            in += (uintptr_t)blocks[b] >= survey.ranges[i].start && (uintptr_t)blocks[b] < survey.ranges[i].end;
        cr_assert_eq(in, 1);
    }
}

Test(survey, without_locks_it_says_the_same)
{
    static survey_t unlocked;
    allocate(5000, 333);
    survey_take(&survey);
    survey_take_unlocked(&unlocked);
    cr_assert_eq(unlocked.heap_rss_bytes, survey.heap_rss_bytes);
    cr_assert_eq(unlocked.live_blocks, survey.live_blocks);
    cr_assert_eq(unlocked.holes_bytes, survey.holes_bytes);
}

Test(survey, the_books_balance_after_random_work)
{
    uint64_t random = 9;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10000; i++) {
            unsigned at = (unsigned)(support_random(&random) % 3000);
            size_t size = 1 + support_random(&random) % ((size_t)1 << support_random(&random) % 19);
            pool_free(blocks[at]);
            blocks[at] = pool_malloc(size);
            memset(blocks[at], 0x5a, size);
        }
        take();
        uint64_t live = 0;
        for (unsigned i = 0; i < 3000; i++)
            live += blocks[i] != NULL;
        cr_assert_eq(survey.live_blocks, live);
    }
}

static _Atomic bool held;

static void *hold_for_ever(void *unused)
{
    cr_assert(lock_take(&zone_lock));
    held = true;
    for (;;)
        pause();
    return unused;
}

// As a thread that a debugger or a signal handler has stopped inside the pool, when another one calls exit.
Test(survey, a_lock_that_is_never_given_back_is_not_waited_for)
{
    pthread_t thread;
    allocate(100, 100);
    cr_assert_eq(pthread_create(&thread, NULL, hold_for_ever, NULL), 0);
    while (!held)
        os_yield();
    take();
    cr_assert_eq(class_for(100)->live_blocks, 100);
}
