// tests/hostile/inject.c - see inject.h. Runs before the C library has been started: no stdio, no getenv, no malloc.
#undef _FILE_OFFSET_BITS // else mmap would be another name for mmap64; both are defined here
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const char *const names[INJECT_CALLS] = {"mmap", "mprotect", "madvise", "mremap", "munmap"};

static struct {
    _Atomic long count;
    _Atomic long nth; // 0: none fails
    _Atomic bool onwards;
} calls[INJECT_CALLS];

static _Atomic long failed;
static _Atomic bool ready;
static uintptr_t allocator_start, allocator_end;

EXPORT inject_arm_t inject_arm;
EXPORT inject_count_t inject_count;
EXPORT inject_failed_t inject_failed;

// --- files, whole, by system calls alone -------------------------------------------------------------------------------

static size_t file_read(const char *path, char *text, size_t capacity)
{
    size_t length = 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), got;
    while (fd >= 0 && (got = syscall(SYS_read, fd, text + length, capacity - 1 - length)) > 0)
        length += (size_t)got;
    if (fd >= 0)
        syscall(SYS_close, fd);
    text[length] = '\0';
    return length;
}

// --- who calls -------------------------------------------------------------------------------------------------------

typedef struct mapping {
    uintptr_t start, end;
    const char *name;
    size_t name_length;
} mapping_t;

// Reads "start-end perms offset device inode   name"; returns the next line.
static const char *mapping_read(const char *line, mapping_t *mapping)
{
    char *after;
    const char *end = strchr(line, '\n');
    mapping->start = strtoul(line, &after, 16);
    mapping->end = strtoul(after + 1, NULL, 16);
    const char *name = memchr(line, '/', (size_t)(end - line));
    mapping->name = name;
    mapping->name_length = name == NULL ? 0 : (size_t)(end - name);
    return end + 1;
}

static bool is_same_file(const mapping_t *a, const mapping_t *b)
{
    return a->name_length != 0 && a->name_length == b->name_length && memcmp(a->name, b->name, a->name_length) == 0;
}

// All mappings of the file that malloc's code is in; what lies between them is its own, too.
static void allocator_find(void)
{
    static char maps[65536];
    uintptr_t address = (uintptr_t)malloc;
    mapping_t wanted = {0}, mapping;
    file_read("/proc/self/maps", maps, sizeof maps);
    for (const char *line = maps; *line != '\0';) {
        line = mapping_read(line, &mapping);
        if (address >= mapping.start && address < mapping.end)
            wanted = mapping;
    }
    allocator_start = wanted.start;
    allocator_end = wanted.end;
    for (const char *line = maps; *line != '\0';) {
        line = mapping_read(line, &mapping);
        if (!is_same_file(&mapping, &wanted))
            continue;
        allocator_start = mapping.start < allocator_start ? mapping.start : allocator_start;
        allocator_end = mapping.end > allocator_end ? mapping.end : allocator_end;
    }
}

// --- TARN_INJECT -----------------------------------------------------------------------------------------------------

static void environment_apply(void)
{
    static char text[65536];
    static const char key[] = "TARN_INJECT=";
    size_t length = file_read("/proc/self/environ", text, sizeof text);
    for (const char *entry = text; entry < text + length; entry += strlen(entry) + 1) {
        if (strncmp(entry, key, sizeof key - 1) != 0)
            continue;
        const char *value = entry + sizeof key - 1, *number = strchr(value, ':');
        for (unsigned i = 0; number != NULL && i < INJECT_CALLS; i++)
            if (strlen(names[i]) == (size_t)(number - value) && memcmp(names[i], value, strlen(names[i])) == 0) {
                calls[i].nth = strtol(number + 1, NULL, 10);
                calls[i].onwards = strstr(number, ":on") != NULL && strstr(number, ":once") == NULL;
            }
    }
}

static bool fails(inject_call_t call, const void *caller)
{
    if (!ready) { // the first call comes before any thread
        ready = true;
        allocator_find();
        environment_apply();
    }
    if ((uintptr_t)caller < allocator_start || (uintptr_t)caller >= allocator_end)
        return false;
    long count = atomic_fetch_add(&calls[call].count, 1) + 1, nth = calls[call].nth;
    if (nth == 0 || (calls[call].onwards ? count < nth : count != nth))
        return false;
    failed++;
    errno = ENOMEM;
    return true;
}

EXPORT void inject_arm(inject_call_t call, long nth, bool onwards)
{
    for (unsigned i = 0; i < INJECT_CALLS; i++)
        calls[i].nth = calls[i].count = 0;
    failed = 0;
    calls[call].onwards = onwards;
    calls[call].nth = nth;
}

EXPORT long inject_count(inject_call_t call)
{
    return calls[call].count;
}

EXPORT long inject_failed(void)
{
    return failed;
}

// --- the calls -------------------------------------------------------------------------------------------------------

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fails(INJECT_MMAP, __builtin_return_address(0)))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap"))); // by large file offsets

EXPORT int mprotect(void *address, size_t length, int protection)
{
    if (fails(INJECT_MPROTECT, __builtin_return_address(0)))
        return -1;
    return (int)syscall(SYS_mprotect, address, length, protection);
}

EXPORT int madvise(void *address, size_t length, int advice)
{
    if (fails(INJECT_MADVISE, __builtin_return_address(0)))
        return -1;
    return (int)syscall(SYS_madvise, address, length, advice);
}

EXPORT void *mremap(void *address, size_t old_length, size_t new_length, int flags, ...)
{
    va_list values;
    va_start(values, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(values, void *) : NULL;
    va_end(values);
    if (fails(INJECT_MREMAP, __builtin_return_address(0)))
        return MAP_FAILED;
    return (void *)syscall(SYS_mremap, address, old_length, new_length, flags, target);
}

EXPORT int munmap(void *address, size_t length)
{
    if (fails(INJECT_MUNMAP, __builtin_return_address(0)))
        return -1;
    return (int)syscall(SYS_munmap, address, length);
}
