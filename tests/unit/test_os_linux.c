// tests/unit/test_os_linux.c - the door to the kernel: what each call does to memory, and that errno is never touched.
#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "books.h"
#include "os_fixture.h"
#include "support.h"

#define MIB ((size_t)1 << 20)

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

// By calls of every kind, since each has an errno of its own to keep.
Test(os_linux, what_the_kernel_refuses_is_refused)
{
    void *nowhere = (void *)((uintptr_t)1 << 60); // no program has such addresses, so nothing can be mapped there either
    bool hole;
    cr_assert_null(os_reserve((size_t)1 << 60, os_page_bytes()));
    cr_assert_null(os_map(SIZE_MAX - 4095, (size_t)1 << 40));
    cr_assert_not(os_would_grant((size_t)1 << 60));
    cr_assert_not(os_commit(nowhere, os_page_bytes()));
    cr_assert_not(os_purge(nowhere, os_page_bytes()));
    cr_assert_not(os_move(nowhere, os_page_bytes(), os_map(MIB, os_page_bytes()), os_page_bytes(), &hole));
    cr_assert_null(os_resize(nowhere, os_page_bytes(), MIB));
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

// pool/deputy.c rests on it. An emulator need not have the call.
Test(os_linux, all_threads_pass_a_barrier_once_that_was_announced)
{
#ifndef __SANITIZE_THREAD__
    cr_assert_not(os_barrier_threads());
    os_barrier_start();
    cr_assert(os_barrier_threads());
#endif
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
