// tests/unit/test_os_residency.c - what is resident, OS page by OS page, against /proc/self/smaps, too.
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "os_fixture.h"

TestSuite(os_residency, .init = os_begin, .fini = os_end);

static bool is_resident(const os_run_t *runs, unsigned count, size_t page)
{
    for (unsigned i = 0; i < count; i++)
        if (page >= runs[i].first && page < runs[i].end)
            return true;
    return false;
}

Test(os_residency, it_tells_each_page)
{
    os_run_t runs[OS_RUNS];
    size_t page = os_page_bytes(), told = 0;
    char *start = os_map(5 * page, page);
    start[page] = start[3 * page] = start[4 * page] = 1;
    cr_assert_eq(os_residency(start, 5, runs, &told), 2);
    cr_assert_eq(told, 5);
    cr_assert(runs[0].first == 1 && runs[0].end == 2 && runs[1].first == 3 && runs[1].end == 5);
    os_unmap(start, 5 * page);
    cr_assert_eq(os_residency(start, 5, runs, &told), 0, "it is not mapped");
    cr_assert_eq(told, 5);
}

Test(os_residency, one_that_has_no_room_for_all_runs_says_how_far_it_came)
{
    static os_run_t runs[OS_RUNS];
    size_t page = os_page_bytes(), pages = OS_RUN_PAGES + 10, at = 0, resident = 0;
    char *start = os_map(pages * page, page);
    os_no_huge_pages(start, pages * page);
    for (size_t i = 0; i < pages; i += 2)
        start[i * page] = 1;
    for (size_t told; at < pages; at += told) {
        unsigned count = os_residency(start + at * page, pages - at, runs, &told);
        cr_assert(told > 0 && told <= OS_RUN_PAGES && told <= pages - at && count <= OS_RUNS);
        for (size_t i = 0; i < told; i++)
            cr_assert_eq(is_resident(runs, count, i), (at + i) % 2 == 0, "page %zu", at + i);
        resident += count;
    }
    cr_assert_eq(resident, pages / 2);
    os_range_t range = {(uintptr_t)start, (uintptr_t)start + pages * page};
    cr_assert_eq(os_resident_bytes(&range, 1), resident * page);
    os_unmap(start, pages * page);
}

Test(os_residency, resident_bytes_of_several_ranges_are_summed)
{
    size_t page = os_page_bytes();
    char *first = os_map(3 * page, page), *second = os_map(2 * page, page);
    first[2 * page] = second[0] = second[page] = 1;
    os_range_t ranges[] = {{(uintptr_t)first, (uintptr_t)first + 3 * page},
                           {(uintptr_t)second, (uintptr_t)second + page},
                           {(uintptr_t)first, (uintptr_t)first + page}};
    cr_assert_eq(os_resident_bytes(ranges, 0), 0);
    cr_assert_eq(os_resident_bytes(ranges, 3), 2 * page);
    os_unmap(first, 3 * page);
    os_unmap(second, 2 * page);
}

static bool kernel_tells_zero_pages_apart(void) // PAGEMAP_SCAN came with Linux 6.7
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 7));
}

// Of the mapping that starts there, by smaps; SIZE_MAX: none does.
static size_t mapping_rss_bytes(const char *start)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    cr_assert_not_null(file);
    char line[512], wanted[32];
    bool there = false;
    size_t rss_kib = SIZE_MAX >> 10;
    int length = snprintf(wanted, sizeof(wanted), "%lx-", (unsigned long)(uintptr_t)start);
    while (fgets(line, sizeof(line), file) != NULL) {
        there = there || strncmp(line, wanted, (size_t)length) == 0;
        if (there && sscanf(line, "Rss: %zu", &rss_kib) == 1)
            break;
    }
    fclose(file);
    return rss_kib << 10;
}

// It is the page of zeros that all memory shares, and smaps counts none of it; but for a kernel that was told to have no
// such page (some guests of virtual machines), where it is a page as any other.
Test(os_residency, memory_that_was_only_read_is_resident_where_smaps_counts_it)
{
    os_run_t runs[OS_RUNS];
    size_t page = os_page_bytes(), told = 0;
    char *start = os_map(4 * page, page), *read = start + page, *written = start + 2 * page;
    cr_assert_eq(*(volatile char *)read, 0);
    *written = 1;
    unsigned count = os_residency(read, 2, runs, &told);
    cr_assert(is_resident(runs, count, 1));
    cr_assert_eq(mprotect(start, page, PROT_NONE), 0); // so that the page has a mapping of its own
    cr_assert_eq(mprotect(written, 2 * page, PROT_NONE), 0);
    if (kernel_tells_zero_pages_apart())
        cr_assert_eq(is_resident(runs, count, 0) * page, mapping_rss_bytes(read));
    os_unmap(start, 4 * page);
}
