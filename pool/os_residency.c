// pool/os_residency.c - see os_linux.h: what is resident, by /proc/self/pagemap, or by mincore where the kernel cannot tell more.
#include <fcntl.h>
#include <sys/ioctl.h>

#include "os_calls.h"
#include "os_linux.h"

bool os_is_resident(const void *os_page)
{
    unsigned char residency = 0;
    return KERNEL_CALL3(SYS_mincore, os_page, os_page_bytes(), &residency) == 0 && (residency & 1);
}

// What is not mapped is not resident.
unsigned os_resident_percent(const char *start, size_t bytes)
{
    unsigned char vector[512]; // 2 MiB a system call
    size_t resident = 0, step = sizeof(vector) * os_page_bytes();
    for (size_t at = 0; at < bytes; at += step) {
        size_t pages = size_min(bytes - at, step) / os_page_bytes();
        if (KERNEL_CALL3(SYS_mincore, start + at, pages * os_page_bytes(), vector) != 0)
            continue;
        for (size_t i = 0; i < pages; i++)
            resident += vector[i] & 1;
    }
    return (unsigned)(resident * os_page_bytes() * 100 / bytes);
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
    uintptr_t from = (uintptr_t)start, end = from + pages * os_page_bytes();
    scan_request_t request = scan_of(from, end, regions, SCAN_REGIONS);
    unsigned found = 0;
    while (request.walk_end < end && found + SCAN_REGIONS <= OS_RUNS) {
        long count = scan_next(pagemap, &request);
        if (count < 0)
            return -1;
        for (long i = 0; i < count; i++)
            found = run_add(runs, found, (regions[i].start - from) / os_page_bytes(), (regions[i].end - from) / os_page_bytes());
    }
    *told = (request.walk_end - from) / os_page_bytes();
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
    if (KERNEL_CALL3(SYS_mincore, start, *told * os_page_bytes(), core) != 0)
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
    for (uintptr_t at = range->start; at < range->end; at += told * os_page_bytes())
        for (unsigned i = runs_in_core((char *)at, (range->end - at) / os_page_bytes(), runs, &told); i-- > 0;)
            bytes += (size_t)(runs[i].end - runs[i].first) * os_page_bytes();
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
