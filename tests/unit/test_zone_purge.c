// tests/unit/test_zone_purge.c - free pages are given back: which, how many, and what they are then.
#include <criterion/criterion.h>

#include "books.h"
#include "fixture.h"
#include "os_linux.h"
#include "pages.h"
#include "zone_purge.h"

TestSuite(zone_purge, .init = fixture_begin);

Test(zone_purge, purging_gives_the_highest_pages_back_and_only_as_much_as_wanted)
{
    page_t *page[8];
    for (unsigned i = 0; i < 8; i++)
        pages_dirty(page[i] = zone_page_alloc(PAGES_SMALL, &heap_none));
    for (unsigned i = 0; i < 8; i++)
        zone_page_free(page[i]);
    size_t purged = zone_purge(2 * LOW_PAGE_BYTES);
    cr_assert_eq(purged, 2 * LOW_PAGE_BYTES);
    cr_assert_eq(books_resident(page[6]->start, page[7]->start + LOW_PAGE_BYTES), 0);
    cr_assert_eq(books_resident(page[0]->start, page[6]->start), 6 * LOW_PAGE_BYTES);
    cr_assert_eq(pages_zone(page[0])->dirty.count, 6);
    cr_assert_eq(pages_zone(page[0])->clean.count, 2);
}

#define PAGES 40u

// Long is what the kernel flushes at once: more than 33 OS pages.
Test(zone_purge, long_runs_can_be_given_back_alone_and_go_on_over_clean_pages)
{
    page_t *page[PAGES];
    for (unsigned i = 0; i < PAGES; i++)
        pages_dirty(page[i] = zone_page_alloc(PAGES_SMALL, &heap_none));
    unsigned length = (unsigned)(34 * os_page_bytes() / LOW_PAGE_BYTES) + 1, first = 10, end = first + length;
    cr_assert_lt(end, PAGES - 4);
    for (unsigned i = first; i < end; i++)
        zone_page_free(page[i]);
    zone_page_free(page[end + 1]);
    zone_page_free(page[end + 3]);
    cr_assert_eq(zone_purge_long(SIZE_MAX), length * LOW_PAGE_BYTES);
    cr_assert_eq(pages_zone(page[0])->dirty.count, 2, "the short ones stay");
    cr_assert_eq(zone_purge_long(SIZE_MAX), 0);
    zone_page_free(page[first - 1]);
    zone_page_free(page[end]);
    cr_assert_eq(zone_purge_long(SIZE_MAX), 3 * LOW_PAGE_BYTES, "with the clean ones in between they are long");
    cr_assert_eq(pages_zone(page[0])->dirty.count, 1);
    cr_assert_eq(pages_zone(page[0])->clean.count, length + 3);
    cr_assert_eq(zone_purge_whole(SIZE_MAX), LOW_PAGE_BYTES);
}

Test(zone_purge, a_purged_page_reads_as_zero_again)
{
    page_t *page = zone_page_alloc(PAGES_MEDIUM, &heap_none);
    pages_dirty(page);
    zone_page_free(page);
    cr_assert_eq(zone_purge(SIZE_MAX), page_class(page)->block_count * (size_t)page_class(page)->block_bytes);
    cr_assert_eq(zone_page_alloc(PAGES_MEDIUM, &heap_none), page);
    cr_assert_eq(page->clean_bits, bits_mask(page_class(page)->block_count));
    for (size_t i = 0; i < page_class(page)->page_bytes; i++)
        cr_assert_eq(page->start[i], 0);
}
