// tests/tools/planted/pinning_cache.c - the planted fault: a cache whose entries lie scattered among blocks that go.
//
// Of the blocks of each request one in twenty stays in the cache. At the end the cache is all that is held, and the
// free blocks around its entries cannot be given back.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 400000, CACHED_EACH = 20, SMALLEST = 300, LARGEST = 400 };

static char *cache[BLOCKS / CACHED_EACH], *buffers[BLOCKS];
static unsigned state = 7;

static size_t size_next(void)
{
    state = state * 1103515245 + 12345;
    return SMALLEST + (state >> 8) % (LARGEST - SMALLEST);
}

__attribute__((noinline)) static char *cache_insert(size_t bytes)
{
    char *entry = malloc(bytes);
    memset(entry, 1, bytes);
    return entry;
}

__attribute__((noinline)) static char *request_buffer(size_t bytes)
{
    char *buffer = malloc(bytes);
    memset(buffer, 1, bytes);
    return buffer;
}

int main(void)
{
    for (int i = 0; i < BLOCKS; i++)
        if (i % CACHED_EACH == 0)
            cache[i / CACHED_EACH] = cache_insert(size_next());
        else
            buffers[i] = request_buffer(size_next());
    for (int i = 0; i < BLOCKS; i++)
        free(buffers[i]);
    return cache[0][0] != 1;
}
