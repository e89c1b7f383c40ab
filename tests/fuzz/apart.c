// tests/fuzz/apart.c - see apart.h.
#include "apart.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

// The bounds of clang's counters, set by the linker where something was compiled with -fsanitize=fuzzer-no-link.
extern char __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern char __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));

static char *kept; // shared with the children

static size_t counters_bytes(void)
{
    return (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs);
}

static void counters_share(void)
{
    if (kept != NULL || counters_bytes() == 0)
        return;
    kept = mmap(NULL, counters_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (kept == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
}

// In the child, whatever its end, as long as it comes by exit.
static void counters_leave(void)
{
    if (counters_bytes() != 0)
        memcpy(kept, __start___sancov_cntrs, counters_bytes());
}

static void counters_take(void)
{
    if (counters_bytes() != 0)
        memcpy(__start___sancov_cntrs, kept, counters_bytes());
}

// libFuzzer's handlers are the parent's business: the child dies of what it does wrong.
static void handlers_reset(void)
{
    static const int handled[] = {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    for (unsigned i = 0; i < sizeof handled / sizeof *handled; i++)
        signal(handled[i], SIG_DFL);
}

bool apart_wait(pid_t pid, int *status)
{
    pid_t waited;
    do
        waited = waitpid(pid, status, 0);
    while (waited < 0 && errno == EINTR); // libFuzzer's timer
    return waited == pid;
}

void apart_run(void (*work)(const uint8_t *data, size_t size), const uint8_t *data, size_t size)
{
    int status = -1;
    counters_share();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        handlers_reset();
        alarm(APART_SECONDS);
        work(data, size);
        counters_leave();
        _exit(0);
    }
    if (pid < 0 || !apart_wait(pid, &status)) {
        perror("fork");
        exit(1);
    }
    if (status != 0) {
        fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
        abort();
    }
    counters_take();
}
