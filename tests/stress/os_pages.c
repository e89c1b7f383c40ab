// tests/stress/os_pages.c - a kernel whose OS pages are of 16 or 64 KiB, as aarch64's can be, on one with smaller ones.
//
// The linker puts these functions in front of the C library's (-Wl,--wrap); TARN_TEST_OS_PAGE says how large an OS page
// is to be. As under such a kernel, mappings begin at multiples of it, a start that is none is refused, a length is
// rounded *up* - so whoever gives back half an OS page loses all of it -, and an OS page that was touched anywhere is
// resident whole.
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os_linux.h"

#define KERNEL_PAGE_BYTES ((size_t)sysconf(_SC_PAGESIZE))

void *__real_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *start, size_t bytes);
int __real_mprotect(void *start, size_t bytes, int protection);
int __real_madvise(void *start, size_t bytes, int advice);
void *__real_mremap(void *start, size_t old_bytes, size_t new_bytes, int flags, ...);

int __wrap_getpagesize(void);
void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
void *__wrap_mmap64(void *start, size_t bytes, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *start, size_t bytes);
int __wrap_mprotect(void *start, size_t bytes, int protection);
int __wrap_madvise(void *start, size_t bytes, int advice);
void *__wrap_mremap(void *start, size_t old_bytes, size_t new_bytes, int flags, ...);
unsigned __wrap_os_residency(void *start, size_t pages, os_run_t *runs, size_t *told);
size_t __wrap_os_resident_bytes(const os_range_t *ranges, unsigned count);

int __wrap_getpagesize(void)
{
    static int page_bytes;
    if (page_bytes == 0) {
        const char *wanted = getenv("TARN_TEST_OS_PAGE");
        page_bytes = wanted == NULL ? 0 : atoi(wanted);
        if (page_bytes <= 0 || (size_t)page_bytes % KERNEL_PAGE_BYTES != 0) {
            fputs("TARN_TEST_OS_PAGE: a multiple of the kernel's OS page\n", stderr);
            exit(2);
        }
    }
    return page_bytes;
}

static size_t page_up(size_t bytes)
{
    size_t page = (size_t)__wrap_getpagesize();
    return (bytes + page - 1) / page * page;
}

static bool is_refused(const void *start)
{
    bool refused = (uintptr_t)start % (size_t)__wrap_getpagesize() != 0;
    if (refused)
        errno = EINVAL;
    return refused;
}

// The kernel's choice of a place, of which one that is aligned is kept.
static void *map_anywhere(size_t bytes, int protection, int flags, int file, off_t offset)
{
    size_t page = (size_t)__wrap_getpagesize();
    char *start = __real_mmap(NULL, bytes + page, protection, flags, file, offset);
    if (start == MAP_FAILED)
        return MAP_FAILED;
    size_t before = page_up((uintptr_t)start) - (uintptr_t)start;
    if (before != 0)
        __real_munmap(start, before);
    __real_munmap(start + before + bytes, page - before);
    return start + before;
}

void *__wrap_mmap(void *start, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (bytes > SIZE_MAX / 2 || is_refused((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0 ? start : NULL))
        return MAP_FAILED;
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
        return __real_mmap(start, page_up(bytes), protection, flags, file, offset);
    return map_anywhere(page_up(bytes), protection, flags, file, offset);
}

// What mmap is called where the build's definitions say that file offsets have 64 bits, as meson's do.
void *__wrap_mmap64(void *start, size_t bytes, int protection, int flags, int file, off_t offset)
{
    return __wrap_mmap(start, bytes, protection, flags, file, offset);
}

int __wrap_munmap(void *start, size_t bytes)
{
    return is_refused(start) ? -1 : __real_munmap(start, page_up(bytes));
}

int __wrap_mprotect(void *start, size_t bytes, int protection)
{
    return is_refused(start) ? -1 : __real_mprotect(start, page_up(bytes), protection);
}

int __wrap_madvise(void *start, size_t bytes, int advice)
{
    return is_refused(start) ? -1 : __real_madvise(start, page_up(bytes), advice);
}

void *__wrap_mremap(void *start, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    if (is_refused(start) || is_refused(target))
        return MAP_FAILED;
    old_bytes = page_up(old_bytes);
    new_bytes = page_up(new_bytes);
    if (flags == MREMAP_MAYMOVE && new_bytes > old_bytes) { // to a place that is aligned
        target = __wrap_mmap(NULL, new_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (target == MAP_FAILED)
            return MAP_FAILED;
        flags |= MREMAP_FIXED;
    }
    return flags & MREMAP_FIXED ? __real_mremap(start, old_bytes, new_bytes, flags, target)
                                : __real_mremap(start, old_bytes, new_bytes, flags);
}

enum { KERNEL_PAGES_MOST = 4096 * 16 }; // of a survey's window

// Touches what lies in an OS page of which a part is resident, so that smaps says the same.
static bool os_page_residency(char *start, const unsigned char *residency)
{
    size_t count = (size_t)__wrap_getpagesize() / KERNEL_PAGE_BYTES;
    unsigned resident = 0;
    for (size_t i = 0; i < count; i++)
        resident += residency[i] & 1;
    for (size_t i = 0; resident != 0 && resident < count && i < count; i++) {
        volatile char *at = start + i * KERNEL_PAGE_BYTES;
        *at = *at;
    }
    return resident != 0;
}

unsigned __wrap_os_residency(void *start, size_t pages, os_run_t *runs, size_t *told)
{
    unsigned char in_kernel_pages[KERNEL_PAGES_MOST];
    size_t page = (size_t)__wrap_getpagesize();
    unsigned count = 0;
    *told = pages < OS_RUNS ? pages : OS_RUNS;
    if (*told * page / KERNEL_PAGE_BYTES > KERNEL_PAGES_MOST || mincore(start, *told * page, in_kernel_pages) != 0)
        return 0;
    for (size_t i = 0; i < *told; i++)
        if (os_page_residency((char *)start + i * page, in_kernel_pages + i * page / KERNEL_PAGE_BYTES))
            runs[count++] = (os_run_t){(uint16_t)i, (uint16_t)(i + 1)};
    return count;
}

size_t __wrap_os_resident_bytes(const os_range_t *ranges, unsigned count)
{
    size_t page = (size_t)__wrap_getpagesize(), sum = 0, told;
    os_run_t runs[OS_RUNS];
    for (unsigned i = 0; i < count; i++)
        for (uintptr_t at = ranges[i].start; at < ranges[i].end; at += told * page)
            sum += __wrap_os_residency((void *)at, (ranges[i].end - at) / page, runs, &told) * page;
    return sum;
}
