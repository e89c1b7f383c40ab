// tests/hostile/filters.c - system calls are filtered (seccomp): what a sandbox leaves an allocator is mmap and munmap.
//
// Some filters answer with an error, as those do that were written with fallbacks in mind. Others end the process at a call that
// their author has not seen: the library must not make one then.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../conformance/facts.h"

// --- filters -----------------------------------------------------------------------------------------------------------

enum { CALLS_MAX = 32 };

static bool by_prctl; // as it was done before there was a system call for it

static long filter_install(const struct sock_fprog *filter)
{
    return by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0)
                    : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, filter);
}

// The calls are allowed and all others answered by `refuse`, or the other way round.
static void filter_answer(const long *calls, size_t count, bool allowed, uint32_t refuse)
{
    struct sock_filter program[CALLS_MAX + 3];
    const uint32_t allow = SECCOMP_RET_ALLOW;
    size_t length = 0;
    program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) // to the last instruction
        program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
                                                         (uint8_t)(count - i), 0);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, allowed ? refuse : allow);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, allowed ? allow : refuse);
    struct sock_fprog filter = {(unsigned short)length, program};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges");
    if (filter_install(&filter) != 0)
        check_skip("filters cannot be set here");
}

static void filter_set(const long *calls, size_t count, bool allowed, int error)
{
    filter_answer(calls, count, allowed, SECCOMP_RET_ERRNO | (uint32_t)error);
}

static const long least[] = {SYS_mmap, SYS_munmap, SYS_write, SYS_exit_group};

// All that an allocator might want beyond those.
static const long others[] = {SYS_madvise, SYS_mprotect, SYS_mremap, SYS_prctl,       SYS_mincore, SYS_brk,
                              SYS_openat,  SYS_open,     SYS_ioctl,  SYS_getrlimit,   SYS_prlimit64,
                              SYS_sysinfo, SYS_getrusage, SYS_sched_yield};

// --- work --------------------------------------------------------------------------------------------------------------

enum { BLOCKS = 400 };

static size_t size_of(size_t i)
{
    return i % 40 == 0 ? i * 5000 : i % 7 == 0 ? i * 100 : i;
}

// Every tier, grown and shrunk, more at each round than before.
static void work(void)
{
    static __thread void *blocks[BLOCKS];
    for (size_t round = 1; round <= 5; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = malloc(size_of(i));
            CHECK(blocks[i] != NULL, "no %zu bytes", size_of(i));
            block_fill(blocks[i], size_of(i), i);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = realloc(blocks[i], size_of(i) * round + 1);
            CHECK(blocks[i] != NULL && block_is_filled(blocks[i], size_of(i), i), "%zu bytes", size_of(i));
        }
        for (size_t i = 0; i < BLOCKS; i++)
            free(blocks[i]);
        char *zero = calloc(3, 1 * MIB);
        CHECK(zero != NULL && block_is_zero(zero, 3 * MIB), "calloc");
        memset(zero, 1, 3 * MIB);
        free(zero);
        malloc_trim(0);
    }
}

FACT(mmap_munmap_and_write_are_enough)
{
    work(); // the sandbox is entered by a running program
    filter_set(least, COUNT(least), true, EPERM);
    work();
    _exit(EXIT_SUCCESS);
}

FACT(a_filter_that_kills_lets_the_program_live)
{
    work();
    filter_answer(least, COUNT(least), true, SECCOMP_RET_KILL_PROCESS);
    work();
    _exit(EXIT_SUCCESS);
}

FACT(a_filter_that_kills_from_before_the_first_block_does_too)
{
    by_prctl = true;
    filter_answer(least, COUNT(least), true, SECCOMP_RET_KILL_PROCESS);
    work();
    _exit(EXIT_SUCCESS);
}

// Each lets pass what the other one does not.
FACT(two_filters_count_both)
{
    static const long limits[] = {SYS_prlimit64}, residency[] = {SYS_mincore};
    filter_answer(residency, COUNT(residency), false, SECCOMP_RET_TRAP);
    filter_answer(limits, COUNT(limits), false, SECCOMP_RET_KILL_PROCESS);
    for (size_t i = 0; i < 40; i++) // a heap of some size asks for both
        memset(malloc(2 * MIB), 1, 2 * MIB);
    work();
}

FACT(a_filter_may_kill_for_an_argument)
{
    const struct sock_filter no_advice_but_one[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog filter = {COUNT(no_advice_but_one), (struct sock_filter *)no_advice_but_one};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges");
    if (filter_install(&filter) != 0)
        check_skip("filters cannot be set here");
    for (size_t i = 0; i < 40; i++) // a heap of some size takes huge pages
        memset(malloc(2 * MIB), 1, 2 * MIB);
    work();
}

// As a library for filters does, to see what the kernel knows.
FACT(what_the_kernel_refuses_changes_nothing)
{
    const struct sock_filter endless = BPF_STMT(BPF_LD | BPF_IMM, 0); // does not end with an answer
    const struct sock_fprog wrong = {1, (struct sock_filter *)&endless};
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL) == -1 && errno == EINVAL, "flags");
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL) == -1 && errno == EFAULT, "none");
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) == -1 && errno == EFAULT, "none");
    CHECK(filter_install(&wrong) == -1 && (errno == EINVAL || errno == EACCES), "wrong");
    work();
}

FACT(what_cannot_be_read_is_the_kernel_s_to_refuse)
{
    char *page = mmap(NULL, 8 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && munmap(page + 4 * KIB, 4 * KIB) == 0, "no page");
    const struct sock_fprog nowhere = {5, (struct sock_filter *)16}, half = {5, (struct sock_filter *)(page + 4 * KIB - 8)};
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 16, 0, 0) == -1 && errno == EFAULT, "nowhere");
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, page + 4 * KIB - 8, 0, 0) == -1 && errno == EFAULT, "half of it");
    CHECK(filter_install(&nowhere) == -1 && errno == EFAULT, "its steps are nowhere");
    CHECK(filter_install(&half) == -1 && errno == EFAULT, "half of its steps are there");
    work();
}

static const struct sock_filter no_mapping[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static const struct sock_fprog maps_nothing = {COUNT(no_mapping), (struct sock_filter *)no_mapping};

static void require_mapped(void)
{
    for (size_t i = 0; i < 100; i++) { // more addresses than are set aside
        void *block = malloc(4096 * MIB);
        CHECK(block != NULL, "block %zu", i);
    }
}

static int set_and_end(void *unused)
{
    (void)unused;
    bool set = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && filter_install(&maps_nothing) == 0;
    syscall(SYS_exit_group, set ? EXIT_SUCCESS : EXIT_FAILURE);
    return 0;
}

FACT(the_filter_of_a_child_that_shares_the_memory_is_its_own)
{
    static _Alignas(16) char stack[64 * KIB];
    int status, child = clone(set_and_end, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
    if (status != 0)
        check_skip("filters cannot be set here");
    require_mapped();
}

// An int is half of a register, and what the other half holds is not said.
FACT(what_stands_above_an_int_does_not_matter)
{
    static const long limits[] = {SYS_prlimit64};
    filter_answer(limits, COUNT(limits), false, SECCOMP_RET_ALLOW); // that it can be done at all
    CHECK(syscall(SYS_seccomp, 0xffffffff00000000 | SECCOMP_SET_MODE_FILTER, 0, &maps_nothing) == 0, "not set");
    CHECK(malloc(4096 * MIB) == NULL, "that was mapped");
}

FACT(a_prctl_by_its_number_sets_filters_too)
{
    static const long limits[] = {SYS_prlimit64};
    filter_answer(limits, COUNT(limits), false, SECCOMP_RET_ALLOW); // that it can be done at all
    CHECK(syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &maps_nothing, 0, 0) == 0, "not set");
    CHECK(malloc(4096 * MIB) == NULL, "that was mapped");
}

FACT(syscall_passes_on_six_arguments)
{
    char *mapped = (char *)syscall(SYS_mmap, NULL, 4 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    CHECK(mapped != MAP_FAILED, "not mapped");
    int file = (int)syscall(SYS_memfd_create, "six", 0);
    CHECK(file >= 0 && pwrite(file, "x", 1, 4 * KIB) == 1, "no file");
    mapped = (char *)syscall(SYS_mmap, NULL, 4 * KIB, PROT_READ, MAP_PRIVATE, file, 4L * KIB);
    CHECK(mapped != MAP_FAILED && *mapped == 'x', "the sixth argument");
    CHECK(syscall(SYS_close, -1) == -1 && errno == EBADF, "errno");
    CHECK(prctl(PR_SET_NAME, "six", 0, 0, 0) == 0 && prctl(-1, 0, 0, 0, 0) == -1 && errno == EINVAL, "prctl");
}

FACT(calls_that_the_kernel_does_not_know_are_not_needed)
{
    filter_set(least, COUNT(least), true, ENOSYS);
    work();
    _exit(EXIT_SUCCESS);
}

// --- threads -----------------------------------------------------------------------------------------------------------

static pthread_barrier_t filtered;

static void *work_filtered(void *unused)
{
    pthread_barrier_wait(&filtered);
    work();
    return unused;
}

FACT(threads_work_in_a_sandbox)
{
    pthread_t threads[4];
    pthread_barrier_init(&filtered, NULL, COUNT(threads) + 1);
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, work_filtered, NULL) == 0, "no thread");
    filter_set(others, COUNT(others), false, EPERM);
    pthread_barrier_wait(&filtered);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    work();
}

static int told[2], ends[2];

static void tell_and_wait(void)
{
    char byte = 0;
    syscall(SYS_write, told[1], &byte, 1);
    syscall(SYS_read, ends[0], &byte, 1);
    syscall(SYS_exit, 0);
}

static void *be_strict(void *unused)
{
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) == 0)
        tell_and_wait();
    check_skip("strict mode cannot be had here");
    return unused;
}

static void *map_nothing(void *unused)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &maps_nothing, 0, 0) == 0)
        tell_and_wait();
    check_skip("filters cannot be set here");
    return unused;
}

static void thread_filtered(void *(*begin)(void *))
{
    pthread_t thread;
    char byte;
    CHECK(pipe(told) == 0 && pipe(ends) == 0 && pthread_create(&thread, NULL, begin, NULL) == 0, "no thread");
    CHECK(read(told[0], &byte, 1) == 1, "it does not tell");
}

// Other threads may map and unmap, and so their malloc does.
FACT(one_thread_s_strict_mode_is_its_own)
{
    thread_filtered(be_strict);
    require_mapped();
    work();
    _exit(EXIT_SUCCESS);
}

FACT(one_thread_s_filter_is_its_own)
{
    thread_filtered(map_nothing);
    require_mapped();
    work();
    _exit(EXIT_SUCCESS);
}

// The kernel answers by the thread that has another one, and nobody gets it.
FACT(a_filter_that_one_thread_cannot_get_is_nobody_s)
{
    thread_filtered(map_nothing);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges");
    by_prctl = false;
    CHECK(filter_install(&maps_nothing) > 0, "it was set");
    require_mapped();
    _exit(EXIT_SUCCESS);
}
