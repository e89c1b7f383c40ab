// tests/hostile/dispositions.c - the library stands in for default signal actions, and the program must not see it.
//
// Run with a report wanted (stats=text), since only then it does.
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../conformance/facts.h"

extern char **environ;

static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,  SIGFPE,    SIGUSR1, SIGSEGV,
                            SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGXFSZ, SIGPROF, SIGVTALRM, SIGIO,   SIGSYS};

static volatile sig_atomic_t handled;

static void handler(int number)
{
    handled = number;
}

static void handler_with_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    handled = info->si_signo == number ? number : -1;
}

static void require_default(const struct sigaction *action, int number)
{
    CHECK(action->sa_handler == SIG_DFL && (action->sa_flags & ~0x04000000) == 0, "signal %d: handler %p, flags %#x", number,
          (void *)(uintptr_t)action->sa_handler, (unsigned)action->sa_flags);
}

FACT(every_signal_is_shown_with_its_default_action)
{
    for (size_t i = 0; i < COUNT(fatal); i++) {
        struct sigaction shown;
        memset(&shown, 1, sizeof shown);
        CHECK(sigaction(fatal[i], NULL, &shown) == 0, "signal %d", fatal[i]);
        require_default(&shown, fatal[i]);
    }
}

FACT(sigaction_gives_back_what_was_set)
{
    alarm(0);
    for (size_t i = 0; i < COUNT(fatal); i++) {
        struct sigaction own = {.sa_sigaction = handler_with_info, .sa_flags = SA_SIGINFO | SA_NODEFER}, old;
        CHECK(sigaction(fatal[i], &own, &old) == 0, "signal %d", fatal[i]);
        require_default(&old, fatal[i]);
        handled = 0;
        raise(fatal[i]);
        CHECK(handled == fatal[i], "signal %d: %d was handled", fatal[i], (int)handled);
        struct sigaction back = {.sa_handler = SIG_DFL};
        CHECK(sigaction(fatal[i], &back, &old) == 0, "signal %d", fatal[i]);
        CHECK(old.sa_sigaction == handler_with_info && (old.sa_flags & SA_NODEFER) != 0, "signal %d", fatal[i]);
        CHECK(sigaction(fatal[i], NULL, &old) == 0, "signal %d", fatal[i]);
        require_default(&old, fatal[i]);
    }
}

FACT(signal_gives_back_what_was_set)
{
    alarm(0);
    for (size_t i = 0; i < COUNT(fatal); i++) {
        CHECK(signal(fatal[i], handler) == SIG_DFL, "signal %d", fatal[i]);
        raise(fatal[i]);
        CHECK(handled == fatal[i], "signal %d: %d was handled", fatal[i], (int)handled);
        CHECK(signal(fatal[i], SIG_IGN) == handler, "signal %d", fatal[i]);
        raise(fatal[i]);
        CHECK(signal(fatal[i], SIG_DFL) == SIG_IGN, "signal %d", fatal[i]);
        CHECK(signal(fatal[i], SIG_DFL) == SIG_DFL, "signal %d", fatal[i]);
    }
}

FACT(what_is_no_signal_is_refused)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    int numbers[] = {0, -1, 65, 1000, SIGKILL, SIGSTOP};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        errno = 0;
        CHECK(sigaction(numbers[i], &action, NULL) == -1 && errno == EINVAL, "signal %d", numbers[i]);
        errno = 0;
        CHECK(signal(numbers[i], SIG_DFL) == SIG_ERR && errno == EINVAL, "signal %d", numbers[i]);
    }
}

FACT(a_reset_handler_resets_to_the_default)
{
    struct sigaction once = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND}, old;
    CHECK(sigaction(SIGUSR1, &once, NULL) == 0, "not set");
    raise(SIGUSR1);
    CHECK(handled == SIGUSR1 && sigaction(SIGUSR1, NULL, &old) == 0, "not handled");
    CHECK(old.sa_handler == SIG_DFL, "handler %p", (void *)(uintptr_t)old.sa_handler);
}

// --- how children end --------------------------------------------------------------------------------------------------

static int status_of(void (*in_child)(int number), int number)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        in_child(number);
        _exit(STATUS_FAILED);
    }
    CHECK(waitpid(child, &status, 0) == child, "no child");
    return status;
}

static void kill_self(int number)
{
    kill(getpid(), number);
}

static void set_and_reset(int number)
{
    signal(number, handler);
    signal(number, SIG_DFL);
    raise(number);
}

static void exec_and_die(int number)
{
    char text[16];
    snprintf(text, sizeof text, "kill -%d $$", number);
    execl("/bin/sh", "sh", "-c", text, (char *)NULL);
}

// Core files would be written beside the test.
static void cores_forbid(void)
{
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0, "no limit");
}

FACT(a_fatal_signal_ends_a_child_with_that_signal)
{
    cores_forbid();
    for (size_t i = 0; i < COUNT(fatal); i++) {
        void (*const ways[])(int) = {kill_self, set_and_reset, exec_and_die};
        for (size_t j = 0; j < COUNT(ways); j++) {
            int status = status_of(ways[j], fatal[i]);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == fatal[i], "signal %d, way %zu: status %#x", fatal[i], j,
                  (unsigned)status);
        }
    }
}

static void divide_by_zero(int number)
{
    volatile int zero = 0;
    zero = number / zero;
}

static void write_to_null(int number)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = number;
}

static int use_stack(long depth)
{
    volatile char here[4096];
    here[0] = (char)depth;
    return depth == 0 ? 0 : use_stack(depth - 1) + here[0];
}

static void overflow_stack(int number)
{
    _exit(use_stack(1000000000L * number));
}

static void run_illegal_instruction(int number)
{
    (void)number;
    __builtin_trap();
}

static void read_behind_end_of_file(int number)
{
    (void)number;
    FILE *file = tmpfile();
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
    (void)page[0];
}

FACT(a_fault_ends_a_child_with_its_signal)
{
    cores_forbid();
    const struct {
        void (*way)(int);
        int number;
    } faults[] = {{divide_by_zero, SIGFPE},          {write_to_null, SIGSEGV},         {overflow_stack, SIGSEGV},
                  {run_illegal_instruction, SIGILL}, {read_behind_end_of_file, SIGBUS}};
    for (size_t i = 0; i < COUNT(faults); i++) {
        int status = status_of(faults[i].way, 1);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == faults[i].number, "fault %zu: status %#x", i, (unsigned)status);
    }
}

static void abort_with_handler(int number)
{
    signal(number, handler);
    abort();
}

FACT(abort_aborts_although_the_program_handles_it)
{
    cores_forbid();
    int status = status_of(abort_with_handler, SIGABRT);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x", (unsigned)status);
}

// Ignored signals stay ignored over exec, all others are at their defaults there: the library's handlers do not count.
FACT(dispositions_pass_through_exec_as_without_the_library)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGUSR2, handler);
    FILE *status = popen("unset LD_PRELOAD; exec cat /proc/self/status", "r");
    char line[200];
    unsigned long ignored = 0, caught = 1;
    CHECK(status != NULL, "no shell");
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "SigIgn: %lx", &ignored) == 0)
            sscanf(line, "SigCgt: %lx", &caught);
    pclose(status);
    CHECK(ignored >> (SIGINT - 1) & 1, "SIGINT is not ignored: %#lx", ignored);
    for (size_t i = 0; i < COUNT(fatal); i++)
        CHECK(fatal[i] == SIGINT || !(ignored >> (fatal[i] - 1) & 1), "signal %d is ignored", fatal[i]);
    CHECK(caught == 0, "caught: %#lx", caught);
}

FACT(posix_spawn_gives_children_the_default_actions)
{
    char *arguments[] = {(char *)"sh", (char *)"-c", (char *)"kill -TERM $$", NULL};
    posix_spawnattr_t attributes;
    sigset_t all;
    pid_t child;
    int status = -1;
    sigfillset(&all);
    signal(SIGTERM, SIG_IGN);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    CHECK(posix_spawn(&child, "/bin/sh", NULL, &attributes, arguments, environ) == 0, "no child");
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %#x", (unsigned)status);
}
