// tests/unit/test_zone_guard.c - guards between groups of pages (harden=2).
#include <criterion/criterion.h>
#include <stdio.h>

#include "check.h"
#include "pages.h"
#include "support.h"
#include "zone_guard.h"

static void begin_guarded(void)
{
    support_harden = HARDEN_GUARDS;
    cr_assert(pool_start());
    pool_free(pool_malloc(1)); // so that there is a heap
}

TestSuite(zone_guard, .init = begin_guarded, .timeout = 60);

static unsigned mappings(void)
{
    char line[512];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof(line), maps) != NULL)
        count++;
    fclose(maps);
    return count;
}

Test(zone_guard, no_group_of_pages_runs_into_the_next)
{
    const unsigned classes[] = {PAGES_SMALL, SMALL_CLASSES, PAGES_MEDIUM, PAGES_MEDIUM + 3 * MEDIUM_STEPS};
    for (unsigned c = 0; c < sizeof(classes) / sizeof(*classes); c++) {
        page_t *page = zone_page_alloc(classes[c], heap_self);
        const zone_t *zone = pages_zone(page);
        for (unsigned i = 0; i < 200; i++) {
            cr_assert(page->place != PAGE_GUARD && support_writable(page->start));
            cr_assert((page = zone_page_alloc(classes[c], heap_self)) != NULL);
        }
        cr_assert_geq(zone->guards, 200 / 64, "class %u: %u guards", classes[c], zone->guards);
        for (uint32_t i = 0; i < zone->fresh; i++)
            if (zone->pages[i].place == PAGE_GUARD)
                cr_assert(!support_writable(zone->pages[i].start), "page %u", i);
    }
}

Test(zone_guard, a_pointer_into_one_is_not_from_this_heap)
{
    while (zones[0].guards == 0)
        cr_assert(zone_page_alloc(PAGES_SMALL, heap_self) != NULL);
    page_t *guard = &zones[0].pages[zones[0].fresh - 2];
    cr_assert_eq(guard->place, PAGE_GUARD);
    pool_free(guard->start);
    cr_assert_str_eq(support_misuse.what, "not from this heap");
    cr_assert_eq(pool_usable_size(guard->start + 64), 0);
    cr_assert_eq(support_misuses, 2);
}

// 10 GiB of the smallest pages are to leave half of the kernel's 65,530 mappings to large blocks and to the program.
Test(zone_guard, a_heap_of_a_tenth_of_10_gib_has_a_tenth_of_the_mappings)
{
    unsigned before = mappings();
    for (size_t bytes = 0; bytes < (size_t)1 << 30; bytes += LOW_PAGE_BYTES)
        cr_assert(zone_page_alloc(PAGES_SMALL, heap_self) != NULL);
    cr_assert_geq(zones[0].guards, (1u << 30) / (1u << 20));
    cr_assert_leq(mappings() - before, 65530 / 2 / 10);
}

Test(zone_guard, the_heap_stays_whole)
{
    static void *blocks[20000];
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20000; i++)
            cr_assert((blocks[i] = pool_malloc(i % 3000 + 1)) != NULL);
        cr_assert_null(check_pool());
        for (unsigned i = 0; i < 20000; i++)
            pool_free(blocks[i]);
        pool_trim(0);
        cr_assert_null(check_pool());
    }
    cr_assert_gt(zones[1].guards, 0);
    cr_assert_eq(support_misuses, 0);
}

