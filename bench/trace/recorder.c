// trace/recorder.c - recorder.so: preloaded, it enters each call of malloc's family into a log; see trace.h.
//
//   BENCH_TRACE_LOG=FILE LD_PRELOAD=recorder.so PROGRAM
//
// The calls go to the C library's own malloc. The first process that starts with BENCH_TRACE_LOG makes the file and is
// recorded; what it forks or executes is not. The log is a shared mapping: it is whole however the program ends.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace.h"

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void *block);

static log_t *_Atomic opened; // NULL: nothing is recorded
static _Atomic uint32_t threads;
static pthread_key_t thread_key;

// 0: not numbered yet. Initial-exec, or its first use would allocate.
static __thread uint32_t thread_number __attribute__((tls_model("initial-exec")));

static void entry_add(operation_t operation, const void *address, size_t size, unsigned alignment)
{
    log_t *log = atomic_load_explicit(&opened, memory_order_relaxed);
    if (log == NULL) {
        return;
    }
    if (thread_number == 0) {
        thread_number = atomic_fetch_add(&threads, 1) + 1;
        pthread_setspecific(thread_key, log); // its destructor tells the thread's end
    }
    uint64_t index = atomic_fetch_add(&log->count, 1);
    if (index < LOG_ENTRIES_MAX) {
        log->entries[index] = (entry_t){(uint64_t)(uintptr_t)address, size, thread_number - 1,
                                        (uint16_t)(operation + 1), (uint16_t)alignment};
    }
}

// --- the log -------------------------------------------------------------------------------------------------------

static void thread_end(void *unused)
{
    (void)unused;
    entry_add(OPERATION_END, NULL, 0, 0);
}

static void child_begin(void)
{
    atomic_store(&opened, NULL);
}

__attribute__((constructor)) static void log_open(void)
{
    const char *path = getenv("BENCH_TRACE_LOG");
    size_t bytes = sizeof(log_t) + (size_t)LOG_ENTRIES_MAX * sizeof(entry_t);
    int file = path != NULL ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (file < 0) {
        return;
    }
    void *memory = ftruncate(file, (off_t)bytes) == 0
                       ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0)
                       : MAP_FAILED;
    close(file);
    if (memory == MAP_FAILED || pthread_key_create(&thread_key, thread_end) != 0 ||
        pthread_atfork(NULL, NULL, child_begin) != 0) {
        return;
    }
    log_t *log = memory;
    log->magic = LOG_MAGIC;
    atomic_store(&opened, log);
}

// --- malloc's family -----------------------------------------------------------------------------------------------

static void *entered(operation_t operation, void *block, size_t bytes, unsigned alignment)
{
    if (block != NULL) {
        entry_add(operation, block, bytes, alignment);
    }
    return block;
}

static unsigned logarithm(size_t power)
{
    return (unsigned)__builtin_ctzll(power);
}

static bool is_power(size_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static void *block_align(size_t alignment, size_t bytes)
{
    if (!is_power(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return entered(OPERATION_MEMALIGN, __libc_memalign(alignment, bytes), bytes, logarithm(alignment));
}

EXPORT void *malloc(size_t bytes)
{
    return entered(OPERATION_MALLOC, __libc_malloc(bytes), bytes, 0);
}

EXPORT void free(void *block)
{
    if (block != NULL) {
        entry_add(OPERATION_FREE, block, 0, 0);
    }
    __libc_free(block);
}

EXPORT void *calloc(size_t count, size_t bytes)
{
    return entered(OPERATION_CALLOC, __libc_calloc(count, bytes), count * bytes, 0);
}

// Where it fails, the block is as it was: the second entry says so by naming the old address and size 0.
EXPORT void *realloc(void *block, size_t bytes)
{
    if (block == NULL) {
        return malloc(bytes);
    }
    if (bytes == 0) {
        free(block);
        return NULL;
    }
    entry_add(OPERATION_LEAVE, block, 0, 0);
    void *moved = __libc_realloc(block, bytes);
    entry_add(OPERATION_REALLOC, moved != NULL ? moved : block, moved != NULL ? bytes : 0, 0);
    return moved;
}

EXPORT void *reallocarray(void *block, size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, product);
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
    return block_align(alignment, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    return block_align(alignment, bytes);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    int before = errno;
    if (!is_power(alignment) || alignment % sizeof(void *) != 0) {
        return EINVAL;
    }
    void *aligned = block_align(alignment, bytes);
    errno = before;
    if (aligned == NULL) {
        return ENOMEM;
    }
    *block = aligned;
    return 0;
}

EXPORT void *valloc(size_t bytes)
{
    return block_align((size_t)sysconf(_SC_PAGESIZE), bytes);
}

EXPORT void *pvalloc(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return block_align(page, (bytes + page - 1) & ~(page - 1));
}

// Of the C library: a program that links another allocator would find that one's.
EXPORT size_t malloc_usable_size(void *block)
{
    static size_t (*_Atomic usable_size)(void *);
    if (usable_size == NULL) {
        void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        usable_size = (size_t(*)(void *))dlsym(library, "malloc_usable_size");
    }
    return usable_size(block);
}
