// tests/unit/test_zone_sets.c - the sets of free pages: who is in which, what counts as kept, and who waits for the lock.
#include <criterion/criterion.h>

#include "budget.h"
#include "fixture.h"
#include "pages.h"
#include "zone_sets.h"

TestSuite(zone_sets, .init = fixture_begin);

Test(zone_sets, a_page_is_dirty_if_anything_of_it_is_resident_and_counts_as_kept_then)
{
    page_t *carved = zone_page_alloc(PAGES_SMALL, &heap_none), *untouched = zone_page_alloc(PAGES_SMALL, &heap_none);
    const zone_t *zone = pages_zone(carved);
    pages_dirty(carved);
    zone_page_free(carved);
    zone_page_free(untouched);
    cr_assert_eq(zone->dirty.count, 1);
    cr_assert_eq(zone->clean.count, 1);
    cr_assert_eq(budget_retained(), page_dirty_bytes(carved));
}

Test(zone_sets, a_dirty_page_that_leaves_its_set_is_not_free_and_not_kept)
{
    page_t *page = zone_page_alloc(PAGES_SMALL, &heap_none);
    zone_t *zone = pages_zone(page);
    uint32_t index = (uint32_t)(page - zone->pages);
    pages_dirty(page);
    zone_page_free(page);
    cr_assert(zone_sets_lock());
    cr_assert(zone_sets_has(zone, index));
    zone_sets_remove_dirty(zone, index);
    cr_assert_not(zone_sets_has(zone, index));
    cr_assert_eq(budget_retained(), 0);
    zone_sets_put(page);
    cr_assert(zone_sets_has(zone, index));
    lock_give(&zone_lock);
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone_sets, pages_that_came_back_without_the_lock_are_free_when_it_is_taken_next)
{
    page_t *page[3];
    for (unsigned i = 0; i < 3; i++)
        page[i] = zone_page_alloc(PAGES_SMALL, &heap_none);
    for (unsigned i = 0; i < 3; i++) {
        page[i]->place = PAGE_FREE;
        atomic_store(&page[i]->owner, NULL);
        zone_sets_return(page[i], false);
    }
    cr_assert_eq(pages_zone(page[0])->clean.count, 0);
    cr_assert(zone_sets_lock());
    cr_assert_eq(pages_zone(page[0])->clean.count, 3);
    lock_give(&zone_lock);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(zone_page_alloc(PAGES_SMALL, &heap_none), page[i]);
}
