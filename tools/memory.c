// tools/memory.c - see memory.h.
#include "memory.h"

#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void memory_out(void)
{
    tool_error("tarn", "out of memory");
    exit(TOOL_FAILED);
}

void *memory_get(size_t count, size_t bytes)
{
    void *memory = calloc(count != 0 ? count : 1, bytes);
    if (memory == NULL)
        memory_out();
    return memory;
}

void *memory_grow(void *old, size_t count, size_t bytes)
{
    void *memory = reallocarray(old, count != 0 ? count : 1, bytes);
    if (memory == NULL)
        memory_out();
    return memory;
}

void *memory_push(void *old, size_t count, size_t bytes)
{
    if (count == 0)
        return memory_grow(old, 1, bytes);
    return (count & (count - 1)) == 0 ? memory_grow(old, count * 2, bytes) : old;
}

char *memory_format(const char *format, ...)
{
    va_list arguments;
    char *text;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        memory_out();
    va_end(arguments);
    return text;
}
