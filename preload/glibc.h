// preload/glibc.h - what only the GNU C library has. Weak, so that the loader of another one (musl's) does not refuse the
// library, and with it the program: LD_PRELOAD reaches every program of a process tree. Under such a C library memory is
// served as anywhere, and no report is written.
#ifndef TARN_GLIBC_H
#define TARN_GLIBC_H

#include <signal.h>
#include <stdbool.h>

#define GLIBC_ALONE __attribute__((weak))

// What at_quick_exit and pthread_atfork come down to.
int __cxa_at_quick_exit(void (*handler)(void *), void *library) GLIBC_ALONE;
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library) GLIBC_ALONE;
// How C++ registers destructors of thread_local objects. exit runs the calling thread's before everything else.
int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library) GLIBC_ALONE;
int on_exit(void (*handler)(int status, void *argument), void *argument) GLIBC_ALONE;
// sigaction under a name that signals.c does not define.
int __sigaction(int number, const struct sigaction *action, struct sigaction *old) GLIBC_ALONE;
// No other thread has begun yet, or all have ended and the C library knows.
extern char __libc_single_threaded GLIBC_ALONE;
const char *sigabbrev_np(int number) GLIBC_ALONE;
const char *strerrordesc_np(int error) GLIBC_ALONE;

// The library that handlers are registered for.
extern void *__dso_handle __attribute__((visibility("hidden")));

static inline bool glibc_is_here(void)
{
    int (*volatile only_there)(int, const struct sigaction *, struct sigaction *) = __sigaction;
    return only_there != NULL;
}

#endif
