// tests/recording/test_stacks.c - preload/stack_quick.h takes the stack that the unwinder takes, or leaves it to that.
#include <alloca.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../preload/stack_quick.h"

enum { MOST = 64 };

typedef enum taken { DIFFERS, QUICKLY, LEFT } taken_t;

typedef struct outcome {
    taken_t taken;
    uint32_t depth;
    bool cut;
    uint64_t sum; // of the addresses
} outcome_t;

static volatile int sink;

// Both return to the caller of theirs at different places; from there on they have to be the same.
__attribute__((noinline)) static outcome_t compare(uint32_t most)
{
    uintptr_t left[MOST], right[MOST];
    stack_walk_t quick = {.address = left, .most = most}, unwound = {.address = right, .most = most};
    stack_modules_t modules;
    modules.count = 0;
    bool done = stack_walk_quick(&quick, &modules);
    stack_walk(&unwound);
    outcome_t outcome = {done ? QUICKLY : LEFT, quick.depth, quick.cut, 0};
    if (!done && (quick.depth != 0 || quick.cut || quick.outside))
        outcome.taken = DIFFERS;
    if (done && (quick.depth != unwound.depth || quick.cut != unwound.cut ||
                 memcmp(left + 1, right + 1, (quick.depth - 1) * sizeof *left) != 0))
        outcome.taken = DIFFERS;
    for (uint32_t i = 1; i < quick.depth; i++)
        outcome.sum = outcome.sum * 31 + left[i];
    return outcome;
}

__attribute__((noinline)) static outcome_t deep(unsigned depth)
{
    outcome_t outcome = depth == 0 ? compare(MOST) : deep(depth - 1);
    sink++; // behind the call: it is none of a tail
    return outcome;
}

Test(stacks, a_chain_of_calls_is_taken)
{
    for (unsigned round = 0; round < 60; round++)
        cr_assert_eq(deep(round % 30).taken, QUICKLY);
}

Test(stacks, one_that_is_too_deep_is_cut)
{
    outcome_t outcome = deep(MOST + 10);
    cr_assert_eq(outcome.taken, QUICKLY);
    cr_assert(outcome.cut);
    cr_assert_eq(outcome.depth, MOST);
}

// The frame is found by bp, and is as large as its caller wants.
__attribute__((noinline)) static outcome_t wide(size_t bytes, unsigned depth)
{
    char *room = alloca(bytes);
    memset(room, 1, bytes);
    outcome_t outcome = depth == 0 ? compare(MOST) : wide(bytes / 2 + 1, depth - 1);
    sink += room[bytes - 1];
    return outcome;
}

Test(stacks, frames_of_any_size_are_left)
{
    for (size_t bytes = 1; bytes < 5000; bytes += 37)
        cr_assert_eq(wide(bytes, (unsigned)(bytes % 5)).taken, QUICKLY);
}

// Two calls of one function, each of which leaves its return address where the other one's may be looked for.
__attribute__((noinline)) static outcome_t either(bool first)
{
    outcome_t outcome;
    if (first) {
        char *room = alloca(512);
        memset(room, 0, 512);
        outcome = wide(16, 0);
        sink += room[0];
    } else {
        outcome = wide(528, 0);
        sink++;
    }
    return outcome;
}

Test(stacks, what_an_earlier_call_left_on_the_stack_is_not_taken_for_this_one)
{
    uint64_t sums[2] = {0};
    for (unsigned i = 0; i < 100; i++) {
        outcome_t outcome = either(i % 3 == 0);
        cr_assert_eq(outcome.taken, QUICKLY);
        sums[i % 3 == 0] = sums[i % 3 == 0] != 0 ? sums[i % 3 == 0] : outcome.sum;
        cr_assert_eq(outcome.sum, sums[i % 3 == 0]);
    }
    cr_assert_neq(sums[0], sums[1]);
}

static outcome_t seen;

static int compare_in_sort(const void *left, const void *right)
{
    seen = compare(MOST);
    return *(const int *)left - *(const int *)right;
}

Test(stacks, frames_of_the_c_library_are_left)
{
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof *numbers, compare_in_sort);
    cr_assert_eq(seen.taken, QUICKLY);
}

static void *compare_in_thread(void *unused)
{
    seen = deep(3);
    return unused;
}

Test(stacks, a_thread_s_stack_has_an_end)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, compare_in_thread, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(seen.taken, QUICKLY);
    cr_assert_leq(seen.depth, 10u);
}

static void compare_in_handler(int number)
{
    (void)number;
    seen = compare(MOST);
}

Test(stacks, a_signal_s_frame_is_left_to_the_unwinder)
{
    signal(SIGUSR1, compare_in_handler);
    raise(SIGUSR1);
    cr_assert_eq(seen.taken, LEFT);
}

// Where its caller's frame is, is said by an expression.
__attribute__((noinline)) static outcome_t aligned(size_t bytes)
{
    _Alignas(256) volatile char block[256];
    char *room = alloca(bytes);
    memset(room, 2, bytes);
    block[bytes % 256] = room[0];
    outcome_t outcome = compare(MOST);
    sink += block[bytes % 256];
    return outcome;
}

Test(stacks, a_realigned_frame_does_not_lead_astray)
{
    for (size_t bytes = 1; bytes < 1000; bytes += 51)
        cr_assert_neq(aligned(bytes).taken, DIFFERS);
}

static void compare_for_twin(void)
{
    seen = compare(MOST);
}

// The twin with this number, opened by one name for both. Returns where its function came to be.
static void *twin_run(const char *name, const char *number)
{
    char file[4096];
    snprintf(file, sizeof file, "%s%s.so", getenv("TARN_TEST_TWIN"), number);
    unlink(name);
    cr_assert_eq(symlink(file, name), 0);
    void *library = dlopen(name, RTLD_NOW);
    cr_assert_not_null(library);
    void (*twin)(void (*)(void)) = (void (*)(void (*)(void)))dlsym(library, "twin");
    twin(compare_for_twin);
    dlclose(library);
    unlink(name);
    return (void *)twin;
}

Test(stacks, a_library_that_was_built_again_is_not_taken_for_what_it_was)
{
    char name[] = "/tmp/tarn-twin-XXXXXX";
    cr_assert_geq(close(mkstemp(name)), 0);
    void *first = twin_run(name, "1");
    cr_assert_eq(seen.taken, QUICKLY);
    cr_assert_eq(twin_run(name, "2"), first, "it came elsewhere: nothing was tried");
    cr_assert_eq(seen.taken, QUICKLY);
}

static void *many(void *unused)
{
    for (unsigned round = 0; round < 2000; round++)
        if (deep(round % 20).taken != QUICKLY || wide(round, round % 3).taken != QUICKLY)
            return (void *)1;
    return unused;
}

Test(stacks, threads_may_learn_at_the_same_time)
{
    pthread_t threads[4];
    void *failed;
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, many, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], &failed), 0);
        cr_assert_null(failed);
    }
}

// --- the tables as memory --------------------------------------------------------------------------------------------

enum {
    FUNCTIONS = 40000, // as in stack_functions.S
    FUNCTION_BYTES = 16,
    CALLED = 1500, // fewer than are remembered
    OS_PAGE_BYTES = 4096,
    PART_PAGES = 16, // as in preload/stack_tables.c
    RESIDENT_KIB_MOST = 640,
};

typedef void (*called_t)(void);

static char *functions;              // where they are
static uintptr_t tables, tables_end; // theirs, and the OS pages behind

static int tables_find(struct dl_phdr_info *module, size_t size, void *unused)
{
    (void)size, (void)unused;
    uintptr_t index = 0, at = (uintptr_t)functions;
    bool is_it = false;
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type == PT_LOAD)
            is_it |= at - module->dlpi_addr - part->p_vaddr < part->p_memsz;
        if (part->p_type == PT_GNU_EH_FRAME)
            index = module->dlpi_addr + part->p_vaddr;
    }
    for (unsigned i = 0; is_it && i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && index - module->dlpi_addr - part->p_vaddr < part->p_filesz)
            tables_end = module->dlpi_addr + part->p_vaddr + part->p_filesz;
    }
    if (is_it)
        tables = (index + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES * OS_PAGE_BYTES;
    return is_it;
}

// A copy that is cached in single OS pages: of a file on a disk the kernel may have larger pieces, and maps them whole.
static void *functions_open(void)
{
    char page[OS_PAGE_BYTES], name[64];
    int from = open(getenv("TARN_TEST_FUNCTIONS"), O_RDONLY | O_CLOEXEC), to = memfd_create("functions", MFD_CLOEXEC);
    for (ssize_t got; (got = read(from, page, sizeof page)) > 0;)
        cr_assert_eq(write(to, page, (size_t)got), got);
    snprintf(name, sizeof name, "/proc/self/fd/%d", to);
    void *library = dlopen(name, RTLD_NOW);
    close(from);
    close(to);
    return library;
}

static void functions_load(void)
{
    void *library = functions_open();
    cr_assert_not_null(library);
    functions = dlsym(library, "functions");
    dl_iterate_phdr(tables_find, NULL);
    tables_end = tables_end / OS_PAGE_BYTES * OS_PAGE_BYTES;
    cr_assert_gt(tables_end - tables, (uintptr_t)2 * RESIDENT_KIB_MOST << 10);
}

static __thread unsigned taken_quickly;

static void walk_only(void)
{
    uintptr_t address[MOST];
    stack_walk_t walk = {.address = address, .most = MOST};
    stack_modules_t modules;
    modules.count = 0;
    taken_quickly += stack_walk_quick(&walk, &modules);
}

// All over them, and each only once. Returns how many of their stacks were taken quickly.
static unsigned functions_call(unsigned first, unsigned count)
{
    taken_quickly = 0;
    for (unsigned i = first; i < first + count; i++) {
        void (*function)(called_t) = (void (*)(called_t))(void *)(functions + i * 7919 % FUNCTIONS * FUNCTION_BYTES);
        function(walk_only);
    }
    return taken_quickly;
}

typedef struct pages {
    size_t resident, written; // private copies
} pages_t;

static pages_t pages_count(void)
{
    pages_t pages = {0};
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (uintptr_t at = tables; at < tables_end; at += OS_PAGE_BYTES) {
        uint64_t word = 0;
        cr_assert_eq(pread(pagemap, &word, sizeof word, (off_t)(at / OS_PAGE_BYTES * sizeof word)), (ssize_t)sizeof word);
        pages.resident += word >> 63;
        pages.written += word >> 63 && !(word >> 61 & 1);
    }
    close(pagemap);
    return pages;
}

Test(stacks, of_large_tables_little_stays_resident)
{
    functions_load();
    cr_assert_eq(functions_call(0, CALLED), CALLED);
    pages_t pages = pages_count();
    cr_assert_leq(pages.resident * OS_PAGE_BYTES, (size_t)RESIDENT_KIB_MOST << 10, "%zu pages", pages.resident);
    cr_assert_gt(pages.resident, 0u);
}

// In each part that the kernel maps at once.
Test(stacks, what_was_written_into_tables_is_kept)
{
    functions_load();
    size_t written = 0;
    cr_assert_eq(mprotect((void *)tables, tables_end - tables, PROT_READ | PROT_WRITE), 0);
    for (uintptr_t at = tables; at < tables_end; at += (uintptr_t)PART_PAGES * OS_PAGE_BYTES, written++)
        *(volatile char *)at = *(volatile char *)at;
    cr_assert_eq(mprotect((void *)tables, tables_end - tables, PROT_READ), 0);
    cr_assert_eq(functions_call(0, CALLED), CALLED);
    cr_assert_eq(pages_count().written, written);
}

Test(stacks, locked_tables_stay)
{
    functions_load();
    if (mlock((void *)tables, tables_end - tables) != 0)
        cr_skip_test("no memory may be locked here");
    cr_assert_eq(functions_call(0, CALLED), CALLED);
    cr_assert_eq(pages_count().resident * OS_PAGE_BYTES, tables_end - tables);
}

static void *functions_call_some(void *first)
{
    unsigned count = CALLED / 4;
    return functions_call((unsigned)(uintptr_t)first, count) == count ? NULL : first;
}

Test(stacks, tables_are_let_go_while_others_read_them)
{
    pthread_t threads[4];
    void *failed;
    functions_load();
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, functions_call_some, (void *)(uintptr_t)(1 + i * CALLED)), 0);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], &failed), 0);
        cr_assert_null(failed);
    }
    cr_assert_lt(pages_count().resident * OS_PAGE_BYTES, tables_end - tables);
}
