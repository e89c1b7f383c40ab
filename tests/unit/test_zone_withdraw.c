// tests/unit/test_zone_withdraw.c - clean pages become reserved only when memory is refused, and can be had again.
#include <criterion/criterion.h>

#include "fixture.h"
#include "pages.h"
#include "zone_purge.h"
#include "zone_withdraw.h"

TestSuite(zone_withdraw, .init = fixture_begin);

#define MANY 64u

static void many_free_clean(page_t **page, unsigned class)
{
    for (unsigned i = 0; i < MANY; i++)
        page[i] = zone_page_alloc(class, &heap_none);
    for (unsigned i = 0; i < MANY; i++) {
        if (i == MANY / 2)
            continue; // one stays in their midst
        pages_dirty(page[i]);
        zone_page_free(page[i]);
    }
    zone_purge(SIZE_MAX);
}

static void withdraw_and_take_again(unsigned class)
{
    page_t *page[MANY];
    many_free_clean(page, class);
    zone_t *zone = pages_zone(page[0]);
    uint32_t committed = zone->committed;
    cr_assert_gt(zone_withdraw(), (MANY / 2) * page_class(page[0])->page_bytes);
    cr_assert_null(check_pool(), "%s", check_pool());
    cr_assert_not(support_writable(page[0]->start));
    cr_assert_not(support_writable(page[MANY - 1]->start));
    cr_assert(support_writable(page[MANY / 2]->start));
    cr_assert_leq(zone->committed, committed);
    cr_assert_eq(zone_withdraw(), 0, "there is nothing left to withdraw");
    for (unsigned i = 0; i < 2 * MANY; i++) {
        page_t *again = zone_page_alloc(class, &heap_none);
        cr_assert_not_null(again);
        cr_assert_eq(again->start[0], 0);
        pages_touch(again);
    }
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone_withdraw, small_pages_that_were_withdrawn_can_be_had_again)
{
    withdraw_and_take_again(PAGES_SMALL);
}

Test(zone_withdraw, medium_pages_that_were_withdrawn_can_be_had_again)
{
    withdraw_and_take_again(PAGES_MEDIUM);
}
