// preload/signals.c - sigaction and its elders, so that a program sees SIG_DFL where fatal.c has its handler.
//
// The elders are written out over sigaction as the C library has them, since its own would bypass ours. What it calls
// inside (system, posix_spawn, abort) reads and restores our handler as it would any other.
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "export.h"
#include "fatal.h"
#include "glibc.h"
#include "kernel.h"
#include "trapped.h"

static sigset_t interrupting; // signals for which siginterrupt was asked; signal(2) heeds it

// The C library's own.
static int action_pass_on(int number, const struct sigaction *action, struct sigaction *old)
{
    int (*next)(int, const struct sigaction *, struct sigaction *) = __sigaction;
    if (!glibc_is_here())
        *(void **)&next = dlsym(RTLD_NEXT, "sigaction");
    return next(number, action, old);
}

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction substitute, before = {0};
    if (old != NULL && trapped_signal(number) && action_pass_on(number, NULL, &before) == 0)
        trapped_hide(number, &before); // as long as ours knows the handler of before
    if (action != NULL && (action->sa_handler == SIG_DFL ? fatal_stands_in(number) : trapped_signal(number))) {
        substitute = *action;
        if (action->sa_handler == SIG_DFL)
            fatal_substitute(number, &substitute);
        else
            trapped_substitute(number, &substitute);
        action = &substitute;
    }
    int result = action_pass_on(number, action, old);
    if (result == 0 && old != NULL) {
        if (trapped_signal(number))
            *old = before;
        fatal_hide(old);
    }
    return result;
}

static sighandler_t handler_set(int number, sighandler_t handler, int flags, bool block_itself)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;
    if (handler == SIG_ERR || (block_itself && !kernel_signals_add(&action.sa_mask, number))) {
        errno = EINVAL;
        return SIG_ERR;
    }
    return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
    return handler_set(number, handler, kernel_signals_have(&interrupting, number) ? 0 : SA_RESTART, true);
}

EXPORT sighandler_t ssignal(int number, sighandler_t handler) __attribute__((alias("signal")));
EXPORT sighandler_t bsd_signal(int number, sighandler_t handler) __attribute__((alias("signal"), nothrow, leaf));

EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
    return handler_set(number, handler, (int)SA_RESETHAND | SA_NODEFER, false);
}

EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) __attribute__((alias("sysv_signal")));

EXPORT int siginterrupt(int number, int interrupt)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) != 0)
        return -1;
    if (interrupt != 0) {
        kernel_signals_add(&interrupting, number);
        action.sa_flags &= ~SA_RESTART;
    } else {
        kernel_signals_remove(&interrupting, number);
        action.sa_flags |= SA_RESTART;
    }
    return sigaction(number, &action, NULL);
}

EXPORT int sigignore(int number)
{
    return handler_set(number, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

// --- System V's sigset ---------------------------------------------------------------------------------------------

static sighandler_t hold(int number, const sigset_t *set)
{
    sigset_t before;
    struct sigaction old;
    kernel_signal_mask(SIG_BLOCK, set, &before);
    if (kernel_signals_have(&before, number))
        return SIG_HOLD;
    return sigaction(number, NULL, &old) == 0 ? old.sa_handler : SIG_ERR;
}

EXPORT sighandler_t sigset(int number, sighandler_t disposition)
{
    sigset_t set = kernel_signals_none(), before;
    if (disposition == SIG_ERR || !kernel_signals_add(&set, number)) {
        errno = EINVAL;
        return SIG_ERR;
    }
    if (disposition == SIG_HOLD)
        return hold(number, &set);
    sighandler_t old = handler_set(number, disposition, 0, false);
    if (old == SIG_ERR)
        return SIG_ERR;
    kernel_signal_mask(SIG_UNBLOCK, &set, &before);
    return kernel_signals_have(&before, number) ? SIG_HOLD : old;
}
