// preload/kernel.h - the few system calls that preload/ makes, without the C library's wrappers.
//
// Why not open, read and write themselves: those are cancellation points, and other preloaded libraries replace them;
// what runs inside free or at the end of the process must meet neither. Why not through the C library at all:
// ../pool/kernel_call.h. Each returns what the kernel returns, -errno for a failure, and leaves errno alone. Files are
// always opened with O_CLOEXEC. In a sandbox that would end the process for it a call fails with EPERM, but for those that are
// to end it.
#ifndef TARN_KERNEL_H
#define TARN_KERNEL_H

#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <time.h>

#include "../pool/kernel_call.h"

// What the start calls. Where rare code alone calls them, too, the compiler would else set them apart as rare, and the start
// with them.
#define START_INLINE static inline __attribute__((always_inline))

// Bytes of a set of signals, for the kernel.
#define KERNEL_SIGNALS_BYTES ((size_t)_NSIG / 8)

static inline int kernel_open(const char *path, int flags, mode_t mode)
{
    return (int)KERNEL_CALL4(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static inline ssize_t kernel_read(int fd, void *buffer, size_t size)
{
    return KERNEL_CALL3(SYS_read, fd, buffer, size);
}

static inline ssize_t kernel_pread(int fd, void *buffer, size_t size, uint64_t offset)
{
#if defined(__LP64__)
    return KERNEL_CALL4(SYS_pread64, fd, buffer, size, offset);
#else // how it is passed differs from machine to machine
    (void)fd, (void)buffer, (void)size, (void)offset;
    return -ENOSYS;
#endif
}

static inline ssize_t kernel_write(int fd, const void *buffer, size_t size)
{
    return KERNEL_CALL3(SYS_write, fd, buffer, size);
}

static inline int kernel_ioctl(int fd, unsigned long request, void *argument)
{
    return (int)KERNEL_CALL3(SYS_ioctl, fd, request, argument);
}

static inline void kernel_close(int fd)
{
    KERNEL_CALL1(SYS_close, fd);
}

// 0, or -errno.
static inline int kernel_madvise(uintptr_t start, size_t bytes, int advice)
{
    return (int)KERNEL_CALL3(SYS_madvise, start, bytes, advice);
}

static inline int kernel_mlockall(int flags)
{
    return (int)KERNEL_CALL1(SYS_mlockall, flags);
}

static inline int kernel_munlockall(void)
{
    return (int)KERNEL_CALL0(SYS_munlockall);
}

static inline void kernel_mlock2(uintptr_t start, size_t bytes, unsigned flags)
{
    KERNEL_CALL3(SYS_mlock2, start, bytes, flags);
}

static inline void kernel_munlock(uintptr_t start, size_t bytes)
{
    KERNEL_CALL2(SYS_munlock, start, bytes);
}

// What file is behind a descriptor. False: none.
START_INLINE bool kernel_file(int fd, struct stat *file)
{
#if defined(__x86_64__) || defined(__aarch64__) // where the kernel's struct is the C library's
    return KERNEL_CALL2(SYS_fstat, fd, file) == 0;
#else
    int saved = errno;
    bool known = fstat(fd, file) == 0;
    errno = saved;
    return known;
#endif
}

// A second descriptor for the same open file, closed at exec; negative if fd is not open.
static inline int kernel_dup(int fd, int lowest)
{
    return (int)KERNEL_CALL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
}

static inline int kernel_rename(const char *from, const char *to)
{
    return (int)KERNEL_CALL5(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static inline void kernel_unlink(const char *path)
{
    KERNEL_CALL3(SYS_unlinkat, AT_FDCWD, path, 0);
}

static inline ssize_t kernel_readlink(const char *path, char *buffer, size_t size)
{
    return KERNEL_CALL4(SYS_readlinkat, AT_FDCWD, path, buffer, size);
}

// Not libc's, which falls back to a walk that allocates.
static inline long kernel_getcwd(char *buffer, size_t size)
{
    return KERNEL_CALL2(SYS_getcwd, buffer, size);
}

START_INLINE pid_t kernel_getpid(void)
{
    return (pid_t)KERNEL_CALL0(SYS_getpid);
}

static inline pid_t kernel_getppid(void)
{
    return (pid_t)KERNEL_CALL0(SYS_getppid);
}

static inline pid_t kernel_gettid(void)
{
    return (pid_t)KERNEL_CALL0(SYS_gettid);
}

// The calling thread's name, 16 bytes with its 0.
static inline void kernel_thread_name(char *name)
{
    KERNEL_CALL2(SYS_prctl, PR_GET_NAME, name);
}

// Whether a filter of system calls is in force. (In strict mode the process would end here, but cannot allocate either.)
static inline bool kernel_is_filtered(void)
{
    return KERNEL_CALL1(SYS_prctl, PR_GET_SECCOMP) != 0;
}

static inline void kernel_sleep_ms(long ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    KERNEL_CALL2(SYS_nanosleep, &pause, NULL);
}

// Of the clocks that the C library, too, asks the kernel for: processor times.
static inline void kernel_clock(clockid_t clock, struct timespec *now)
{
    KERNEL_CALL2(SYS_clock_gettime, clock, now);
}

// Whether so many bytes can be read, of what a program has handed to the kernel; if in doubt they can. The kernel reads the set before
// it refuses what should be done with it.
#define KERNEL_READ_BYTES KERNEL_SIGNALS_BYTES
static inline bool kernel_can_read(const void *start)
{
    return KERNEL_CALL4(SYS_rt_sigprocmask, -1, start, NULL, KERNEL_READ_BYTES) != -EFAULT;
}

// Whether two processes have one memory. False: or the kernel does not tell.
static inline bool kernel_shares_memory(pid_t one, pid_t other)
{
    return KERNEL_CALL5(SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0;
}

// Whether they have not. False: or the kernel does not tell.
static inline bool kernel_memory_differs(pid_t one, pid_t other)
{
    return KERNEL_CALL5(SYS_kcmp, one, other, KCMP_VM, 0, 0) > 0;
}

// Waits until fd can be written to; false after timeout_ms.
static inline bool kernel_wait_writable(int fd, long timeout_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
    return KERNEL_CALL5(SYS_ppoll, &ready, 1, &timeout, NULL, 0) == 1;
}

// --- sets of signals: bit number-1 -------------------------------------------------------------------------------------

// Those two the C library keeps for its threads; nobody blocks or handles them.
static inline bool kernel_signal_is_private(int number)
{
    return number == 32 || number == 33;
}

static inline unsigned long *kernel_signals_word(sigset_t *set, int number)
{
    return (unsigned long *)set + (size_t)(number - 1) / (8 * sizeof(unsigned long));
}

static inline unsigned long kernel_signals_bit(int number)
{
    return 1ul << (size_t)(number - 1) % (8 * sizeof(unsigned long));
}

// False: there is no such signal, or it is private.
static inline bool kernel_signals_add(sigset_t *set, int number)
{
    if (number < 1 || number >= _NSIG || kernel_signal_is_private(number))
        return false;
    *kernel_signals_word(set, number) |= kernel_signals_bit(number);
    return true;
}

static inline void kernel_signals_remove(sigset_t *set, int number)
{
    if (number >= 1 && number < _NSIG)
        *kernel_signals_word(set, number) &= ~kernel_signals_bit(number);
}

static inline bool kernel_signals_have(const sigset_t *set, int number)
{
    return number >= 1 && number < _NSIG &&
           (*kernel_signals_word((sigset_t *)set, number) & kernel_signals_bit(number)) != 0;
}

static inline sigset_t kernel_signals_none(void)
{
    return (sigset_t){0};
}

static inline sigset_t kernel_signals_all(void)
{
    sigset_t set = kernel_signals_none();
    for (int number = 1; number < _NSIG; number++)
        kernel_signals_add(&set, number);
    return set;
}

// Those that wait for the calling thread or the process.
static inline sigset_t kernel_signals_pending(void)
{
    sigset_t set = kernel_signals_none();
    KERNEL_CALL2(SYS_rt_sigpending, &set, KERNEL_SIGNALS_BYTES);
    return set;
}

// The calling thread's mask of blocked signals; before may be NULL.
static inline void kernel_signal_mask(int how, const sigset_t *set, sigset_t *before)
{
    KERNEL_CALL4(SYS_rt_sigprocmask, how, set, before, KERNEL_SIGNALS_BYTES);
}

// Takes a pending signal of `set` away without waiting for one.
static inline void kernel_signal_discard(const sigset_t *set)
{
    struct timespec none = {0};
    KERNEL_CALL4(SYS_rt_sigtimedwait, set, NULL, &none, KERNEL_SIGNALS_BYTES);
}

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

// A timer that sends the calling thread a signal with `value`, by a number of the kernel's; the C library's timers allocate.
// False: there can be none.
static inline bool kernel_timer_create(clockid_t clock, int signal, void *value, int *timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal, .sigev_value.sival_ptr = value};
    event.sigev_notify_thread_id = kernel_gettid();
    return KERNEL_CALL3(SYS_timer_create, clock, &event, timer) == 0;
}

static inline void kernel_timer_start(int timer, const struct itimerspec *times)
{
    KERNEL_CALL4(SYS_timer_settime, timer, 0, times, NULL);
}

static inline void kernel_timer_delete(int timer)
{
    KERNEL_CALL1(SYS_timer_delete, timer);
}

// Whether the calling thread has an alternate stack for signals, and how it is.
static inline bool kernel_signal_stack(stack_t *stack)
{
    return KERNEL_CALL2(SYS_sigaltstack, NULL, stack) == 0;
}

static inline uid_t kernel_geteuid(void)
{
    return (uid_t)KERNEL_CALL0(SYS_geteuid);
}

static inline bool kernel_process_exists(pid_t pid)
{
    return KERNEL_CALL2(SYS_kill, pid, 0) != -ESRCH;
}

static inline bool kernel_system_name(struct utsname *name)
{
    return KERNEL_CALL1(SYS_uname, name) == 0;
}

static inline bool kernel_limit(int resource, struct rlimit64 *limit)
{
    return KERNEL_CALL4(SYS_prlimit64, 0, resource, NULL, limit) == 0;
}

static inline void kernel_yield(void)
{
    KERNEL_CALL0(SYS_sched_yield);
}

static inline bool kernel_usage(struct rusage *usage)
{
    return KERNEL_CALL2(SYS_getrusage, RUSAGE_SELF, usage) == 0;
}

// Where the data segment ends: Linux's brk(0) tells it and changes nothing.
START_INLINE uintptr_t kernel_break(void)
{
    return (uintptr_t)KERNEL_CALL1(SYS_brk, 0);
}

// Sends the signal to the calling thread.
static inline void kernel_raise(int number)
{
    long process = kernel_call_bare(SYS_getpid, 0, 0, 0, 0, 0, 0), thread = kernel_call_bare(SYS_gettid, 0, 0, 0, 0, 0, 0);
    kernel_call_bare(SYS_tgkill, process, thread, number, 0, 0, 0);
}

// --- other threads of the process --------------------------------------------------------------------------------------

static inline bool kernel_thread_exists(pid_t tid)
{
    return KERNEL_CALL3(SYS_tgkill, kernel_getpid(), tid, 0) != -ESRCH;
}

// As pthread_sigqueue sends one, also a private one. Who gets it sees SI_QUEUE.
static inline void kernel_thread_signal(pid_t tid, int number)
{
    siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};
    info.si_pid = kernel_getpid();
    KERNEL_CALL4(SYS_rt_tgsigqueueinfo, info.si_pid, tid, number, &info);
}

// A signal's disposition, also a private one's. Words of the kernel's, which are not those of struct sigaction.
typedef struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    unsigned long mask[KERNEL_SIGNALS_BYTES / sizeof(unsigned long)];
} kernel_action_t;

static inline bool kernel_action_get(int number, kernel_action_t *action)
{
    return KERNEL_CALL4(SYS_rt_sigaction, number, NULL, action, KERNEL_SIGNALS_BYTES) == 0;
}

static inline bool kernel_action_set(int number, const kernel_action_t *action)
{
    return KERNEL_CALL4(SYS_rt_sigaction, number, action, NULL, KERNEL_SIGNALS_BYTES) == 0;
}

_Noreturn static inline void kernel_exit(int status)
{
    for (;;)
        kernel_call_bare(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

#endif
