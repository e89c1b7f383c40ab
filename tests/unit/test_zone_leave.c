// tests/unit/test_zone_leave.c - under an address limit zones are small at first, are added to, and are left when nothing
// in them is used.
#include <criterion/criterion.h>

#include "check.h"
#include "pages.h"
#include "zone_leave.h"
#include "zone_purge.h"

static size_t address_limit = SIZE_MAX;

// In front of os_linux's (-Wl,--wrap): the sanitizers live under no limit.
size_t __wrap_os_address_limit_bytes(void);
size_t __wrap_os_address_limit_bytes(void)
{
    return address_limit;
}

static void begin(void)
{
    address_limit = (size_t)1 << 30;
    cr_assert(pool_start());
}

TestSuite(zone_leave, .init = begin);

static size_t addresses_of(unsigned kind)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        bytes += zone_get(i)->kind == kind ? (size_t)zone_get(i)->bound << zone_get(i)->shift : 0;
    return bytes;
}

static void pages_come_and_go(unsigned class, size_t bytes)
{
    static page_t *page[1 << 14];
    unsigned count = 0;
    for (; count << zone_get(0)->shift < bytes; count++) {
        page[count] = zone_page_alloc(class, &heap_none);
        cr_assert_not_null(page[count]);
        cr_assert_eq(zone_page_of(page[count]->start), page[count]);
        page[count]->start[0] = 1;
    }
    for (unsigned i = 0; i < count; i++)
        zone_page_free(page[i]);
}

Test(zone_leave, zones_without_a_used_page_give_their_addresses_back)
{
    unsigned kind = size_class_table[PAGES_SMALL].zone;
    size_t at_first = addresses_of(kind);
    for (unsigned round = 0; round < 30; round++) { // more rounds than there can be zones
        pages_come_and_go(PAGES_SMALL, (size_t)100 << 20);
        cr_assert_gt(addresses_of(kind), at_first);
        zone_purge(SIZE_MAX);
        cr_assert_gt(zone_leave_empty(), 0);
        cr_assert_eq(addresses_of(kind), at_first);
        cr_assert_null(check_pool(), "%s", check_pool());
        page_t *medium = zone_page_alloc(PAGES_MEDIUM, &heap_none);
        cr_assert_eq(zone_page_of(medium->start), medium);
    }
}

Test(zone_leave, a_zone_with_a_used_page_stays)
{
    page_t *page = zone_page_alloc(PAGES_SMALL, &heap_none);
    while (page->zone < zone_first_count)
        page = zone_page_alloc(PAGES_SMALL, &heap_none);
    cr_assert_eq(zone_leave_empty(), 0);
    zone_page_free(page);
    cr_assert_gt(zone_leave_empty(), 0);
    cr_assert_null(zone_page_of(page), "its descriptor has gone, too");
}

Test(zone_leave, no_zone_is_left_while_somebody_stays)
{
    pages_come_and_go(PAGES_SMALL, (size_t)100 << 20);
    zone_purge(SIZE_MAX);
    zone_stay_begin();
    zone_stay_begin();
    zone_stay_end();
    cr_assert_eq(zone_leave_empty(), 0);
    zone_stay_end();
    cr_assert_gt(zone_leave_empty(), 0);
}
