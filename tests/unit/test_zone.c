// tests/unit/test_zone.c - pages from the zones: where they are, which one comes next, what is given back.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "books.h"
#include "check.h"
#include "os_linux.h"
#include "support.h"

#define SMALL  4u
#define MEDIUM (CLASS_FIRST_MEDIUM + 2)

static void zone_begin(void)
{
    cr_assert(pool_start());
}

static zone_t *zone_of(const page_t *page)
{
    return zone_get(page->zone);
}

static void page_touch(const page_t *page)
{
    memset(page->start, 0x5a, page_class(page)->page_bytes);
}

// As a heap leaves it: everything was used, nothing is.
static void page_dirty(page_t *page)
{
    page_touch(page);
    if (page_is_small(page)) {
        while (page_can_carve(page)) {
            page->list = NULL;
            page_carve(page);
        }
    } else {
        page->dirty_bits |= page->clean_bits;
        page->clean_bits = 0;
    }
}

// A block was used, and is free again.
static void block_dirty(page_t *page, unsigned index)
{
    page->dirty_bits |= (uint64_t)1 << index;
    page->clean_bits &= ~((uint64_t)1 << index);
    memset(page_block(page, index), 0x5a, page_class(page)->block_bytes);
}

TestSuite(zone, .init = zone_begin);

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
    page_t *small = zone_page_alloc(SMALL, &heap_none), *medium = zone_page_alloc(MEDIUM, &heap_none);
    for (size_t i = 0; i < page_class(small)->page_bytes; i += 7)
        cr_assert_eq(zone_page_of(small->start + i), small);
    for (size_t i = 0; i < page_class(medium)->page_bytes; i += 7)
        cr_assert_eq(zone_page_of(medium->start + i), medium);
    cr_assert_null(zone_page_of(medium->start + page_class(medium)->page_bytes), "no page was ever used there");
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

Test(zone, the_lowest_dirty_page_comes_first_then_clean_ones_then_fresh_ones)
{
    page_t *page[4];
    for (unsigned i = 0; i < 4; i++)
        page[i] = zone_page_alloc(SMALL, &heap_none);
    zone_page_free(page[0]); // never carved: clean
    page_dirty(page[3]);
    zone_page_free(page[3]);
    page_dirty(page[2]);
    zone_page_free(page[2]);
    cr_assert_eq(zone_page_alloc(SMALL, &heap_none), page[2]);
    cr_assert_eq(zone_page_alloc(SMALL, &heap_none), page[3]);
    cr_assert_eq(zone_page_alloc(SMALL, &heap_none), page[0]);
    cr_assert_gt(zone_page_alloc(SMALL, &heap_none), page[3]);
}

Test(zone, purging_gives_the_highest_pages_back_and_only_as_much_as_wanted)
{
    page_t *page[8];
    for (unsigned i = 0; i < 8; i++)
        page_dirty(page[i] = zone_page_alloc(SMALL, &heap_none));
    for (unsigned i = 0; i < 8; i++)
        zone_page_free(page[i]);
    size_t purged = zone_purge(2 * LOW_PAGE_BYTES);
    cr_assert_eq(purged, 2 * LOW_PAGE_BYTES);
    cr_assert_eq(books_resident(page[6]->start, page[7]->start + LOW_PAGE_BYTES), 0);
    cr_assert_eq(books_resident(page[0]->start, page[6]->start), 6 * LOW_PAGE_BYTES);
    cr_assert_eq(zone_of(page[0])->dirty.count, 6);
    cr_assert_eq(zone_of(page[0])->clean.count, 2);
}

#define PAGES 40u

// Long is what the kernel flushes at once: more than 33 OS pages.
Test(zone, long_runs_can_be_given_back_alone_and_go_on_over_clean_pages)
{
    page_t *page[PAGES];
    for (unsigned i = 0; i < PAGES; i++)
        page_dirty(page[i] = zone_page_alloc(SMALL, &heap_none));
    unsigned length = (unsigned)(34 * os_page_bytes() / LOW_PAGE_BYTES) + 1, first = 10, end = first + length;
    cr_assert_lt(end, PAGES - 4);
    for (unsigned i = first; i < end; i++)
        zone_page_free(page[i]);
    zone_page_free(page[end + 1]);
    zone_page_free(page[end + 3]);
    cr_assert_eq(zone_purge_long(SIZE_MAX), length * LOW_PAGE_BYTES);
    cr_assert_eq(zone_of(page[0])->dirty.count, 2, "the short ones stay");
    cr_assert_eq(zone_purge_long(SIZE_MAX), 0);
    zone_page_free(page[first - 1]);
    zone_page_free(page[end]);
    cr_assert_eq(zone_purge_long(SIZE_MAX), 3 * LOW_PAGE_BYTES, "with the clean ones in between they are long");
    cr_assert_eq(zone_of(page[0])->dirty.count, 1);
    cr_assert_eq(zone_of(page[0])->clean.count, length + 3);
    cr_assert_eq(zone_purge_whole(SIZE_MAX), LOW_PAGE_BYTES);
}

Test(zone, a_purged_page_reads_as_zero_again)
{
    page_t *page = zone_page_alloc(MEDIUM, &heap_none);
    page_dirty(page);
    zone_page_free(page);
    cr_assert_eq(zone_purge(SIZE_MAX), page_class(page)->block_count * (size_t)page_class(page)->block_bytes);
    cr_assert_eq(zone_page_alloc(MEDIUM, &heap_none), page);
    cr_assert_eq(page->clean_bits, bits_mask(page_class(page)->block_count));
    for (size_t i = 0; i < page_class(page)->page_bytes; i++)
        cr_assert_eq(page->start[i], 0);
}

Test(zone, a_page_of_the_same_class_keeps_knowing_what_is_clean)
{
    page_t *page = zone_page_alloc(MEDIUM, &heap_none);
    block_dirty(page, 0);
    zone_page_free(page);
    cr_assert_eq(zone_page_alloc(MEDIUM, &heap_none), page);
    cr_assert_eq(page->clean_bits, bits_mask(page_class(page)->block_count) & ~(uint64_t)1);
}

// All pairs of classes in turn: what was dirtied by one is never clean to the next, its tail included.
Test(zone, what_is_called_clean_reads_as_zero_whatever_class_was_there_before, .timeout = 60)
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
                block_dirty(page, i);
        zone_page_free(page);
        if (support_random(&random) % 8 == 0)
            zone_purge(SIZE_MAX);
    }
    cr_assert_gt(clean_blocks, 1000);
}

Test(zone, a_zone_grows_as_pages_are_wanted)
{
    page_t *first = zone_page_alloc(SMALL, &heap_none), *page = first;
    for (unsigned i = 0; i < 5000; i++) {
        page = zone_page_alloc(SMALL, &heap_none);
        cr_assert_not_null(page);
        page->start[0] = 1;
    }
    zone_t *zone = zone_of(first);
    cr_assert_geq(atomic_load(&zone->committed), atomic_load(&zone->fresh));
    cr_assert_lt((atomic_load(&zone->committed) - atomic_load(&zone->fresh)) * LOW_PAGE_BYTES, (size_t)32 << 20);
}

// --- when memory is refused ------------------------------------------------------------------------------------------

#define MANY 64u

static void many_free_clean(page_t **page, unsigned class)
{
    for (unsigned i = 0; i < MANY; i++)
        page[i] = zone_page_alloc(class, &heap_none);
    for (unsigned i = 0; i < MANY; i++) {
        if (i == MANY / 2)
            continue; // one stays in their midst
        page_dirty(page[i]);
        zone_page_free(page[i]);
    }
    zone_purge(SIZE_MAX);
}

static void withdraw_and_take_again(unsigned class)
{
    page_t *page[MANY];
    many_free_clean(page, class);
    zone_t *zone = zone_of(page[0]);
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
        page_touch(again);
    }
    cr_assert_null(check_pool(), "%s", check_pool());
}

Test(zone, small_pages_that_were_withdrawn_can_be_had_again)
{
    withdraw_and_take_again(SMALL);
}

Test(zone, medium_pages_that_were_withdrawn_can_be_had_again)
{
    withdraw_and_take_again(MEDIUM);
}

// Under an address limit zones are small at first, and are added to.
static size_t address_limit = SIZE_MAX;

// In front of os_linux's (-Wl,--wrap): the sanitizers live under no limit.
size_t __wrap_os_address_limit_bytes(void);
size_t __wrap_os_address_limit_bytes(void)
{
    return address_limit;
}

static void zone_begin_limited(void)
{
    address_limit = (size_t)1 << 30;
    zone_begin();
}

TestSuite(zone_limited, .init = zone_begin_limited);

static size_t addresses_of(unsigned kind)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < zone_count(); i++)
        bytes += zone_get(i)->kind == kind ? (size_t)zone_get(i)->bound << zone_get(i)->shift : 0;
    return bytes;
}

// On a machine with much memory and few addresses, half of them at least are left to the program.
static size_t address_space, memory;

size_t __real_os_address_space_bytes(void);
size_t __real_os_memory_bytes(void);
size_t __wrap_os_address_space_bytes(void);
size_t __wrap_os_memory_bytes(void);

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
    zone_begin();
    cr_assert_not_null(pool_malloc((size_t)1 << 20)); // so that all tables exist
    cr_assert_leq(addresses_in_use() - before, address_space / 2);
    cr_assert_geq((size_t)zone_get(0)->bound << zone_get(0)->shift, (size_t)8 << 30);
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

Test(zone_limited, zones_without_a_used_page_give_their_addresses_back)
{
    unsigned kind = size_class_table[SMALL].zone;
    size_t at_first = addresses_of(kind);
    for (unsigned round = 0; round < 30; round++) { // more rounds than there can be zones
        pages_come_and_go(SMALL, (size_t)100 << 20);
        cr_assert_gt(addresses_of(kind), at_first);
        zone_purge(SIZE_MAX);
        cr_assert_gt(zone_leave_empty(), 0);
        cr_assert_eq(addresses_of(kind), at_first);
        cr_assert_null(check_pool(), "%s", check_pool());
        page_t *medium = zone_page_alloc(MEDIUM, &heap_none);
        cr_assert_eq(zone_page_of(medium->start), medium);
    }
}

Test(zone_limited, a_zone_with_a_used_page_stays)
{
    page_t *page = zone_page_alloc(SMALL, &heap_none);
    while (page->zone < zone_first_count)
        page = zone_page_alloc(SMALL, &heap_none);
    cr_assert_eq(zone_leave_empty(), 0);
    zone_page_free(page);
    cr_assert_gt(zone_leave_empty(), 0);
    cr_assert_null(zone_page_of(page), "its descriptor has gone, too");
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
        *at = zone_page_alloc(SMALL, &heap_none);
        if (i % 2 == 0)
            page_carve(*at); // so that both sets are used
        *(void **)(*at)->start = mark;
    }
    for (unsigned i = 0; i < HELD; i++)
        zone_page_free(held[i]);
    return NULL;
}

Test(zone, pages_that_many_threads_take_and_give_at_once_are_neither_shared_nor_lost, .timeout = 60)
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

Test(zone, the_zones_are_named)
{
    for (unsigned i = 0; i < zone_count(); i++)
        cr_assert_eq(strncmp(zone_name(zone_get(i)), "tarn ", 5), 0);
}

// --- guards (harden=2) -----------------------------------------------------------------------------------------------

static void zone_begin_guarded(void)
{
    support_harden = HARDEN_GUARDS;
    cr_assert(pool_start());
    pool_free(pool_malloc(1)); // so that there is a heap
}

TestSuite(guards, .init = zone_begin_guarded, .timeout = 60);

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

Test(guards, no_group_of_pages_runs_into_the_next)
{
    const unsigned classes[] = {SMALL, SMALL_CLASSES, MEDIUM, MEDIUM + 3 * MEDIUM_STEPS};
    for (unsigned c = 0; c < sizeof(classes) / sizeof(*classes); c++) {
        page_t *page = zone_page_alloc(classes[c], heap_self);
        const zone_t *zone = zone_of(page);
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

Test(guards, a_pointer_into_one_is_not_from_this_heap)
{
    while (zones[0].guards == 0)
        cr_assert(zone_page_alloc(SMALL, heap_self) != NULL);
    page_t *guard = &zones[0].pages[zones[0].fresh - 2];
    cr_assert_eq(guard->place, PAGE_GUARD);
    pool_free(guard->start);
    cr_assert_str_eq(support_misuse.what, "not from this heap");
    cr_assert_eq(pool_usable_size(guard->start + 64), 0);
    cr_assert_eq(support_misuses, 2);
}

// 10 GiB of the smallest pages are to leave half of the kernel's 65,530 mappings to large blocks and to the program.
Test(guards, a_heap_of_a_tenth_of_10_gib_has_a_tenth_of_the_mappings)
{
    unsigned before = mappings();
    for (size_t bytes = 0; bytes < (size_t)1 << 30; bytes += LOW_PAGE_BYTES)
        cr_assert(zone_page_alloc(SMALL, heap_self) != NULL);
    cr_assert_geq(zones[0].guards, (1u << 30) / (1u << 20));
    cr_assert_leq(mappings() - before, 65530 / 2 / 10);
}

Test(guards, the_heap_stays_whole)
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
