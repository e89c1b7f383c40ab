// tests/recording/plugin.c - a library that allocates, built twice: NUMBER makes two that differ, and map alike.
#include <stdlib.h>

__attribute__((noinline, noclone)) static void *deeper(size_t size, unsigned depth)
{
    void *block = depth == 0 ? malloc(size + NUMBER) : deeper(size, depth - 1);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

__attribute__((visibility("default"))) void *plugin_allocate(size_t size, unsigned depth)
{
    void *block = deeper(size, depth);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}
