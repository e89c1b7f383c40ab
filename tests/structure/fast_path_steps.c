// tests/structure/fast_path_steps.c - counts the instructions that malloc(64) and its local free execute.
//
//   fast_path_steps LIBTARN MALLOC_LIMIT FREE_LIMIT [anywhere]      anywhere: in a thread that can be cancelled anywhere
//
// A child runs under LIBTARN and marks each call with a trap; the parent steps through the call one instruction at a
// time and counts until it has returned. Most calls of a warm thread take the fast path and a few refill, so the median
// is held against the limit. x86-64 only. Exit status 77 (meson: skipped) where this machine forbids ptrace.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 64,
    ROUNDS = 101,       // odd, so that the median is one of them
    WARM_BLOCKS = 500,  // more than one page holds, so that the thread has its lists
    STEPS_MAX = 100000, // a call this long is a hang, not a refill
    TEST_SKIPPED = 77,
};

#define ANYWHERE "anywhere"

// --- the child ------------------------------------------------------------------------------------------------------

// Stops the child; the parent finds in rax which function is called next.
static inline void mark(uintptr_t function)
{
    __asm__ volatile("int3" : : "a"(function) : "memory");
}

static void warm_up(void)
{
    static void *volatile blocks[WARM_BLOCKS];
    for (int i = 0; i < WARM_BLOCKS; i++)
        blocks[i] = malloc(BLOCK_BYTES);
    for (int i = 0; i < WARM_BLOCKS; i += 2) // the others stay: no page becomes empty below
        free(blocks[i]);
}

static int is_from(void *function, const char *library)
{
    Dl_info info;
    return dladdr(function, &info) != 0 && strcmp(info.dli_fname, library) == 0;
}

static int child_main(const char *library, bool anywhere)
{
    void *(*volatile allocate)(size_t) = malloc;
    void (*volatile release)(void *) = free;
    if (!is_from((void *)(uintptr_t)allocate, library) || !is_from((void *)(uintptr_t)release, library)) {
        fprintf(stderr, "malloc and free are not those of %s\n", library);
        return 1;
    }
    if (anywhere)
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    warm_up();
    for (int i = 0; i < ROUNDS; i++) {
        mark((uintptr_t)allocate);
        void *block = allocate(BLOCK_BYTES);
        mark((uintptr_t)release);
        release(block);
    }
    return 0;
}

static void child_start(const char *library, bool anywhere)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(TEST_SKIPPED);
    setenv("LD_PRELOAD", library, 1);
    setenv("TARN_OPTIONS", "stats=off", 1);
    execl("/proc/self/exe", "fast_path_steps", anywhere ? ANYWHERE : "", library, NULL);
    _exit(TEST_SKIPPED);
}

// --- the parent -----------------------------------------------------------------------------------------------------

static _Noreturn void give_up(pid_t pid, const char *what, int status)
{
    fprintf(stderr, "%s\n", what);
    kill(pid, SIGKILL);
    exit(status);
}

static struct user_regs_struct child_registers(pid_t pid)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0)
        give_up(pid, "the child's registers cannot be read", 1);
    return registers;
}

// `how` is PTRACE_CONT, to the next mark, or PTRACE_SINGLESTEP.
static void child_advance(pid_t pid, enum __ptrace_request how)
{
    int status;
    if (ptrace(how, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid)
        give_up(pid, "the child is lost", 1);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        give_up(pid, "the child ended or was stopped by a signal before its last mark", 1);
}

// Steps until the child stands at `address`; returns how many instructions that took.
static int child_steps_until(pid_t pid, uintptr_t address)
{
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (child_registers(pid).rip == address)
            return steps;
        child_advance(pid, PTRACE_SINGLESTEP);
    }
    give_up(pid, "a call did not come back", 1);
}

// Runs on to the next mark, then through the call that follows it. Returns what the callee executed, its ret included.
static int call_steps(pid_t pid)
{
    child_advance(pid, PTRACE_CONT);
    child_steps_until(pid, child_registers(pid).rax);
    struct user_regs_struct at_entry = child_registers(pid);
    errno = 0;
    uintptr_t back = (uintptr_t)ptrace(PTRACE_PEEKDATA, pid, (void *)at_entry.rsp, NULL);
    if (errno != 0)
        give_up(pid, "the return address cannot be read", 1);
    return child_steps_until(pid, back);
}

static int by_value(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

// 1 when the median is over the limit.
static int median_is_over(const char *name, int *steps, int limit)
{
    qsort(steps, ROUNDS, sizeof *steps, by_value);
    int median = steps[ROUNDS / 2];
    printf("%s(%d): %d instructions (least %d, most %d), at most %d\n", name, BLOCK_BYTES, median, steps[0],
           steps[ROUNDS - 1], limit);
    return median > limit;
}

static int parent_main(const char *library, int malloc_limit, int free_limit, bool anywhere)
{
    static int malloc_steps[ROUNDS], free_steps[ROUNDS];
    int status;
    pid_t pid = fork();
    if (pid == 0)
        child_start(library, anywhere);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        fprintf(stderr, "this machine does not let a process trace its child\n");
        return TEST_SKIPPED;
    }
    for (int i = 0; i < ROUNDS; i++) {
        malloc_steps[i] = call_steps(pid);
        free_steps[i] = call_steps(pid);
    }
    kill(pid, SIGKILL);
    int over = median_is_over("malloc", malloc_steps, malloc_limit);
    over |= median_is_over("free", free_steps, free_limit);
    return over;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return child_main(argv[2], strcmp(argv[1], ANYWHERE) == 0);
    if (argc == 4 || (argc == 5 && strcmp(argv[4], ANYWHERE) == 0))
        return parent_main(argv[1], atoi(argv[2]), atoi(argv[3]), argc == 5);
    fprintf(stderr, "usage: fast_path_steps LIBTARN MALLOC_LIMIT FREE_LIMIT [" ANYWHERE "]\n");
    return 2;
}
