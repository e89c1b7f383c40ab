// tools/memory.h - memory for the tool's own work: when there is none, tarn says so in one line and ends.
#ifndef TARN_TOOLS_MEMORY_H
#define TARN_TOOLS_MEMORY_H

#include <stddef.h>

// `count` zeroed elements of `bytes` each; never NULL. 0 elements are one.
void *memory_get(size_t count, size_t bytes);

// `old` with room for `count` elements of `bytes`; what is new is not cleared.
void *memory_grow(void *old, size_t count, size_t bytes);

// For an array that grows by one element at a time: room for `count` + 1 elements. Doubles when `count` is a power of
// two, so that no capacity has to be stored.
void *memory_push(void *old, size_t count, size_t bytes);

// printf into a fresh string.
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
