// tests/unit/test_large_huge.c - large blocks ask for huge pages with huge=on: which, and how far. What is asked for is noted
// here (-Wl,--wrap), and whether the kernel has any is this file's to say.
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"
#include "huge.h"
#include "large.h"
#include "os_linux.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

static bool gives_none;
static unsigned probed, asked;
static char *asked_start;
static size_t asked_bytes;

bool __wrap_os_gives_huge_pages(size_t bytes);
void __wrap_os_ask_huge_pages(void *start, size_t bytes);
void __real_os_ask_huge_pages(void *start, size_t bytes);

bool __wrap_os_gives_huge_pages(size_t bytes)
{
    (void)bytes;
    probed++;
    usleep(gives_none ? 1000 : 0); // it is asked again after a multiple of what it took
    return !gives_none;
}

void __wrap_os_ask_huge_pages(void *start, size_t bytes)
{
    asked++;
    asked_start = start;
    asked_bytes = bytes;
    __real_os_ask_huge_pages(start, bytes);
}

static void begin_on(void)
{
    support_huge = HUGE_ON;
    cr_assert(pool_start());
}

static void begin_limited(void)
{
    support_limit_bytes = 512 * MIB;
    begin_on();
}

static void begin_auto(void)
{
    support_huge = HUGE_AUTO;
    cr_assert(pool_start());
}

TestSuite(large_huge, .init = begin_on);
TestSuite(large_huge_limited, .init = begin_limited);
TestSuite(large_huge_auto, .init = begin_auto);

Test(large_huge, a_block_of_8_mib_begins_where_a_huge_page_does_and_asks)
{
    cr_assert_not_null(pool_malloc(300 << 10)); // so that the next one would lie anywhere
    char *block = pool_malloc(8 * MIB - 100);
    cr_assert_eq((uintptr_t)block % HUGE_BYTES, 0);
    cr_assert_eq(asked_start, block);
    cr_assert_eq(asked_bytes % HUGE_BYTES, 0); // its last one is whole
    memset(block, 1, 8 * MIB - 100);
    require_books();
    pool_free(block);
    require_books();
}

Test(large_huge, a_block_that_would_leave_most_of_its_last_one_unused_has_the_whole_ones)
{
    char *block = pool_malloc(2 * MIB + MIB / 4);
    cr_assert_eq((uintptr_t)block % HUGE_BYTES, 0);
    cr_assert_eq(asked, 1);
    cr_assert_lt(asked_bytes, 2 * HUGE_BYTES);
}

Test(large_huge, a_block_below_a_megabyte_and_a_half_does_not_ask)
{
    cr_assert_not_null(pool_malloc(MIB));
    cr_assert_not_null(pool_malloc(300 << 10));
    cr_assert_eq(asked, 0);
}

Test(large_huge, a_block_that_grows_asks_and_keeps_what_it_holds)
{
    char *block = pool_malloc(MIB);
    memset(block, 7, MIB);
    for (size_t size = MIB; size < 40 * MIB; size += size / 8) {
        block = pool_realloc(block, size);
        block[size - 1] = 7;
    }
    cr_assert_gt(asked, 4);
    cr_assert(block[0] == 7 && memcmp(block, block + 1, MIB - 1) == 0);
    require_books();
}

Test(large_huge, the_kernel_is_asked_once_whether_it_gives_any)
{
    for (unsigned i = 0; i < 20; i++)
        cr_assert_not_null(pool_malloc(4 * MIB));
    cr_assert_eq(probed, 1);
    cr_assert_eq(asked, 20);
}

static unsigned mappings_within(const char *from, size_t bytes)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned count = 0;
    while (fgets(line, sizeof(line), maps) != NULL) {
        uintptr_t start = strtoull(line, NULL, 16), end = strtoull(strchr(line, '-') + 1, NULL, 16);
        count += start < (uintptr_t)from + bytes && end > (uintptr_t)from;
    }
    fclose(maps);
    return count;
}

Test(large_huge, what_is_given_back_is_one_mapping_with_its_neighbours_again)
{
    char *below = pool_malloc(300 << 10), *block = pool_malloc(64 * MIB), *above;
    do
        above = pool_malloc(300 << 10);
    while (above < block); // there is room between the first two
    size_t bytes = (size_t)(above - below);
    memset(block, 1, 64 * MIB);
    cr_assert_eq(mappings_within(below, bytes), 2, "which does not ask, and which does");
    cr_assert_eq(mappings_within(below, bytes + 1), 3);
    cr_assert_eq(pool_realloc(block, 16 * MIB), block);
    cr_assert_eq(mappings_within(block + 17 * MIB, (size_t)(above - block) - 17 * MIB + 1), 1);
    pool_free(block);
    pool_trim(0);
    cr_assert_eq(mappings_within(below, bytes + 1), 1);
    require_books();
}

// Its extent is longer than it needs by a quarter, which is more than that of a cached one may be otherwise.
Test(large_huge, a_freed_block_is_served_again_with_its_huge_pages)
{
    static const size_t sizes[] = {MIB * 8 / 5, MIB * 16 / 5};
    cr_assert_not_null(pool_malloc(32 * MIB)); // so that one more may be kept
    for (unsigned i = 0; i < 2; i++) {
        char *block = pool_malloc(sizes[i]);
        pool_free(block);
        cr_assert_eq(pool_malloc(sizes[i]), block, "%zu", sizes[i]);
    }
}

// Addresses, and page tables for them, would be lost for nothing.
Test(large_huge, where_it_gives_none_blocks_lie_as_close_as_without)
{
    gives_none = true;
    char *first = pool_malloc(300 << 10), *second = pool_malloc(3 * MIB), *third = pool_malloc(300 << 10);
    cr_assert_eq(second - first, 5 * LARGE_GRAIN_BYTES); // 300 KiB and an OS page
    cr_assert_eq(third - second, 3 * MIB + LARGE_GRAIN_BYTES);
}

Test(large_huge, where_it_gives_none_no_block_asks_and_probes_get_rare)
{
    gives_none = true;
    for (unsigned i = 0; i < 200; i++)
        cr_assert_not_null(pool_malloc(4 * MIB));
    cr_assert_eq(asked, 0);
    cr_assert_leq(probed, 20);
}

Test(large_huge_limited, under_a_limit_none_asks)
{
    cr_assert_not_null(pool_malloc(8 * MIB));
    cr_assert_eq(asked + probed, 0);
}

Test(large_huge_auto, nor_does_one_by_default)
{
    cr_assert_not_null(pool_malloc(8 * MIB));
    cr_assert_eq(asked + probed, 0);
}
