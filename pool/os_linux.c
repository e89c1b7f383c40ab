// pool/os_linux.c - see os_linux.h. errno stays as it is: a refusal here is not yet the program's failure.
//
// What maps goes through the C library, so that other libraries in front of it see it (sanitizers, tracers); the rest
// goes to the kernel by number. Either way a filter of system calls is asked first (kernel_filter.h).
#include "os_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "kernel_call.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

// Linux 6.13; the headers of the build may be older.
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_DONTNEED_LOCKED // Linux 5.18
#define MADV_DONTNEED_LOCKED 24
#endif

// Linux 6.1.
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

#define KILLS(number, a, b, c, d) kernel_call_kills((number), (long)(a), (long)(b), (long)(c), (long)(d), -1, 0)

static void *map_anonymous(void *hint, size_t bytes, int protection, int flags)
{
    int saved = errno;
    flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (KILLS(SYS_mmap, hint, bytes, protection, flags))
        return NULL;
    void *start = mmap(hint, bytes, protection, flags, -1, 0);
    errno = saved;
    return start == MAP_FAILED ? NULL : start;
}

// 0, or what is wrong.
static int advise(void *start, size_t bytes, int advice)
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
    void *start = map_anonymous(NULL, bytes, protection, 0);
    if (start == NULL || ((uintptr_t)start & (alignment - 1)) == 0)
        return start;
    os_unmap(start, bytes);
    if (bytes + alignment < bytes)
        return NULL;
    start = map_anonymous(NULL, bytes + alignment, protection, 0);
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

// --- memory that the program locks -------------------------------------------------------------------------------------
//
// MADV_DONTNEED refuses locked memory. It can be mapped anew, but under mlockall(MCL_FUTURE) that comes locked, too, and
// resident at once, as what was reserved does when it is made usable: so it would be given back in name alone. Since
// Linux 5.18 the kernel can be told to give it back all the same; it stays locked, and is never swapped out.
//
// What was reserved before mlockall is not locked when it is made usable later, though it is memory that is new to the
// program. So it is locked then (os_lock), as it is touched.

static _Atomic bool commits_locked; // what os_commit makes usable
static _Atomic enum { LOCKED_NOT, LOCKED_SOME, LOCKED_ALL } locked; // what was met so far; ALL: what is mapped anew, too

static bool is_resident(const void *os_page)
{
    unsigned char residency = 0;
    return KERNEL_CALL3(SYS_mincore, os_page, page_bytes, &residency) == 0 && (residency & 1);
}

// Memory that was just mapped or made usable. False: it is resident, and stays so.
static bool fresh_is_clean(void *start, size_t bytes)
{
    if (likely(atomic_load_explicit(&locked, memory_order_relaxed) == LOCKED_NOT) ||
        !is_resident((char *)start + bytes - page_bytes))
        return true;
    return advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
}

static bool map_anew(void *start, size_t bytes)
{
    return map_anonymous(start, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) == start;
}

static RARE bool purge_locked(void *start, size_t bytes)
{
    if (atomic_load_explicit(&locked, memory_order_relaxed) == LOCKED_ALL)
        return advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
    if (!map_anew(start, bytes))
        return false;
    bool resident = is_resident((char *)start + bytes - page_bytes);
    atomic_store_explicit(&locked, resident ? LOCKED_ALL : LOCKED_SOME, memory_order_relaxed);
    return !resident || advise(start, bytes, MADV_DONTNEED_LOCKED) == 0;
}

bool os_purge(void *start, size_t bytes)
{
    return likely(advise(start, bytes, MADV_DONTNEED) == 0) || purge_locked(start, bytes);
}

bool os_refresh(void *start, size_t bytes)
{
    return map_anew(start, bytes) && fresh_is_clean(start, bytes);
}

void os_lock(bool locks)
{
    atomic_store_explicit(&commits_locked, locks, memory_order_relaxed);
    if (locks)
        atomic_store_explicit(&locked, LOCKED_ALL, memory_order_relaxed);
}

// Before it is usable, or the kernel would make all of it resident. False: the process may not lock so much.
static RARE bool commit_lock(void *start, size_t bytes)
{
    return KERNEL_CALL3(SYS_mlock2, start, bytes, MLOCK_ONFAULT) == 0;
}

bool os_commit(void *start, size_t bytes)
{
    int saved = errno;
    if (unlikely(atomic_load_explicit(&commits_locked, memory_order_relaxed)) && !commit_lock(start, bytes))
        return false;
    bool kills = KILLS(SYS_mprotect, start, bytes, PROT_READ | PROT_WRITE, 0);
    bool done = !kills && mprotect(start, bytes, PROT_READ | PROT_WRITE) == 0;
    if (unlikely(!done && atomic_load_explicit(&commits_locked, memory_order_relaxed)))
        KERNEL_CALL2(SYS_munlock, start, bytes); // else it would go on to count
    bool forbidden = kills || (!done && errno != ENOMEM); // a filter (seccomp) that knows of mmap alone
    errno = saved;
    done = done || (forbidden && map_anew(start, bytes));
    if (done)
        fresh_is_clean(start, bytes);
    return done;
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
    return map_anonymous(start, bytes, PROT_NONE, MAP_FIXED) == start;
}

// --- guards ----------------------------------------------------------------------------------------------------------
//
// Since Linux 6.13 a guard is a mark in the page table, and the mapping stays one. Before, and where the memory is
// locked, it is a mapping of its own.

static _Atomic int guard_marks; // whether the kernel knows them: 0: not asked yet, 1: yes, -1: no

// An emulator may agree to any advice and do nothing: a guard cannot be read, either.
static bool guard_mark(void *start, size_t bytes)
{
    bool done = advise(start, bytes, MADV_GUARD_INSTALL) == 0;
    if (atomic_load_explicit(&guard_marks, memory_order_relaxed) == 0) {
        done = done && advise(start, page_bytes, MADV_POPULATE_READ) == EFAULT;
        atomic_store_explicit(&guard_marks, done ? 1 : -1, memory_order_relaxed);
    }
    return done;
}

bool os_guard_splits(void)
{
    return atomic_load_explicit(&guard_marks, memory_order_relaxed) != 1;
}

bool os_guard(void *start, size_t bytes)
{
    if (atomic_load_explicit(&guard_marks, memory_order_relaxed) >= 0 && guard_mark(start, bytes))
        return true;
    return os_guard_splits() && os_withdraw(start, bytes);
}

bool os_guard_open(void *start, size_t bytes)
{
    return os_guard_splits() ? os_commit(start, bytes) : advise(start, bytes, MADV_GUARD_REMOVE) == 0;
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
    void *again = map_anonymous(old_start, old_bytes, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
    *hole = again != old_start;
    if (!*hole)
        fresh_is_clean(old_start, old_bytes);
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
    advise(start, bytes, MADV_NOHUGEPAGE);
}

void os_ask_huge_pages(void *start, size_t bytes)
{
    advise(start, bytes, MADV_HUGEPAGE);
}

// What is not mapped is not resident.
unsigned os_resident_percent(const char *start, size_t bytes)
{
    unsigned char vector[512]; // 2 MiB a system call
    size_t resident = 0, step = sizeof(vector) * page_bytes;
    for (size_t at = 0; at < bytes; at += step) {
        size_t pages = size_min(bytes - at, step) / page_bytes;
        if (KERNEL_CALL3(SYS_mincore, start + at, pages * page_bytes, vector) != 0)
            continue;
        for (size_t i = 0; i < pages; i++)
            resident += vector[i] & 1;
    }
    return (unsigned)(resident * page_bytes * 100 / bytes);
}

// Kernels before 6.14 keep the page table of what was given back, and fill it OS page by OS page: so the range is mapped
// anew. That the kernel agrees says little; what it did is looked at.
bool os_huge_page(char *start, size_t bytes, bool again)
{
    unsigned char last = 0;
    bool asked = (!again || os_refresh(start, bytes)) && advise(start, bytes, MADV_HUGEPAGE) == 0;
    if (asked) {
        *(volatile char *)start = 0;
        KERNEL_CALL3(SYS_mincore, start + bytes - page_bytes, page_bytes, &last);
    }
    if (last & 1)
        return true;
    os_no_huge_pages(start, bytes);
    if (asked)
        os_purge(start, bytes);
    return false;
}

bool os_huge_page_collapse(char *start, size_t bytes)
{
    if (advise(start, bytes, MADV_HUGEPAGE) == 0 && advise(start, bytes, MADV_COLLAPSE) == 0)
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

// PAGEMAP_SCAN (Linux 6.7) as in the kernel's include/uapi/linux/fs.h; the headers of the build may be older.
typedef struct scan_region {
    uint64_t start, end, categories;
} scan_region_t;

typedef struct scan_request {
    uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages, inverted, mask, any_of, returned;
} scan_request_t;

#define SCAN_CALL _IOWR('f', 16, scan_request_t)
#define SCAN_PRESENT ((uint64_t)1 << 3)
#define SCAN_ZERO_PAGE ((uint64_t)1 << 5)
#define SCAN_REGIONS 64

// Present, and not the zero page that all memory shares which was read but never written: that one is in no process's
// resident size, and mincore does not tell it apart.
static scan_request_t scan_of(uintptr_t start, uintptr_t end, scan_region_t *regions, unsigned count)
{
    return (scan_request_t){.size = sizeof(scan_request_t), .start = start, .end = end, .walk_end = start,
                            .regions = (uintptr_t)regions, .region_count = count, .inverted = SCAN_ZERO_PAGE,
                            .mask = SCAN_PRESENT | SCAN_ZERO_PAGE, .returned = SCAN_PRESENT};
}

// The next regions, behind those of the call before. Returns how many; -1: the kernel refuses.
static long scan_next(int pagemap, scan_request_t *request)
{
    request->start = request->walk_end;
    long count = KERNEL_CALL3(SYS_ioctl, pagemap, SCAN_CALL, request);
    return count < 0 || request->walk_end <= request->start ? -1 : count;
}

// By number, since open and close are points where a thread can be cancelled, and locks are held here.
static int pagemap_open(void)
{
    return (int)KERNEL_CALL3(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static void pagemap_close(int pagemap)
{
    if (pagemap >= 0)
        KERNEL_CALL1(SYS_close, pagemap);
}

// Adds the region to the runs that mincore or a scan before it found.
static unsigned run_add(os_run_t *runs, unsigned count, size_t first, size_t end)
{
    if (count != 0 && runs[count - 1].end == first) {
        runs[count - 1].end = (uint16_t)end;
        return count;
    }
    runs[count] = (os_run_t){(uint16_t)first, (uint16_t)end};
    return count + 1;
}

// -1: the kernel refuses.
static int runs_scanned(int pagemap, char *start, size_t pages, os_run_t *runs, size_t *told)
{
    scan_region_t regions[SCAN_REGIONS];
    uintptr_t from = (uintptr_t)start, end = from + pages * page_bytes;
    scan_request_t request = scan_of(from, end, regions, SCAN_REGIONS);
    unsigned found = 0;
    while (request.walk_end < end && found + SCAN_REGIONS <= OS_RUNS) {
        long count = scan_next(pagemap, &request);
        if (count < 0)
            return -1;
        for (long i = 0; i < count; i++)
            found = run_add(runs, found, (regions[i].start - from) / page_bytes, (regions[i].end - from) / page_bytes);
    }
    *told = (request.walk_end - from) / page_bytes;
    return (int)found;
}

#define CORE_PAGES 1024u // that mincore is asked about at once

_Static_assert(CORE_PAGES / 2 <= OS_RUNS, "they have room");

// Part of it not mapped: nothing of it is resident.
static APART unsigned runs_in_core(char *start, size_t pages, os_run_t *runs, size_t *told)
{
    unsigned char core[CORE_PAGES];
    unsigned found = 0;
    *told = size_min(pages, CORE_PAGES);
    if (KERNEL_CALL3(SYS_mincore, start, *told * page_bytes, core) != 0)
        return 0;
    for (size_t i = 0; i < *told; i++)
        if (core[i] & 1)
            found = run_add(runs, found, i, i + 1);
    return found;
}

unsigned os_residency(void *start, size_t pages, os_run_t *runs, size_t *told)
{
    pages = size_min(pages, OS_RUN_PAGES);
    int pagemap = pagemap_open();
    int found = pagemap < 0 ? -1 : runs_scanned(pagemap, start, pages, runs, told);
    pagemap_close(pagemap);
    return found >= 0 ? (unsigned)found : runs_in_core(start, pages, runs, told);
}

static bool scanned_bytes(int pagemap, const os_range_t *range, size_t *bytes)
{
    scan_region_t regions[SCAN_REGIONS];
    scan_request_t request = scan_of(range->start, range->end, regions, SCAN_REGIONS);
    *bytes = 0;
    while (request.walk_end < range->end) {
        long count = scan_next(pagemap, &request);
        if (count < 0)
            return false;
        for (long i = 0; i < count; i++)
            *bytes += regions[i].end - regions[i].start;
    }
    return true;
}

static APART size_t bytes_in_core(const os_range_t *range)
{
    os_run_t runs[CORE_PAGES / 2];
    size_t bytes = 0, told;
    for (uintptr_t at = range->start; at < range->end; at += told * page_bytes)
        for (unsigned i = runs_in_core((char *)at, (range->end - at) / page_bytes, runs, &told); i-- > 0;)
            bytes += (size_t)(runs[i].end - runs[i].first) * page_bytes;
    return bytes;
}

size_t os_resident_bytes(const os_range_t *ranges, unsigned count)
{
    int pagemap = count == 0 ? -1 : pagemap_open();
    size_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t bytes;
        bool known = pagemap >= 0 && scanned_bytes(pagemap, &ranges[i], &bytes);
        sum += known ? bytes : bytes_in_core(&ranges[i]);
    }
    pagemap_close(pagemap);
    return sum;
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
