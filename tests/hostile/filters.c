// tests/hostile/filters.c - system calls are filtered (seccomp): what a sandbox leaves an allocator is mmap and munmap.
//
// The filters answer with an error, as those do that were written with fallbacks in mind. (One that kills lets no
// program live whose allocator makes a call that the filter's author has not seen.)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../conformance/facts.h"

// --- filters -----------------------------------------------------------------------------------------------------------

enum { CALLS_MAX = 32 };

// The calls are allowed and all others refused, or the other way round.
static void filter_set(const long *calls, size_t count, bool allowed, int error)
{
    struct sock_filter program[CALLS_MAX + 3];
    const uint32_t allow = SECCOMP_RET_ALLOW, refuse = SECCOMP_RET_ERRNO | (uint32_t)error;
    size_t length = 0;
    program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) // to the last instruction
        program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
                                                         (uint8_t)(count - i), 0);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, allowed ? refuse : allow);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, allowed ? allow : refuse);
    struct sock_fprog filter = {(unsigned short)length, program};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
        check_skip("filters cannot be set here");
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
