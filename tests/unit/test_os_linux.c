// tests/unit/test_os_linux.c - the door to the kernel: what each call does to memory, and that errno is never touched.
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "books.h"
#include "os_linux.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

static void os_begin(void)
{
    os_start();
    errno = 77;
}

static void os_end(void)
{
    cr_assert_eq(errno, 77);
}

TestSuite(os_linux, .init = os_begin, .fini = os_end);

Test(os_linux, reserved_addresses_are_aligned_and_cost_nothing)
{
    for (size_t alignment = os_page_bytes(); alignment <= 64 * MIB; alignment *= 2) {
        char *start = os_reserve(MIB, alignment);
        cr_assert_eq((uintptr_t)start % alignment, 0);
        cr_assert_eq(books_resident(start, start + MIB), 0);
        os_unmap(start, MIB);
    }
}

Test(os_linux, committed_memory_is_zero_and_can_be_written)
{
    char *start = os_reserve(4 * MIB, os_page_bytes());
    cr_assert(os_commit(start + MIB, MIB));
    for (size_t i = 0; i < MIB; i += 100)
        cr_assert_eq(start[MIB + i], 0);
    memset(start + MIB, 0x5a, MIB);
    cr_assert_eq(books_resident(start, start + 4 * MIB), MIB);
}

Test(os_linux, withdrawn_memory_is_gone_and_can_be_committed_again)
{
    char *start = os_map(2 * MIB, os_page_bytes());
    memset(start, 0x5a, 2 * MIB);
    cr_assert(os_withdraw(start, MIB));
    cr_assert_eq(books_resident(start, start + 2 * MIB), MIB);
    cr_assert_not(support_writable(start));
    cr_assert_not(support_writable(start + MIB - 1));
    cr_assert_eq(start[MIB], 0x5a);
    cr_assert(os_commit(start, MIB));
    cr_assert_eq(start[MIB - 1], 0);
    memset(start, 0x5a, MIB);
}

Test(os_linux, purged_memory_is_gone_and_reads_as_zero)
{
    char *start = os_map(MIB, os_page_bytes());
    memset(start, 0x5a, MIB);
    cr_assert(os_purge(start, MIB / 2));
    cr_assert_eq(books_resident(start, start + MIB), MIB / 2);
    cr_assert(start[0] == 0 && start[MIB / 2 - 1] == 0 && start[MIB / 2] == 0x5a);
}

Test(os_linux, locked_memory_is_purged_and_can_be_refreshed)
{
    char *start = os_map(4 * os_page_bytes(), os_page_bytes());
    memset(start, 0x5a, 4 * os_page_bytes());
    if (mlock(start, 4 * os_page_bytes()) != 0) {
        errno = 77; // no right to lock memory here
        return;
    }
    cr_assert(os_purge(start, 4 * os_page_bytes()));
    cr_assert_eq(books_resident(start, start + 4 * os_page_bytes()), 0);
    start[0] = 0x5a;
    cr_assert(os_refresh(start, 4 * os_page_bytes()));
    cr_assert_eq(start[0], 0);
}

// What is mapped then comes locked and resident: what is given back must not come back so, and what is made usable neither.
Test(os_linux, what_is_purged_while_all_memory_is_locked_is_gone_or_said_to_stay)
{
    const size_t bytes = 16 * os_page_bytes();
    char *reserved = os_reserve(2 * bytes, os_page_bytes());
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        errno = 77;
        return;
    }
    char *start = os_map(bytes, os_page_bytes());
    bool hole, purged = false;
    for (unsigned round = 0; round < 3; round++) {
        memset(start, 0x5a, bytes);
        purged = os_purge(start, bytes); // kernels from 5.18 on can
        cr_assert_eq(books_resident(start, start + bytes), purged ? 0 : bytes);
        cr_assert(os_refresh(start, bytes));
        cr_assert_eq(books_resident(start, start + bytes), purged ? 0 : bytes);
        cr_assert(start[0] == 0 && start[bytes - 1] == 0);
        cr_assert(os_withdraw(reserved, bytes) && os_commit(reserved, bytes));
        cr_assert_eq(books_resident(reserved, reserved + bytes), purged ? 0 : bytes);
    }
    memset(start, 0x5a, bytes);
    cr_assert(os_move(start, bytes, reserved + bytes, bytes, &hole) && !hole);
    cr_assert(reserved[bytes] == 0x5a && reserved[2 * bytes - 1] == 0x5a);
    cr_assert_eq(books_resident(start, start + bytes), purged ? 0 : bytes);
    munlockall();
}

static bool is_locked(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_DONTNEED) != 0 && errno == EINVAL;
}

Test(os_linux, what_is_made_usable_is_locked_if_wanted_and_not_resident)
{
    const size_t bytes = 4 * os_page_bytes();
    char *start = os_reserve(3 * bytes, os_page_bytes());
    cr_assert(os_commit(start, bytes));
    os_lock(true);
    bool allowed = os_commit(start + bytes, bytes);
    os_lock(false);
    cr_assert(os_commit(start + 2 * bytes, bytes));
    memset(start + 2 * bytes, 0x5a, bytes);
    bool locked = allowed && is_locked(start + bytes, bytes), others = is_locked(start, bytes) || is_locked(start + 2 * bytes, bytes);
    uint64_t resident = books_resident(start, start + 2 * bytes);
    errno = 77; // the test's own calls
    cr_assert_eq(locked, allowed);
    cr_assert_not(others);
    cr_assert_eq(resident, 0);
}

Test(os_linux, a_collapse_keeps_what_is_there)
{
    const size_t huge_bytes = 2 * MIB;
    char *start = os_map(huge_bytes, huge_bytes);
    memset(start + os_page_bytes(), 0x5a, os_page_bytes());
    bool done = os_huge_page_collapse(start, huge_bytes); // not before Linux 6.1
    os_gives_huge_pages(huge_bytes);
    if (done)
        cr_assert_eq(books_resident(start, start + huge_bytes), huge_bytes);
    cr_assert(start[os_page_bytes()] == 0x5a && start[2 * os_page_bytes() - 1] == 0x5a);
    cr_assert(start[0] == 0 && start[2 * os_page_bytes()] == 0 && start[huge_bytes - 1] == 0);
}

Test(os_linux, moved_memory_keeps_its_contents_and_leaves_usable_addresses)
{
    char *old = os_map(MIB, os_page_bytes()), *new = os_map(2 * MIB, os_page_bytes());
    bool hole = true;
    memset(old, 0x5a, MIB);
    cr_assert(os_move(old, MIB, new, 2 * MIB, &hole));
    cr_assert_not(hole);
    for (size_t i = 0; i < MIB; i += 100)
        cr_assert(new[i] == 0x5a && old[i] == 0);
    old[0] = new[2 * MIB - 1] = 1;
}

Test(os_linux, a_resized_mapping_keeps_its_contents)
{
    char *start = os_map(MIB, os_page_bytes());
    memset(start, 0x5a, MIB);
    start = os_resize(start, MIB, 8 * MIB);
    cr_assert_not_null(start);
    cr_assert(start[MIB - 1] == 0x5a && start[MIB] == 0);
    start[8 * MIB - 1] = 1;
}

static bool is_resident(const os_run_t *runs, unsigned count, size_t page)
{
    for (unsigned i = 0; i < count; i++)
        if (page >= runs[i].first && page < runs[i].end)
            return true;
    return false;
}

Test(os_linux, residency_tells_each_page)
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

Test(os_linux, residency_that_has_no_room_for_all_runs_says_how_far_it_came)
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

Test(os_linux, resident_bytes_of_several_ranges_are_summed)
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
Test(os_linux, memory_that_was_only_read_is_resident_where_smaps_counts_it)
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

Test(os_linux, what_the_kernel_refuses_is_refused)
{
    cr_assert_null(os_reserve((size_t)1 << 60, os_page_bytes()));
    cr_assert_null(os_map(SIZE_MAX - 4095, (size_t)1 << 40));
    cr_assert_not(os_commit((void *)os_page_bytes(), os_page_bytes()));
}

Test(os_linux, the_limit_of_addresses_is_seen)
{
    struct rlimit limit = {(rlim_t)1 << 33, (rlim_t)1 << 33};
    if (os_address_limit_bytes() == SIZE_MAX) {
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        cr_assert_eq(os_address_limit_bytes(), (size_t)1 << 33);
    }
}

Test(os_linux, the_address_space_holds_the_stack_and_is_not_twice_as_large)
{
    char here;
    cr_assert_lt((uintptr_t)&here, os_address_space_bytes());
    cr_assert_geq((uintptr_t)&here, os_address_space_bytes() / 4);
}

Test(os_linux, under_a_data_limit_committed_memory_counts)
{
    struct rlimit limit = {(rlim_t)1 << 33, (rlim_t)1 << 33};
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    cr_assert(os_commit_counts());
}

static int sleeper;

static void *sleep_for_ever(void *unused)
{
    __atomic_store_n(&sleeper, os_thread_id(), __ATOMIC_SEQ_CST);
    for (;;)
        pause();
    return unused;
}

Test(os_linux, a_thread_that_runs_is_told_from_one_that_sleeps, .timeout = 60)
{
    pthread_t thread;
    cr_assert(os_thread_runs(os_thread_id()));
    cr_assert_not(os_thread_runs(0x7fffffff), "there is none");
    pthread_create(&thread, NULL, sleep_for_ever, NULL);
    while (__atomic_load_n(&sleeper, __ATOMIC_SEQ_CST) == 0 || os_thread_runs(sleeper))
        os_yield();
}

Test(os_linux, time_goes_on_and_waiting_ends)
{
    uint32_t word = 5;
    uint64_t before = os_now_ms();
    os_wait(&word, 4); // not what it waits for
    os_wait(&word, 5); // nobody wakes it
    cr_assert_geq(os_now_ms(), before);
    cr_assert_lt(os_now_ms(), before + 5000);
}
