// tests/hostile/namespace_plugin.c - see namespaces.c. It works with the malloc, the threads' data and the streams of its own
// namespace, and calls back into the program's.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void *(*plugin_malloc(void))(size_t);
EXPORT long plugin_work(uint64_t seed, void (*call_back)(void));

static __thread void *last; // freed by the next call of the same thread

// Which malloc is the plugin's.
void *(*plugin_malloc(void))(size_t)
{
    return malloc;
}

// Returns the length of what it has written.
long plugin_work(uint64_t seed, void (*call_back)(void))
{
    enum { BLOCKS = 100 };
    unsigned char *blocks[BLOCKS];
    char *text = NULL;
    size_t length = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = (seed * i) % (i % 20 == 0 ? 300000 : 2000) + 1;
        if ((blocks[i] = malloc(size)) == NULL)
            return -1;
        memset(blocks[i], (int)i, size);
    }
    call_back();
    FILE *stream = open_memstream(&text, &length);
    for (size_t i = 0; i < BLOCKS; i++) {
        fprintf(stream, "%d,", blocks[i][0]);
        free(blocks[i]);
    }
    fclose(stream);
    free(last);
    last = text;
    return (long)length;
}
