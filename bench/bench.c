// bench.c - see bench.h. Nothing here allocates from the heap: output goes through write(2), arrays are mapped.

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 128,
    STATUS_NO_RESOURCE = 1,
    STATUS_USAGE = 2,
};

// --- options --------------------------------------------------------------------------------------------------------

static _Noreturn void usage_show(const char *program, const option_t *options)
{
    fprintf(stderr, "usage: %s", program);
    for (const option_t *option = options; option->name != NULL; option++) {
        fprintf(stderr, " [%s=%llu]", option->name, (unsigned long long)*option->value);
    }
    fputs("\n", stderr);
    exit(STATUS_USAGE);
}

static bool number_parse(const char *text, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (end == text || errno != 0 || *text == '-') {
        return false;
    }
    uint64_t unit = *end == 'k' ? KIB : *end == 'm' ? MIB : 1;
    *value = number * unit;
    return end[unit > 1] == '\0';
}

static bool option_read(const char *text, const option_t *options)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL) {
        return false;
    }
    size_t length = (size_t)(equals - text);
    for (const option_t *option = options; option->name != NULL; option++) {
        if (strlen(option->name) == length && memcmp(option->name, text, length) == 0) {
            return number_parse(equals + 1, option->value);
        }
    }
    return false;
}

void options_read(int argc, char **argv, const option_t *options)
{
    for (int i = 1; i < argc; i++) {
        if (!option_read(argv[i], options)) {
            fprintf(stderr, "%s: cannot use '%s'\n", argv[0], argv[i]);
            usage_show(argv[0], options);
        }
    }
}

// --- chance ---------------------------------------------------------------------------------------------------------

rng_t rng_seed(uint64_t seed)
{
    rng_t rng = {.state = (seed + 1) * 0x9E3779B97F4A7C15ULL}; // an odd factor: small seeds spread, and none gives 0
    rng_next(&rng);
    return rng;
}

static size_t size_pick_log(rng_t *rng, sizes_t sizes)
{
    int doublings = __builtin_ctzll(sizes.high) - __builtin_ctzll(sizes.low);
    size_t base = sizes.low << rng_below(rng, (uint64_t)doublings);
    return base + rng_below(rng, base);
}

size_t size_pick(rng_t *rng, sizes_t sizes)
{
    return sizes.log ? size_pick_log(rng, sizes) : rng_between(rng, sizes.low, sizes.high);
}

void shuffle(rng_t *rng, void **items, size_t count)
{
    for (size_t left = count; left > 1; left--) {
        size_t other = rng_below(rng, left);
        void *item = items[left - 1];
        items[left - 1] = items[other];
        items[other] = item;
    }
}

// --- the clock and the kernel's figures -----------------------------------------------------------------------------

uint64_t time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

void sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

size_t resident_bytes(void)
{
    char text[LINE_BYTES] = {0};
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) {
        fail("/proc/self/statm");
    }
    close(file);
    char *resident = strchr(text, ' '); // "size resident shared ...", in OS pages
    return strtoull(resident != NULL ? resident : "0", NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

// --- blocks ---------------------------------------------------------------------------------------------------------

void *block_take(size_t bytes, uint64_t mark)
{
    void *block = malloc(bytes);
    if (block == NULL) {
        fail("malloc");
    }
    escape(block);
    block_mark(block, mark);
    return block;
}

void *block_take_touched(size_t bytes, uint64_t mark)
{
    char *block = block_take(bytes, mark);
    for (size_t offset = OS_PAGE_BYTES; offset < bytes; offset += OS_PAGE_BYTES) {
        block[offset] = 1;
    }
    block[bytes - 1] = 1; // it may straddle one OS page more than its size fills
    return block;
}

uint64_t block_give(void *block)
{
    uint64_t mark = block_read(block);
    free(block);
    return mark;
}

heap_t heap_fill(rng_t *rng, size_t volume, sizes_t sizes)
{
    heap_t heap = {.capacity = volume / sizes.low + 1};
    heap.blocks = array_map(heap.capacity, sizeof(void *));
    while (heap.bytes < volume) {
        size_t bytes = size_pick(rng, sizes);
        heap.blocks[heap.count++] = block_take_touched(bytes, bytes);
        heap.bytes += bytes;
    }
    return heap;
}

// The array's OS pages count as resident too, so it shrinks to what it holds.
static void heap_array_shrink(heap_t *heap)
{
    void **smaller = array_map(heap->count + 1, sizeof(void *));
    memcpy(smaller, heap->blocks, heap->count * sizeof(void *));
    array_unmap(heap->blocks, heap->capacity, sizeof(void *));
    heap->blocks = smaller;
    heap->capacity = heap->count + 1;
}

uint64_t heap_thin(heap_t *heap, rng_t *rng, uint64_t percent_kept)
{
    uint64_t freed = 0;
    size_t kept = 0;
    shuffle(rng, heap->blocks, heap->count);
    for (size_t i = 0; i < heap->count; i++) {
        if (rng_below(rng, 100) < percent_kept) {
            heap->blocks[kept++] = heap->blocks[i];
        } else {
            freed += block_give(heap->blocks[i]);
        }
    }
    heap->count = kept;
    heap->bytes -= freed;
    heap_array_shrink(heap);
    return freed;
}

uint64_t heap_empty(heap_t *heap)
{
    uint64_t freed = 0;
    for (size_t i = 0; i < heap->count; i++) {
        freed += block_give(heap->blocks[i]);
    }
    array_unmap(heap->blocks, heap->capacity, sizeof(void *));
    *heap = (heap_t){0};
    return freed;
}

void *array_map(size_t count, size_t item_bytes)
{
    void *array = mmap(NULL, count * item_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (array == MAP_FAILED) {
        fail("mmap");
    }
    return array;
}

void array_unmap(void *array, size_t count, size_t item_bytes)
{
    munmap(array, count * item_bytes);
}

// --- threads and output ---------------------------------------------------------------------------------------------

pthread_t thread_start(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    errno = pthread_create(&thread, NULL, body, argument);
    if (errno != 0) {
        fail("pthread_create");
    }
    return thread;
}

void *thread_join(pthread_t thread)
{
    void *result = NULL;
    pthread_join(thread, &result);
    return result;
}

void report(const char *key, uint64_t value)
{
    char line[LINE_BYTES];
    int length = snprintf(line, sizeof line, "%s %llu\n", key, (unsigned long long)value);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) {
        exit(STATUS_NO_RESOURCE);
    }
}

_Noreturn void fail(const char *what)
{
    fprintf(stderr, "failed: %s: %s\n", what, strerror(errno));
    exit(STATUS_NO_RESOURCE);
}
