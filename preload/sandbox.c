// preload/sandbox.c - see sandbox.h.
#include "sandbox.h"

#include <dlfcn.h>
#include <linux/seccomp.h>

#include "../pool/bits.h"
#include "../pool/kernel_filter.h"
#include "export.h"
#include "kernel.h"

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

EXPORT int sandbox_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) __asm__("prctl");

EXPORT RARE int sandbox_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    bool filters = option == PR_SET_SECCOMP && a == SECCOMP_MODE_FILTER;
    sandbox_start();
    if (filters)
        kernel_filter_add((const struct sock_fprog *)b);
    int result = next_prctl(option, a, b, c, d);
    if (filters && result < 0)
        kernel_filter_drop((const struct sock_fprog *)b);
    if (option == PR_SET_SECCOMP && a == SECCOMP_MODE_STRICT && result == 0)
        kernel_filter_strict();
    return result;
}

// A program may try out what the kernel would take: so a refusal changes nothing.
static APART RARE long set_seccomp(unsigned long operation, long flags, long argument)
{
    const struct sock_fprog *filter = operation == SECCOMP_SET_MODE_FILTER ? (const struct sock_fprog *)argument : NULL;
    kernel_filter_add(filter);
    long result = next_syscall(SYS_seccomp, (long)operation, flags, argument);
    if (result < 0)
        kernel_filter_drop(filter);
    else if (operation == SECCOMP_SET_MODE_STRICT)
        kernel_filter_strict();
    return result;
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
    if (number == SYS_seccomp && (a == SECCOMP_SET_MODE_FILTER || a == SECCOMP_SET_MODE_STRICT))
        return set_seccomp((unsigned long)a, b, c);
    return next_syscall(number, a, b, c, d, e PASS_LAST);
}
