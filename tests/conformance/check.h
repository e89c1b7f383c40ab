// tests/conformance/check.h - what the child programs of conformance/, hostile/ and misuse/ share.
//
// A failed check says where and why with one write(2), allocates nothing and ends the process with status 1. Programs
// are compiled with -fno-builtin: otherwise the compiler knows malloc, and removes a block that nobody reads.
#ifndef TARN_TESTS_CHECK_H
#define TARN_TESTS_CHECK_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define COUNT(array) (sizeof(array) / sizeof *(array))

#define STATUS_FAILED 1
#define STATUS_SKIPPED 77 // meson's

// CHECK(condition, format, ...): the rest says what was found instead.
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                                 \
    } while (0)

__attribute__((format(printf, 1, 2))) static inline void check_say(const char *format, ...)
{
    char text[1000];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(text, sizeof text - 1, format, values);
    va_end(values);
    if (length > (int)sizeof text - 2)
        length = (int)sizeof text - 2;
    text[length] = '\n';
    if (write(STDERR_FILENO, text, (size_t)length + 1) < 0)
        _exit(STATUS_FAILED);
}

__attribute__((format(printf, 4, 5), noreturn, cold)) static inline void
check_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    char what[500];
    int error = errno;
    va_list values;
    va_start(values, format);
    vsnprintf(what, sizeof what, format, values);
    va_end(values);
    check_say("%s:%d: not true: %s: %s (errno %d)", file, line, condition, what, error);
    _exit(STATUS_FAILED);
}

__attribute__((noreturn)) static inline void check_skip(const char *why)
{
    check_say("skipped: %s", why);
    _exit(STATUS_SKIPPED);
}

// --- which library is tested -----------------------------------------------------------------------------------------

// Its file holds this text; TARN_TEST_LIBRARY names another allocator, to see what the tests find there.
static inline const char *library_wanted(void)
{
    const char *wanted = getenv("TARN_TEST_LIBRARY");
    return wanted != NULL ? wanted : "libtarn";
}

static inline const char *library_of(const char *symbol)
{
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, symbol);
    return address != NULL && dladdr(address, &info) != 0 ? info.dli_fname : "nowhere";
}

// Without it a test would pass on the system's malloc, and mean nothing.
static inline void library_require(void)
{
    CHECK(strstr(library_of("malloc"), library_wanted()) != NULL, "malloc is from %s, preload %s", library_of("malloc"),
          library_wanted());
}

// --- contents --------------------------------------------------------------------------------------------------------

// Fills a block with a pattern of its own: no two tags look alike at any distance a multiple of 8.
static inline void block_fill(void *block, size_t size_bytes, uint64_t tag)
{
    unsigned char *bytes = (unsigned char *)block;
    size_t i = 0;
    tag = (tag + 1) * 0x9e3779b97f4a7c15u; // 2^64 over the golden ratio: neighbours differ in all bytes
    for (; i + sizeof tag <= size_bytes; i += sizeof tag)
        memcpy(bytes + i, &tag, sizeof tag);
    memcpy(bytes + i, &tag, size_bytes - i);
}

static inline bool block_is_filled(const void *block, size_t size_bytes, uint64_t tag)
{
    const unsigned char *bytes = (const unsigned char *)block;
    size_t i = 0;
    tag = (tag + 1) * 0x9e3779b97f4a7c15u;
    for (; i + sizeof tag <= size_bytes; i += sizeof tag)
        if (memcmp(bytes + i, &tag, sizeof tag) != 0)
            return false;
    return memcmp(bytes + i, &tag, size_bytes - i) == 0;
}

static inline bool block_is_zero(const void *block, size_t size_bytes)
{
    const unsigned char *bytes = (const unsigned char *)block;
    return size_bytes == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size_bytes - 1) == 0);
}

// --- numbers ---------------------------------------------------------------------------------------------------------

// xorshift64: the same sequence for the same start, which must not be 0.
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// The next size to try: each one up to 1100 bytes, then 32 steps a doubling with a byte less and a byte more at each.
// No allocator has more classes than that.
static inline size_t size_next(size_t size_bytes)
{
    if (size_bytes < 1100)
        return size_bytes + 1;
    size_t step = 16;
    while (step * 64 <= size_bytes)
        step *= 2;
    size_t past = size_bytes % step;
    if (past == step - 1 || past == 0)
        return size_bytes + 1;
    return size_bytes - past + step - 1;
}

// What a file of /proc says in KiB in the line that begins with `key` ("\nRss:"), in bytes.
static inline size_t proc_bytes(const char *path, const char *key)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof text - 1);
    CHECK(length > 0, "%s cannot be read", path);
    close(fd);
    text[length] = '\0';
    const char *line = strstr(text, key);
    CHECK(line != NULL, "no %s in %s", key + 1, path);
    return strtoul(line + strlen(key), NULL, 10) * KIB;
}

// Resident memory of this process in bytes, exactly: statm's figure lags behind by some pages a processor.
static inline size_t rss_bytes(void)
{
    return proc_bytes("/proc/self/smaps_rollup", "\nRss:");
}

// The same without pages of files: of a library's code the kernel maps as much around a fault as it has at hand.
static inline size_t anonymous_bytes(void)
{
    return proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:");
}

// Up to 200 blocks, of the squares of 0, 1, 2... times `factor` bytes, are filled, looked at and freed.
static inline void blocks_come_and_go(size_t count, size_t factor)
{
    void *blocks[200];
    CHECK(count <= COUNT(blocks), "%zu blocks", count);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(i * i * factor);
        CHECK(blocks[i] != NULL, "no memory");
        block_fill(blocks[i], i * i * factor, i);
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(block_is_filled(blocks[i], i * i * factor, i), "block %zu", i);
        free(blocks[i]);
    }
}

#endif
