// tests/unit/test_zone_region.c - regions of a zone as huge pages: backed whole before their first page is used, and split.
// How many there are, and when a heap gets them, is in test_huge.c.
#include <criterion/criterion.h>

#include "budget.h"
#include "check.h"
#include "pages.h"
#include "support.h"
#include "zone_purge.h"
#include "zone_region.h"

// The kernel's answer, in front of os_linux's (-Wl,--wrap).
static bool refuses;

bool __wrap_os_huge_page(char *start, size_t bytes, bool again);

bool __wrap_os_huge_page(char *start, size_t bytes, bool again)
{
    (void)again;
    if (!refuses)
        memset(start, 0, bytes);
    return !refuses;
}

bool __wrap_os_gives_huge_pages(size_t bytes);

bool __wrap_os_gives_huge_pages(size_t bytes)
{
    return bytes == HUGE_BYTES;
}

static void begin(void)
{
    support_huge = HUGE_ON;
    cr_assert(pool_start());
    budget_use(4 * HUGE_BYTES); // a heap of no more than 1 MiB has none
}

TestSuite(zone_region, .init = begin);

// The first page of the next region, allocated.
static page_t *region_first(void)
{
    page_t *page = zone_page_alloc(PAGES_SMALL, &heap_none);
    while ((uintptr_t)page->start % HUGE_BYTES != 0)
        page = zone_page_alloc(PAGES_SMALL, &heap_none);
    return page;
}

static uint32_t region_of(const page_t *page)
{
    const zone_t *zone = pages_zone(page);
    return (uint32_t)(page - zone->pages) >> zone_region_shift(zone);
}

Test(zone_region, all_of_it_is_resident_before_its_first_page_is_used)
{
    page_t *page = region_first();
    const zone_t *zone = pages_zone(page);
    cr_assert_eq(huge_state(&zone->huge, region_of(page)), HUGE_RESIDENT);
    cr_assert_eq(zone->dirty.count, zone->huge.pages_each - 1u);
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone_region, where_the_kernel_refuses_its_pages_are_clean)
{
    refuses = true;
    page_t *page = region_first();
    const zone_t *zone = pages_zone(page);
    cr_assert_eq(huge_state(&zone->huge, region_of(page)), HUGE_PLAIN);
    cr_assert_eq(zone->dirty.count, 0);
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone_region, a_split_leaves_its_pages_resident_and_free)
{
    page_t *page = region_first();
    zone_t *zone = pages_zone(page);
    uint32_t dirty = zone->dirty.count;
    cr_assert(lock_take(&zone_lock));
    zone_region_split(zone, region_of(page));
    lock_give(&zone_lock);
    cr_assert_eq(huge_state(&zone->huge, region_of(page)), HUGE_PLAIN);
    cr_assert_eq(zone->dirty.count, dirty);
    cr_assert_eq(zone_purge_whole(SIZE_MAX), dirty * (size_t)LOW_PAGE_BYTES, "now they can be given back one by one");
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone_region, what_a_huge_page_holds_ahead_of_its_use_is_neither_lent_nor_left)
{
    const size_t size_bytes = 8192;
    unsigned class = size_class_of(size_bytes);
    page_t *larger = support_page(pool_malloc(size_bytes + 1));
    cr_assert_eq(zone_huge_state(larger), HUGE_RESIDENT);
    cr_assert_neq(larger->dirty_bits, 0);
    cr_assert(zone_has_dirty(class));
    cr_assert_not(zone_has_dirty_left(class));
    cr_assert_eq(support_page(pool_malloc(size_bytes))->class, class);
    cr_assert_null(check_pool(), "%s", check_pool());
}
