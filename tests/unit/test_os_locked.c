// tests/unit/test_os_locked.c - memory that is given back, and made usable, where the program locks its memory, too.
#include <criterion/criterion.h>
#include <sys/mman.h>

#include "books.h"
#include "os_fixture.h"

#define MIB ((size_t)1 << 20)

TestSuite(os_locked, .init = os_begin, .fini = os_end);

Test(os_locked, purged_memory_is_gone_and_reads_as_zero)
{
    char *start = os_map(MIB, os_page_bytes());
    memset(start, 0x5a, MIB);
    cr_assert(os_purge(start, MIB / 2));
    cr_assert_eq(books_resident(start, start + MIB), MIB / 2);
    cr_assert(start[0] == 0 && start[MIB / 2 - 1] == 0 && start[MIB / 2] == 0x5a);
}

Test(os_locked, locked_memory_is_purged_and_can_be_refreshed)
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
Test(os_locked, what_is_purged_while_all_memory_is_locked_is_gone_or_said_to_stay)
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

Test(os_locked, what_is_made_usable_is_locked_if_wanted_and_not_resident)
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
