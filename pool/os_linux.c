// pool/os_linux.c - see os_linux.h. errno stays as it is: a refusal here is not yet the program's failure.
//
// What maps goes through the C library, so that other libraries in front of it see it (sanitizers, tracers); the rest
// goes to the kernel by number. Either way a filter of system calls is asked first (kernel_filter.h). Here: addresses and what
// they are mapped to, huge pages, waiting, time. Locked memory, guards and what is resident are files of their own.
#include "os_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "os_calls.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

// Linux 6.1; the headers of the build may be older.
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const size_t memory_claimed_at_least = (size_t)64 << 20;
static const long wait_ns = 10 * 1000 * 1000;

static size_t page_bytes, memory_bytes;

void os_start(void)
{
    page_bytes = (size_t)getpagesize();
    struct sysinfo info = {0}; // sysconf would open /proc/meminfo on some systems, and allocate
    KERNEL_CALL1(SYS_sysinfo, &info);
    memory_bytes = size_max((size_t)info.totalram * info.mem_unit, memory_claimed_at_least);
}

size_t os_page_bytes(void)
{
    return page_bytes;
}

size_t os_memory_bytes(void)
{
    return memory_bytes;
}

// SIZE_MAX: none.
static size_t limit_bytes(int resource)
{
    struct {
        uint64_t now, most;
    } limit;
    bool known = KERNEL_CALL4(SYS_prlimit64, 0, resource, NULL, &limit) == 0;
    return known && limit.now < SIZE_MAX ? (size_t)limit.now : SIZE_MAX; // without a limit it is 2^64 - 1
}

size_t os_address_limit_bytes(void)
{
    return limit_bytes(RLIMIT_AS);
}

// By the highest bit of an address of the main stack, which the kernel puts at the upper end; the environment stands
// there, too, for a program that first allocates on a stack of its own.
size_t os_address_space_bytes(void)
{
    uintptr_t high = (uintptr_t)__builtin_frame_address(0) | (uintptr_t)environ;
    return (size_t)1 << (bits_highest(high) + 1);
}

void *os_map_anonymous(void *hint, size_t bytes, int protection, int flags)
{
    int saved = errno;
    flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (KILLS(SYS_mmap, hint, bytes, protection, flags))
        return NULL;
    void *start = mmap(hint, bytes, protection, flags, -1, 0);
    errno = saved;
    return start == MAP_FAILED ? NULL : start;
}

int os_advise(void *start, size_t bytes, int advice)
{
    if (KILLS(SYS_madvise, start, bytes, advice, 0))
        return EPERM;
    int saved = errno, error = madvise(start, bytes, advice) == 0 ? 0 : errno;
    errno = saved;
    return error;
}

bool os_would_grant(size_t bytes)
{
    int saved = errno, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (KILLS(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, flags) || KILLS(SYS_munmap, NULL, bytes, 0, 0))
        return false;
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (start != MAP_FAILED)
        munmap(start, bytes);
    errno = saved;
    return start != MAP_FAILED;
}

void os_unmap(void *start, size_t bytes)
{
    int saved = errno;
    if (bytes != 0 && !KILLS(SYS_munmap, start, bytes, 0, 0))
        munmap(start, bytes);
    errno = saved;
}

// Maps more than asked for, then cuts both ends off; tries first whether the kernel's choice happens to be aligned.
static void *map_aligned(size_t bytes, size_t alignment, int protection)
{
    void *start = os_map_anonymous(NULL, bytes, protection, 0);
    if (start == NULL || ((uintptr_t)start & (alignment - 1)) == 0)
        return start;
    os_unmap(start, bytes);
    if (bytes + alignment < bytes)
        return NULL;
    start = os_map_anonymous(NULL, bytes + alignment, protection, 0);
    if (start == NULL)
        return NULL;
    char *aligned = (char *)align_up((uintptr_t)start, alignment);
    size_t before = (size_t)(aligned - (char *)start);
    os_unmap(start, before);
    os_unmap(aligned + bytes, alignment - before);
    return aligned;
}

void *os_reserve(size_t bytes, size_t alignment)
{
    return map_aligned(bytes, alignment, PROT_NONE);
}

void *os_reserve_readable(size_t bytes, size_t alignment)
{
    return map_aligned(bytes, alignment, PROT_READ);
}

void *os_map(size_t bytes, size_t alignment)
{
    return map_aligned(bytes, alignment, PROT_READ | PROT_WRITE);
}

// By number, since open and close are points where a thread can be cancelled.
static bool overcommits_nothing(void)
{
    char mode = '0';
    int file = (int)KERNEL_CALL3(SYS_openat, AT_FDCWD, "/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    KERNEL_CALL3(SYS_read, file, &mode, sizeof(mode));
    KERNEL_CALL1(SYS_close, file);
    return mode == '2';
}

bool os_commit_counts(void)
{
    return limit_bytes(RLIMIT_DATA) != SIZE_MAX || overcommits_nothing();
}

// Not by mprotect: a kernel that counts what it has promised would count it still.
bool os_withdraw(void *start, size_t bytes)
{
    return os_map_anonymous(start, bytes, PROT_NONE, MAP_FIXED) == start;
}

// Before Linux 6.17 a move unmaps its target first and then refuses a source of two mappings; so that is found out
// before. Growing in place cannot succeed, since something is always mapped behind; EFAULT tells of a split.
static bool is_one_mapping(void *start, size_t bytes)
{
    int saved = errno;
    if (KILLS(SYS_mremap, start, bytes, bytes + page_bytes, 0))
        return false;
    void *grown = mremap(start, bytes, bytes + page_bytes, 0);
    bool one = grown != MAP_FAILED || errno != EFAULT;
    if (grown != MAP_FAILED)
        munmap((char *)start + bytes, page_bytes);
    errno = saved;
    return one;
}

bool os_move(void *old_start, size_t old_bytes, void *new_start, size_t new_bytes, bool *hole)
{
    int saved = errno;
    *hole = false;
    if (!is_one_mapping(old_start, old_bytes))
        return false;
    void *moved = mremap(old_start, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, new_start);
    errno = saved;
    if (moved != new_start)
        return false;
    // Another thread's mmap may have taken the addresses in between: then they stay its own.
    void *again = os_map_anonymous(old_start, old_bytes, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
    *hole = again != old_start;
    if (!*hole)
        os_fresh_is_clean(old_start, old_bytes);
    if (again != NULL && again != old_start) // a kernel before 4.17 takes the address as a hint
        os_unmap(again, old_bytes);
    return true;
}

void *os_resize(void *start, size_t old_bytes, size_t new_bytes)
{
    int saved = errno;
    if (KILLS(SYS_mremap, start, old_bytes, new_bytes, MREMAP_MAYMOVE))
        return NULL;
    void *moved = mremap(start, old_bytes, new_bytes, MREMAP_MAYMOVE);
    errno = saved;
    return moved == MAP_FAILED ? NULL : moved;
}

void os_no_huge_pages(void *start, size_t bytes)
{
    os_advise(start, bytes, MADV_NOHUGEPAGE);
}

void os_ask_huge_pages(void *start, size_t bytes)
{
    os_advise(start, bytes, MADV_HUGEPAGE);
}

// Kernels before 6.14 keep the page table of what was given back, and fill it OS page by OS page: so the range is mapped
// anew. That the kernel agrees says little; what it did is looked at.
bool os_huge_page(char *start, size_t bytes, bool again)
{
    bool asked = (!again || os_refresh(start, bytes)) && os_advise(start, bytes, MADV_HUGEPAGE) == 0;
    if (asked) {
        *(volatile char *)start = 0;
        if (os_is_resident(start + bytes - page_bytes))
            return true;
    }
    os_no_huge_pages(start, bytes);
    if (asked)
        os_purge(start, bytes);
    return false;
}

bool os_huge_page_collapse(char *start, size_t bytes)
{
    if (os_advise(start, bytes, MADV_HUGEPAGE) == 0 && os_advise(start, bytes, MADV_COLLAPSE) == 0)
        return true;
    os_no_huge_pages(start, bytes);
    return false;
}

bool os_gives_huge_pages(size_t bytes)
{
    char *probe = os_reserve(bytes, bytes);
    bool given = probe != NULL && os_commit(probe, bytes) && os_huge_page(probe, bytes, false);
    if (probe != NULL)
        os_unmap(probe, bytes);
    return given;
}

void os_name(void *start, size_t bytes, const char *name)
{
    static bool refused; // built without the option: not asked again
    if (!refused)
        refused = KERNEL_CALL5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, bytes, name) == -EINVAL;
}

void os_wait(uint32_t *word, uint32_t expected)
{
    struct timespec patience = {.tv_nsec = wait_ns};
    KERNEL_CALL4(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &patience);
}

void os_wake_one(uint32_t *word)
{
    KERNEL_CALL3(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

void os_yield(void)
{
    KERNEL_CALL0(SYS_sched_yield);
}

void os_barrier_start(void)
{
    KERNEL_CALL3(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

// ThreadSanitizer knows nothing of it, and would call a race what it orders.
bool os_barrier_threads(void)
{
#ifdef __SANITIZE_THREAD__
    return false;
#else
    return KERNEL_CALL3(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

uint64_t os_now_ms(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t os_now_us(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t os_random(void)
{
    const unsigned without_waiting = 1; // GRND_NONBLOCK
    uint64_t random = 0;
    if (KERNEL_CALL3(SYS_getrandom, &random, sizeof(random), without_waiting) != sizeof(random))
        random = (os_now_ms() ^ (uintptr_t)&random) * 0x9e3779b97f4a7c15u; // where the stack is, at least
    return random;
}

int os_thread_id(void)
{
    return (int)KERNEL_CALL0(SYS_gettid);
}

// "/proc/self/task/1234/stat"
static void stat_path(char *path, int thread)
{
    char digits[12], *digit = digits;
    path = stpcpy(path, "/proc/self/task/");
    for (; thread != 0; thread /= 10)
        *digit++ = (char)('0' + thread % 10);
    while (digit != digits)
        *path++ = *--digit;
    strcpy(path, "/stat");
}

// "1234 (name) S ...": the name may hold anything.
bool os_thread_runs(int thread)
{
    char path[48], text[128] = "";
    stat_path(path, thread);
    int file = (int)KERNEL_CALL3(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        KERNEL_CALL3(SYS_read, file, text, sizeof(text) - 1);
        KERNEL_CALL1(SYS_close, file);
    }
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && (name_end[2] == 'R' || name_end[2] == 'D');
}
