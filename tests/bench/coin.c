// tests/bench/coin.c - a realloc with one branch that nobody can foresee: bench/instructions must count it.
#include <stddef.h>
#include <stdint.h>

extern void *__libc_realloc(void *block, size_t bytes);

__attribute__((visibility("default"))) void *realloc(void *block, size_t bytes)
{
    static uint64_t coin = 1;
    coin ^= coin << 13;
    coin ^= coin >> 7;
    coin ^= coin << 17;
    if (coin >> 63 != 0)
        __asm__ volatile(""); // so that it stays a branch
    return __libc_realloc(block, bytes);
}
