// tests/unit/test_kernel_filter.c - the machine of a filter of system calls, step by step.
#include <criterion/criterion.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "kernel_filter.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

// Whether a filter that consists of these steps kills the call of this number and first argument.
#define KILLS(number, argument, ...)                                                                                   \
    kills_by((number), (argument), (struct sock_filter[]){__VA_ARGS__}, COUNT(((struct sock_filter[]){__VA_ARGS__})))

static bool kills_by(long number, long argument, struct sock_filter *steps, size_t count)
{
    const struct sock_fprog filter = {(unsigned short)count, steps};
    kernel_filter_add(&filter, true);
    bool kills = kernel_call_kills(number, argument, 0, 0, 0, 0, 0);
    kernel_filter_drop(&filter);
    cr_assert(!kernel_call_kills(number, argument, 0, 0, 0, 0, 0), "what was dropped does not count");
    return kills;
}

// A filter that kills if the accumulator is 7 in the end.
#define KILL_AT_7 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 1), KILL, ALLOW
#define GIVES_7(argument, ...) KILLS(SYS_read, (argument), LOAD(args[0]), __VA_ARGS__, KILL_AT_7)

Test(kernel_filter, what_would_end_or_interrupt_the_process_kills)
{
    cr_assert(KILLS(SYS_read, 0, KILL));
    cr_assert(KILLS(SYS_read, 0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD)));
    cr_assert(KILLS(SYS_read, 0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 5)));
    cr_assert(!KILLS(SYS_read, 0, ALLOW));
    cr_assert(!KILLS(SYS_read, 0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1)));
    cr_assert(!KILLS(SYS_read, 0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG)));
}

Test(kernel_filter, a_call_is_told_by_its_number_and_its_arguments)
{
    cr_assert(KILLS(SYS_read, 0, LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 0, 1), KILL, ALLOW));
    cr_assert(!KILLS(SYS_write, 0, LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 0, 1), KILL, ALLOW));
    cr_assert(KILLS(SYS_read, 7, LOAD(args[0]), KILL_AT_7));
    cr_assert(!KILLS(SYS_read, 8, LOAD(args[0]), KILL_AT_7));
}

Test(kernel_filter, every_jump_is_taken_as_the_kernel_takes_it)
{
    cr_assert(KILLS(SYS_read, 8, LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 7, 0, 1), KILL, ALLOW));
    cr_assert(!KILLS(SYS_read, 7, LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 7, 0, 1), KILL, ALLOW));
    cr_assert(KILLS(SYS_read, 7, LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 7, 0, 1), KILL, ALLOW));
    cr_assert(KILLS(SYS_read, 6, LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 1), KILL, ALLOW));
    cr_assert(!KILLS(SYS_read, 4, LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 2, 0, 1), KILL, ALLOW));
    cr_assert(!KILLS(SYS_read, 0, BPF_STMT(BPF_JMP | BPF_JA, 1), KILL, ALLOW));
}

Test(kernel_filter, it_computes)
{
    cr_assert(GIVES_7(5, BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 2)));
    cr_assert(GIVES_7(9, BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 2)));
    cr_assert(GIVES_7(14, BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1)));
    cr_assert(GIVES_7(0xf7, BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf)));
    cr_assert(GIVES_7(3, BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 4)));
    cr_assert(GIVES_7(-7, BPF_STMT(BPF_ALU | BPF_NEG, 0)));
    cr_assert(GIVES_7(3, BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_IMM, 4), BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0)));
    cr_assert(GIVES_7(7, BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_LD | BPF_MEM, 3)));
    cr_assert(GIVES_7(7, BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LDX | BPF_MEM, 3), BPF_STMT(BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0)));
}

Test(kernel_filter, two_filters_count_both)
{
    struct sock_filter reads[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 0, 1), KILL, ALLOW};
    struct sock_filter writes[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 1), KILL, ALLOW};
    const struct sock_fprog first = {COUNT(reads), reads}, second = {COUNT(writes), writes};
    kernel_filter_add(&first, true);
    kernel_filter_add(&second, true);
    cr_assert(kernel_call_kills(SYS_read, 0, 0, 0, 0, 0, 0));
    cr_assert(kernel_call_kills(SYS_write, 0, 0, 0, 0, 0, 0));
    cr_assert(!kernel_call_kills(SYS_close, 0, 0, 0, 0, 0, 0));
}

// Then what the C library's malloc calls is tried, and nothing else.
Test(kernel_filter, more_than_can_be_kept_allows_the_usual)
{
    static struct sock_filter steps[BPF_MAXINSNS]; // all of them load a 0
    const struct sock_fprog filter = {COUNT(steps), steps};
    for (size_t i = 0; i + 1 < COUNT(steps); i++)
        steps[i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
    steps[COUNT(steps) - 1] = (struct sock_filter)ALLOW;
    for (int i = 0; i < 3; i++)
        kernel_filter_add(&filter, true);
    cr_assert(!kernel_call_kills(SYS_mmap, 0, 0, 0, 0, 0, 0));
    cr_assert(kernel_call_kills(SYS_openat, 0, 0, 0, 0, 0, 0));
}

Test(kernel_filter, strict_mode_leaves_reading_and_writing)
{
    kernel_filter_strict(true);
    cr_assert(!kernel_call_kills(SYS_write, 0, 0, 0, 0, 0, 0));
    cr_assert(kernel_call_kills(SYS_mmap, 0, 0, 0, 0, 0, 0));
}

Test(kernel_filter, what_the_kernel_would_not_take_is_not_kept)
{
    static struct sock_filter steps[BPF_MAXINSNS + 1];
    const struct sock_fprog filter = {COUNT(steps), steps};
    kernel_filter_add(&filter, true);
    cr_assert(!kernel_call_kills(SYS_openat, 0, 0, 0, 0, 0, 0));
}

Test(kernel_filter, what_found_no_room_is_dropped_as_well)
{
    static struct sock_filter steps[BPF_MAXINSNS];
    const struct sock_fprog filter = {COUNT(steps), steps};
    for (size_t i = 0; i < COUNT(steps); i++)
        steps[i] = (struct sock_filter)ALLOW;
    for (int i = 0; i < 3; i++)
        kernel_filter_add(&filter, true);
    cr_assert(kernel_call_kills(SYS_openat, 0, 0, 0, 0, 0, 0));
    kernel_filter_drop(&filter);
    cr_assert(!kernel_call_kills(SYS_openat, 0, 0, 0, 0, 0, 0));
}

static void *map_in_thread(void *kills)
{
    *(bool *)kills = kernel_call_kills(SYS_mmap, 0, 0, 0, 0, 0, 0);
    ((bool *)kills)[1] = kernel_call_kills(SYS_openat, 0, 0, 0, 0, 0, 0);
    return NULL;
}

Test(kernel_filter, what_malloc_needs_is_refused_to_no_thread_for_another_one_s_filter)
{
    struct sock_filter step = KILL;
    const struct sock_fprog filter = {1, &step};
    bool kills[2];
    pthread_t thread;
    kernel_filter_add(&filter, false);
    cr_assert(kernel_call_kills(SYS_mmap, 0, 0, 0, 0, 0, 0));
    cr_assert(pthread_create(&thread, NULL, map_in_thread, kills) == 0);
    pthread_join(thread, NULL);
    cr_assert(!kills[0]);
    cr_assert(kills[1]);
}
