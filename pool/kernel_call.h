// pool/kernel_call.h - a system call by its number, without the C library.
//
// Returns what the kernel returns: a failure is -errno, and errno itself is never touched. Why not syscall(): the first
// call of any function of the C library maps the 64 KiB of its text around it, which counts as resident in a program
// that would not have called it (docs/decisions/008); and errno would have to be kept around each call.
#ifndef TARN_KERNEL_CALL_H
#define TARN_KERNEL_CALL_H

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel_filter.h"

#if defined(__x86_64__) && defined(__LP64__)

static inline __attribute__((always_inline)) long kernel_call_bare(long number, long a, long b, long c, long d, long e, long f)
{
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    register long sixth __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__) && defined(__LP64__)

static inline __attribute__((always_inline)) long kernel_call_bare(long number, long a, long b, long c, long d, long e, long f)
{
    register long call __asm__("x8") = number;
    register long first __asm__("x0") = a;
    register long second __asm__("x1") = b;
    register long third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;
    register long fifth __asm__("x4") = e;
    register long sixth __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(first)
                     : "r"(call), "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "memory", "cc");
    return first;
}

#else

static inline __attribute__((always_inline)) long kernel_call_bare(long number, long a, long b, long c, long d, long e, long f)
{
    int saved = errno;
    long result = syscall(number, a, b, c, d, e, f);
    if (result == -1)
        result = -errno;
    errno = saved;
    return result;
}

#endif

static inline __attribute__((always_inline)) long kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
    return kernel_call_kills(number, a, b, c, d, e, f) ? -EPERM : kernel_call_bare(number, a, b, c, d, e, f);
}

// The same with fewer arguments, each of any type that fits a register.
#define KERNEL_CALL0(number) kernel_call((number), 0, 0, 0, 0, 0, 0)
#define KERNEL_CALL1(number, a) kernel_call((number), (long)(a), 0, 0, 0, 0, 0)
#define KERNEL_CALL2(number, a, b) kernel_call((number), (long)(a), (long)(b), 0, 0, 0, 0)
#define KERNEL_CALL3(number, a, b, c) kernel_call((number), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define KERNEL_CALL4(number, a, b, c, d) kernel_call((number), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define KERNEL_CALL5(number, a, b, c, d, e) \
    kernel_call((number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

#endif
