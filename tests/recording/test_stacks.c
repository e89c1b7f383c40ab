// tests/recording/test_stacks.c - preload/stack_quick.h takes the stack that the unwinder takes, or leaves it to that.
#include <alloca.h>
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
