// tests/bench/twice.c - a malloc that gives one block out twice, now and then: replay must notice.
#include <stdlib.h>

extern void *__libc_malloc(size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    static void *last;
    static size_t last_bytes;
    static unsigned count;
    if (++count % 1000 == 0 && last_bytes >= bytes)
        return last;
    last = __libc_malloc(bytes);
    last_bytes = bytes;
    return last;
}

__attribute__((visibility("default"))) void free(void *block)
{
    (void)block; // it may be somebody else's
}
