// preload/kernel.h - the few system calls that preload/ makes, without the C library's wrappers.
//
// Why not open, read and write themselves: those are cancellation points, and other preloaded libraries replace them;
// what runs inside free or at the end of the process must meet neither. Each returns what the call returns and sets
// errno; who is called from malloc's names saves errno around it. Files are always opened with O_CLOEXEC.
#ifndef TARN_KERNEL_H
#define TARN_KERNEL_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static inline int kernel_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static inline ssize_t kernel_read(int fd, void *buffer, size_t size)
{
    return syscall(SYS_read, fd, buffer, size);
}

static inline ssize_t kernel_write(int fd, const void *buffer, size_t size)
{
    return syscall(SYS_write, fd, buffer, size);
}

static inline void kernel_close(int fd)
{
    syscall(SYS_close, fd);
}

// A second descriptor for the same open file, closed at exec; -1 if fd is not open.
static inline int kernel_dup(int fd, int lowest)
{
    return (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
}

static inline int kernel_rename(const char *from, const char *to)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static inline void kernel_unlink(const char *path)
{
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static inline ssize_t kernel_readlink(const char *path, char *buffer, size_t size)
{
    return syscall(SYS_readlinkat, AT_FDCWD, path, buffer, size);
}

// Not libc's, which falls back to a walk that allocates.
static inline long kernel_getcwd(char *buffer, size_t size)
{
    return syscall(SYS_getcwd, buffer, size);
}

static inline pid_t kernel_gettid(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static inline void kernel_sleep_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &pause, NULL);
}

// Waits until fd can be written to; false after timeout_ms.
static inline bool kernel_wait_writable(int fd, long timeout_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
    return syscall(SYS_ppoll, &ready, 1, &timeout, NULL, 0) == 1;
}

// Takes a pending signal of `set` away without waiting for one.
static inline void kernel_signal_discard(const sigset_t *set)
{
    struct timespec none = {0};
    syscall(SYS_rt_sigtimedwait, set, NULL, &none, (size_t)_NSIG / 8);
}

// Sends the signal to the calling thread.
static inline void kernel_raise(int number)
{
    syscall(SYS_tgkill, getpid(), kernel_gettid(), number);
}

_Noreturn static inline void kernel_exit(int status)
{
    for (;;)
        syscall(SYS_exit_group, status);
}

#endif
