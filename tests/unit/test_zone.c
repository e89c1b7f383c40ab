// tests/unit/test_zone.c - where pages are, and how they are found; how zones grow.
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"
#include "os_linux.h"
#include "pages.h"

TestSuite(zone, .init = fixture_begin);

Test(zone, pages_stand_at_multiples_of_their_size_and_never_overlap)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        page_t *a = zone_page_alloc(class, &heap_none), *b = zone_page_alloc(class, &heap_none);
        size_t bytes = page_class(a)->page_bytes;
        cr_assert_eq((uintptr_t)a->start % bytes, 0, "class %u", class);
        cr_assert(b->start >= a->start + bytes || a->start >= b->start + bytes, "class %u", class);
    }
}

Test(zone, a_page_is_found_from_every_address_in_it)
{
    page_t *small = zone_page_alloc(PAGES_SMALL, &heap_none), *medium = zone_page_alloc(PAGES_MEDIUM, &heap_none);
    for (size_t i = 0; i < page_class(small)->page_bytes; i += 7)
        cr_assert_eq(zone_page_of(small->start + i), small);
    for (size_t i = 0; i < page_class(medium)->page_bytes; i += 7)
        cr_assert_eq(zone_page_of(medium->start + i), medium);
    cr_assert_null(zone_page_of(medium->start + page_class(medium)->page_bytes), "no page was ever used there");
}

static page_t *front_page_of(const char *address)
{
    size_t offset = (uintptr_t)address - zone_front_base;
    cr_assert_lt(offset, zone_front_limit);
    return zone_front_page(offset);
}

static void front_check(void)
{
    for (unsigned round = 0; round < 3; round++)
        for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
            page_t *page = zone_page_alloc(class, &heap_none);
            cr_assert_not_null(page);
            for (size_t i = 0; i < page_class(page)->page_bytes; i += GRANULE_BYTES)
                cr_assert_eq(front_page_of(page->start + i), page, "class %u, %zu bytes in", class, i);
        }
}

static void front_is_nobodys(size_t offset)
{
    cr_assert_null(page_owner_word(zone_front_page(offset)), "%#zx", offset);
}

Test(zone, the_front_map_leads_from_every_address_of_a_small_page_to_it)
{
    front_check();
}

Test(zone, where_no_small_page_ever_was_the_front_map_leads_to_no_owner)
{
    front_check();
    front_is_nobodys(0); // page 0
    for (unsigned i = 0; i < SMALL_ZONES; i++) {
        size_t start = i * zone_first_bytes, fresh = (size_t)atomic_load(&zone_get(i)->fresh) << zone_get(i)->shift;
        for (size_t offset = fresh; offset < zone_first_bytes; offset = offset * 5 / 4)
            front_is_nobodys(start + offset);
        front_is_nobodys(start + zone_first_bytes - 1);
    }
}

Test(zone, an_offset_leads_to_its_page_whichever_zone_of_the_start_it_is_in)
{
    for (unsigned round = 0; round < 3; round++)
        for (unsigned class = 1; class < CLASS_COUNT; class ++) {
            page_t *page = zone_page_alloc(class, &heap_none), *found = NULL;
            cr_assert_lt(page->zone, zone_first_count);
            size_t offset = (uintptr_t)page->start - zone_front_base, bytes = page_class(page)->page_bytes;
            for (size_t i = 0; i < bytes; i += bytes / 8 - 1) {
                cr_assert(zone_page_find(offset + i, &found), "class %u, %zu bytes in", class, i);
                cr_assert_eq(found, page, "class %u, %zu bytes in", class, i);
            }
        }
}

static void offset_leads_nowhere(size_t offset)
{
    page_t *found;
    cr_assert_not(zone_page_find(offset, &found), "%#zx", offset);
}

// Offsets come round in the table of places.
Test(zone, an_offset_outside_the_zones_leads_nowhere_though_it_has_a_place)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        page_t *page = zone_page_alloc(class, &heap_none);
        size_t offset = (uintptr_t)page->start - zone_front_base;
        for (size_t round = ZONE_PLACES; round < 8 * ZONE_PLACES; round += ZONE_PLACES) {
            offset_leads_nowhere(offset + round * zone_first_bytes);
            offset_leads_nowhere(offset - round * zone_first_bytes);
        }
    }
    for (size_t which = zone_first_count; which < ZONE_PLACES; which++)
        offset_leads_nowhere(which * zone_first_bytes);
    offset_leads_nowhere(SIZE_MAX);
}

Test(zone, an_offset_behind_the_pages_used_leads_nowhere)
{
    for (unsigned i = 0; i < zone_first_count; i++) {
        zone_t *zone = zone_get(i);
        size_t start = i * zone_first_bytes;
        offset_leads_nowhere(start + ((size_t)atomic_load(&zone->fresh) << zone->shift));
        offset_leads_nowhere(start + zone_first_bytes - 1);
    }
}

Test(zone_space, before_the_start_no_offset_leads_anywhere)
{
    offset_leads_nowhere(0);
    offset_leads_nowhere((uintptr_t)&zone_places);
    offset_leads_nowhere(SIZE_MAX);
}

Test(zone, no_page_is_found_from_an_address_elsewhere)
{
    int local = 0;
    void *elsewhere = malloc(100);
    cr_assert_null(zone_page_of(&local));
    cr_assert_null(zone_page_of(elsewhere));
    cr_assert_null(zone_page_of(NULL));
    cr_assert_null(zone_page_of((void *)UINTPTR_MAX));
    free(elsewhere);
}

Test(zone, number_and_page_lead_to_each_other_and_none_is_0)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        page_t *page = zone_page_alloc(class, &heap_none);
        cr_assert_neq(zone_page_id(page), 0, "class %u", class);
        cr_assert_eq(zone_page_by_id(zone_page_id(page)), page, "class %u", class);
    }
    cr_assert_null(zone_page_by_id(0));
}

Test(zone, a_zone_grows_as_pages_are_wanted)
{
    page_t *first = zone_page_alloc(PAGES_SMALL, &heap_none), *page = first;
    for (unsigned i = 0; i < 5000; i++) {
        page = zone_page_alloc(PAGES_SMALL, &heap_none);
        cr_assert_not_null(page);
        page->start[0] = 1;
    }
    zone_t *zone = pages_zone(first);
    cr_assert_geq(atomic_load(&zone->committed), atomic_load(&zone->fresh));
    cr_assert_lt((atomic_load(&zone->committed) - atomic_load(&zone->fresh)) * LOW_PAGE_BYTES, (size_t)32 << 20);
}

Test(zone, the_zones_are_named)
{
    for (unsigned i = 0; i < zone_count(); i++)
        cr_assert_eq(strncmp(zone_name(zone_get(i)), "tarn ", 5), 0);
}

// On a machine with much memory and few addresses, half of them at least are left to the program.
static size_t address_space, address_limit, memory;

size_t __real_os_address_space_bytes(void);
size_t __real_os_address_limit_bytes(void);
size_t __real_os_memory_bytes(void);
size_t __wrap_os_address_space_bytes(void);
size_t __wrap_os_address_limit_bytes(void);
size_t __wrap_os_memory_bytes(void);

size_t __wrap_os_address_limit_bytes(void)
{
    return address_limit != 0 ? address_limit : __real_os_address_limit_bytes();
}

size_t __wrap_os_address_space_bytes(void)
{
    return address_space != 0 ? address_space : __real_os_address_space_bytes();
}

size_t __wrap_os_memory_bytes(void)
{
    return memory != 0 ? memory : __real_os_memory_bytes();
}

// The first word of statm: OS pages of addresses.
static size_t addresses_in_use(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    cr_assert(file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(zone_space, half_of_39_bits_of_addresses_is_left_to_the_program)
{
    address_space = (size_t)1 << 39;
    memory = (size_t)64 << 30;
    size_t before = addresses_in_use();
    fixture_begin();
    cr_assert_not_null(pool_malloc((size_t)1 << 20)); // so that all tables exist
    cr_assert_leq(addresses_in_use() - before, address_space / 2);
    cr_assert_geq((size_t)zone_get(0)->bound << zone_get(0)->shift, (size_t)8 << 30);
}

// The whole front map is in one OS page then.
Test(zone_space, where_addresses_are_few_the_front_map_leads_to_small_pages_all_the_same)
{
    address_limit = (size_t)128 << 20;
    fixture_begin();
    cr_assert_lt(zone_first_bytes / LOW_PAGE_BYTES * sizeof(front_entry_t), os_page_bytes());
    char *start, *end;
    zone_front_bounds(1, &start, &end);
    cr_assert_null(start, "it counts as the first zone's part");
    zone_front_bounds(0, &start, &end);
    cr_assert_eq((size_t)(end - start), os_page_bytes());
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) { // pages of later zones are not in it
        page_t *page = zone_page_alloc(class, &heap_none);
        if (page->zone < SMALL_ZONES)
            cr_assert_eq(front_page_of(page->start + page_class(page)->page_bytes - 1), page, "class %u", class);
    }
    front_is_nobodys(0);
}
