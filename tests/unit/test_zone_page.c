// tests/unit/test_zone_page.c - pages from the zones: which one comes next, what is known of it, and that no two get the same.
#include <criterion/criterion.h>
#include <pthread.h>

#include "fixture.h"
#include "pages.h"
#include "zone_purge.h"

TestSuite(zone_page, .init = fixture_begin);

Test(zone_page, the_lowest_dirty_page_comes_first_then_clean_ones_then_fresh_ones)
{
    page_t *page[4];
    for (unsigned i = 0; i < 4; i++)
        page[i] = zone_page_alloc(PAGES_SMALL, &heap_none);
    zone_page_free(page[0]); // never carved: clean
    pages_dirty(page[3]);
    zone_page_free(page[3]);
    pages_dirty(page[2]);
    zone_page_free(page[2]);
    cr_assert_eq(zone_page_alloc(PAGES_SMALL, &heap_none), page[2]);
    cr_assert_eq(zone_page_alloc(PAGES_SMALL, &heap_none), page[3]);
    cr_assert_eq(zone_page_alloc(PAGES_SMALL, &heap_none), page[0]);
    cr_assert_gt(zone_page_alloc(PAGES_SMALL, &heap_none), page[3]);
}

Test(zone_page, a_page_of_the_same_class_keeps_knowing_what_is_clean)
{
    page_t *page = zone_page_alloc(PAGES_MEDIUM, &heap_none);
    pages_block_dirty(page, 0);
    zone_page_free(page);
    cr_assert_eq(zone_page_alloc(PAGES_MEDIUM, &heap_none), page);
    cr_assert_eq(page->clean_bits, bits_mask(page_class(page)->block_count) & ~(uint64_t)1);
}

// All pairs of classes in turn: what was dirtied by one is never clean to the next, its tail included.
Test(zone_page, what_is_called_clean_reads_as_zero_whatever_class_was_there_before, .timeout = 60)
{
    uint64_t random = 11;
    unsigned clean_blocks = 0;
    for (unsigned turn = 0; turn < 3000; turn++) {
        unsigned class = CLASS_FIRST_MEDIUM + (unsigned)(support_random(&random) % 16);
        page_t *page = zone_page_alloc(class, &heap_none);
        const size_class_t *info = page_class(page);
        for (unsigned i = 0; i < info->block_count; i++) {
            char *block = page_block(page, i);
            if (!(page->clean_bits >> i & 1))
                continue;
            clean_blocks++;
            cr_assert(block[0] == 0 && memcmp(block, block + 1, info->block_bytes - 1) == 0, "class %u, block %u",
                      class, i);
        }
        for (unsigned i = 0; i < info->block_count; i++) // some are used, the lower ones rather
            if (support_random(&random) % info->block_count >= i / 2)
                pages_block_dirty(page, i);
        zone_page_free(page);
        if (support_random(&random) % 8 == 0)
            zone_purge(SIZE_MAX);
    }
    cr_assert_gt(clean_blocks, 1000);
}

#define THREADS 4u
#define HELD    8u

static pthread_barrier_t together;
static _Atomic unsigned shared_twice;

// Takes pages, marks them as its own, and gives them back if the mark is still there.
static void *take_and_give(void *mark)
{
    page_t *held[HELD] = {NULL};
    pthread_barrier_wait(&together);
    for (unsigned i = 0; i < 300000; i++) {
        page_t **at = &held[i * 7 % HELD];
        if (*at != NULL) {
            shared_twice += *(void **)(*at)->start != mark;
            zone_page_free(*at);
        }
        *at = zone_page_alloc(PAGES_SMALL, &heap_none);
        if (i % 2 == 0)
            page_carve(*at); // so that both sets are used
        *(void **)(*at)->start = mark;
    }
    for (unsigned i = 0; i < HELD; i++)
        zone_page_free(held[i]);
    return NULL;
}

Test(zone_page, pages_that_many_threads_take_and_give_at_once_are_neither_shared_nor_lost, .timeout = 60)
{
    pthread_t threads[THREADS];
    unsigned marks[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_and_give, &marks[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    zone_t *zone = zone_get(0);
    cr_assert_eq(shared_twice, 0);
    cr_assert_eq(zone->dirty.count + zone->clean.count, atomic_load(&zone->fresh) - 1);
    cr_assert_leq(atomic_load(&zone->fresh), THREADS * HELD + 1);
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}
