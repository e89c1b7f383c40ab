// preload/sandbox.c - see sandbox.h.
#include "sandbox.h"

#include <dlfcn.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include "../pool/bits.h"
#include "../pool/kernel_filter.h"
#include "export.h"
#include "glibc.h"
#include "kernel.h"
#include "process.h"

typedef int prctl_t(int option, ...);
typedef long syscall_t(long number, ...);

static prctl_t *next_prctl;
static syscall_t *next_syscall;

void sandbox_start(void)
{
    if (next_prctl == NULL)
        *(void **)&next_prctl = dlsym(RTLD_NEXT, "prctl");
    if (next_syscall == NULL)
        *(void **)&next_syscall = dlsym(RTLD_NEXT, "syscall");
}

// --- what is kept of a filter -----------------------------------------------------------------------------------------------

// vfork, or clone: what it sets is for itself alone, and its parent goes on with this memory.
static RARE bool is_child_that_shares_memory(void)
{
    return !process_is_this() && kernel_shares_memory(kernel_getpid(), kernel_getppid());
}

static RARE bool is_alone(void)
{
    return &__libc_single_threaded != NULL && __libc_single_threaded;
}

// The kernel will say so, too.
static RARE bool is_readable(const struct sock_fprog *filter)
{
    const char *start = (const char *)filter;
    if (!kernel_can_read(start) || !kernel_can_read(start + sizeof *filter - KERNEL_READ_BYTES))
        return false;
    size_t bytes = filter->len * sizeof *filter->filter, os_page = (size_t)getpagesize();
    start = (const char *)filter->filter;
    for (size_t at = 0; at < bytes; at += os_page)
        if (!kernel_can_read(start + at))
            return false;
    return bytes == 0 || kernel_can_read(start + bytes - KERNEL_READ_BYTES);
}

// What is to be dropped again if the kernel refuses it; NULL: nothing was kept.
static RARE const struct sock_fprog *filter_note(const struct sock_fprog *filter, bool for_all)
{
    if (filter == NULL || !is_readable(filter) || is_child_that_shares_memory())
        return NULL;
    kernel_filter_add(filter, for_all || is_alone());
    return filter;
}

// What is asked of the kernel is asked before: it would be the end behind it.
static RARE bool strict_is_noted(bool strict)
{
    return strict && !is_child_that_shares_memory();
}

// --- the calls ----------------------------------------------------------------------------------------------------------------

EXPORT int sandbox_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) __asm__("prctl");

EXPORT RARE int sandbox_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    bool filters = option == PR_SET_SECCOMP && a == SECCOMP_MODE_FILTER;
    sandbox_start();
    const struct sock_fprog *noted = filters ? filter_note((const struct sock_fprog *)b, false) : NULL;
    bool strict = strict_is_noted(option == PR_SET_SECCOMP && a == SECCOMP_MODE_STRICT);
    int result = next_prctl(option, a, b, c, d);
    if (result < 0)
        kernel_filter_drop(noted);
    else if (strict)
        kernel_filter_strict(is_alone());
    return result;
}

// A descriptor, where one was asked for; else the thread that could not get the filter, and so no thread has.
static bool is_refused(long result, long flags)
{
    return result < 0 || (result > 0 && !(flags & SECCOMP_FILTER_FLAG_NEW_LISTENER));
}

// A program may try out what the kernel would take: so a refusal changes nothing.
static APART RARE long set_seccomp(unsigned operation, long flags, long argument)
{
    const struct sock_fprog *noted = NULL;
    if (operation == SECCOMP_SET_MODE_FILTER)
        noted = filter_note((const struct sock_fprog *)argument, flags & SECCOMP_FILTER_FLAG_TSYNC);
    bool strict = strict_is_noted(operation == SECCOMP_SET_MODE_STRICT);
    long result = next_syscall(SYS_seccomp, (long)operation, flags, argument);
    if (is_refused(result, flags))
        kernel_filter_drop(noted);
    else if (strict)
        kernel_filter_strict(is_alone());
    return result;
}

static APART RARE long prctl_by_number(long b, long c, long d, long e)
{
    return sandbox_prctl(PR_SET_SECCOMP, (unsigned long)b, (unsigned long)c, (unsigned long)d, (unsigned long)e);
}

static APART RARE void start_early(void)
{
    sandbox_start();
}

// All other calls are passed on as they came, by a jump, so that a child that shares the stack finds its way back. The last of the
// parameters is on the stack where six fit into registers: it stays where it is, since a caller that passes fewer has something
// of its own there, which another thread may be writing to.
#if defined(__x86_64__)
#define LAST
#define PASS_LAST
#else
#define LAST , long f
#define PASS_LAST , f
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define JUMPS __attribute__((optimize("O2")))
#else
#define JUMPS
#endif

EXPORT long sandbox_syscall(long number, long a, long b, long c, long d, long e LAST) __asm__("syscall");

EXPORT JUMPS long sandbox_syscall(long number, long a, long b, long c, long d, long e LAST)
{
    if (unlikely(next_syscall == NULL))
        start_early();
    unsigned first = (unsigned)a; // what a caller has in the register above an int is nobody's
    if (number == SYS_seccomp && (first == SECCOMP_SET_MODE_FILTER || first == SECCOMP_SET_MODE_STRICT))
        return set_seccomp(first, b, c);
    if (number == SYS_prctl && first == PR_SET_SECCOMP)
        return prctl_by_number(b, c, d, e);
    return next_syscall(number, a, b, c, d, e PASS_LAST);
}
