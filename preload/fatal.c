// preload/fatal.c - see fatal.h.
#include "fatal.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "exit_report.h"
#include "glibc.h"
#include "kernel.h"
#include "trapped.h"

// What the C library adds to the flags on its way to the kernel, and hands out again with them.
#define FLAG_RESTORER 0x04000000

// What the report needs of a program's alternate stack; its own data is static. Measured with -fstack-usage: 5.5 KiB,
// 4 KiB of them the survey's window.
#define STACK_NEEDED_BYTES ((size_t)7 * 1024)

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

// All whose default is to end the process, but for SIGKILL and the real-time signals.
static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,    SIGTRAP, SIGABRT, SIGBUS,
                            SIGFPE,  SIGUSR1, SIGSEGV, SIGUSR2,   SIGPIPE, SIGALRM, SIGTERM,
                            SIGXCPU, SIGXFSZ, SIGPROF, SIGVTALRM, SIGIO,   SIGPWR,  SIGSYS,
#ifdef SIGSTKFLT
                            SIGSTKFLT,
#endif
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool standing_in; // [const] after fatal_start

static bool is_among(int number, const int *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == number)
            return true;
    return false;
}

void fatal_waiting_signals(sigset_t *set)
{
    *set = kernel_signals_all();
    for (size_t i = 0; i < COUNT(faults); i++)
        kernel_signals_remove(set, faults[i]);
}

// --- the handler -----------------------------------------------------------------------------------------------------

void fatal_action_set(int number, const struct sigaction *action)
{
    __sigaction(number, action, NULL);
}

static void set_default(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    fatal_action_set(number, &action);
}

// The instruction runs again when the handler returns, and faults again: so the core shows the fault, not us. Not so
// after int3 and a refused system call, nor where somebody sent the signal.
static bool will_repeat(int number, const siginfo_t *info)
{
    return info->si_code > 0 && (number == SIGSEGV || number == SIGFPE || number == SIGILL ||
                                 (number == SIGBUS && info->si_code != BUS_MCEERR_AO));
}

static bool stack_is_enough(void)
{
    stack_t stack;
    if (!kernel_signal_stack(&stack) || (stack.ss_flags & SS_ONSTACK) == 0)
        return true;
    return (uintptr_t)__builtin_frame_address(0) - (uintptr_t)stack.ss_sp >= STACK_NEEDED_BYTES;
}

static RARE void fatal_handler(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    if (unlikely(trapped_tell(number, info, context))) {
        errno = saved_errno;
        return;
    }
    if (is_among(number, faults, COUNT(faults)) && info->si_code > 0)
        exit_report_abandon();
    if (stack_is_enough())
        exit_report_write(END_SIGNAL, number);
    set_default(number);
    if (!will_repeat(number, info))
        kernel_raise(number); // blocked until the handler returns
    errno = saved_errno;
}

// --- the substitute --------------------------------------------------------------------------------------------------

bool fatal_stands_in(int number)
{
    return standing_in && is_among(number, fatal, COUNT(fatal)) && (exit_report_wanted() || trapped_signal(number));
}

// A stack overflow can be handled on an alternate stack only. Other signals stay off it: it may be small.
static int flags_added(int number)
{
    return SA_SIGINFO | (number == SIGSEGV || number == SIGBUS ? SA_ONSTACK : 0);
}

void fatal_substitute(int number, struct sigaction *action)
{
    action->sa_sigaction = fatal_handler;
    action->sa_flags |= flags_added(number);
}

void fatal_hide(struct sigaction *action)
{
    if (action->sa_sigaction != fatal_handler || (action->sa_flags & SA_SIGINFO) == 0)
        return;
    action->sa_handler = SIG_DFL;
    action->sa_flags &= ~(SA_SIGINFO | SA_ONSTACK | FLAG_RESTORER);
}

// Set first and asked afterwards, to save a system call for each signal; ignored ones and others' are put back.
static void substitute_default(int number)
{
    struct sigaction ours = {0}, old;
    fatal_substitute(number, &ours);
    if (__sigaction(number, &ours, &old) == 0 && (old.sa_handler != SIG_DFL || (old.sa_flags & SA_SIGINFO) != 0))
        __sigaction(number, &old, NULL);
}

// Not as init of a container: the kernel spares it every default action, and a handler would interrupt its calls.
void fatal_start(void)
{
    if (kernel_getpid() == 1)
        return;
    standing_in = true;
    for (size_t i = 0; i < COUNT(fatal); i++)
        if (fatal_stands_in(fatal[i]))
            substitute_default(fatal[i]);
}
