// preload/trapped.c - see trapped.h.
#include "trapped.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <ucontext.h>

#include "interrupted.h"
#include "options.h"
#include "output.h"
#include "process.h"
#include "stack.h"

typedef void handler_t(int number, siginfo_t *info, void *context);

// The program's handlers, of SIGSEGV and SIGBUS; and whether it asked for SA_SIGINFO, which ours always does.
static _Atomic(handler_t *) handler_of[2];
static _Atomic bool informed[2];

static unsigned place(int number)
{
    return number == SIGBUS;
}

bool trapped_signal(int number)
{
    return options.harden >= HARDEN_TRAPS && options.traps != 0 && (number == SIGSEGV || number == SIGBUS);
}

// --- the message -----------------------------------------------------------------------------------------------------

// "read of", "write to": where the processor says which.
static const char *access_kind(const ucontext_t *context)
{
#if defined __x86_64__
    const greg_t was_write = 2; // bit 1 of a page fault's error code
    return context->uc_mcontext.gregs[REG_ERR] & was_write ? "write to" : "read of";
#else
    (void)context;
    return "access to";
#endif
}

void trapped_stacks_tell(const trap_report_t *report)
{
    stack_tell("allocated", report->allocated.thread, report->allocated.frame, report->allocated.depth);
    if (report->freed.thread != 0)
        stack_tell("freed", report->freed.thread, report->freed.frame, report->freed.depth);
}

bool trapped_tell(int number, const siginfo_t *info, const void *context)
{
    trap_report_t report;
    bool fault = trapped_signal(number) && info->si_code > 0 && trap_has(info->si_addr);
    if (!fault || !trap_explain(info->si_addr, &report))
        return false;
    uintptr_t at = interrupted_instruction(context) + 1; // stack_tell takes addresses of return
    output_line("%s %p: %zu bytes %s (block of %zu bytes)", access_kind(context), info->si_addr, report.distance_bytes,
                report.where, report.size_bytes);
    stack_tell("done", 0, &at, 1);
    trapped_stacks_tell(&report);
    return !options.abort_on_misuse && trap_forgive(info->si_addr);
}

// --- before the program's handler ------------------------------------------------------------------------------------

static RARE void trapped_handler(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    bool goes_on = trapped_tell(number, info, context);
    handler_t *next = atomic_load(&handler_of[place(number)]);
    errno = saved_errno;
    if (!goes_on && next != NULL)
        next(number, info, context); // one that wants the number alone leaves the rest
}

// A child of vfork has a table of its own at the kernel, and shares our memory: its handlers are its own.
void trapped_substitute(int number, struct sigaction *action)
{
    if (!trapped_signal(number) || !process_is_this() || action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN)
        return;
    if (action->sa_sigaction == trapped_handler)
        return;
    atomic_store(&informed[place(number)], (action->sa_flags & SA_SIGINFO) != 0);
    atomic_store(&handler_of[place(number)], action->sa_sigaction);
    action->sa_sigaction = trapped_handler;
    action->sa_flags |= SA_SIGINFO;
}

void trapped_hide(int number, struct sigaction *action)
{
    if (action->sa_sigaction != trapped_handler || (action->sa_flags & SA_SIGINFO) == 0)
        return;
    action->sa_sigaction = atomic_load(&handler_of[place(number)]);
    if (!atomic_load(&informed[place(number)]))
        action->sa_flags &= ~SA_SIGINFO;
}
