// tests/structure/shows_maps.c [larger|reported] - a program shows its own memory maps. It allocates nothing; or half a
// MiB, less than may stay free; or a block, and has written a report.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int tarn_report(void) __attribute__((weak));

static void *touched(void *block, size_t bytes)
{
    return block == NULL ? NULL : memset(block, 1, bytes);
}

// An array that grows, and blocks of many sizes that fill pages and leave them.
static int is_larger(void)
{
    enum { BLOCKS = 800, LARGEST = 1000, ARRAY_BYTES = 1 << 18 };
    static void *blocks[BLOCKS];
    void *array = NULL;
    for (size_t bytes = 1 << 10; bytes <= ARRAY_BYTES; bytes *= 2)
        if ((array = touched(realloc(array, bytes), bytes)) == NULL)
            return 0;
    for (size_t i = 0; i < BLOCKS; i++)
        if ((blocks[i] = touched(malloc(1 + i % LARGEST), 1)) == NULL)
            return 0;
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    free(array);
    return 1;
}

static int is_reported(void)
{
    void *block = malloc(1);
    int done = block != NULL && tarn_report != NULL && tarn_report() == 0;
    free(block);
    return done;
}

int main(int count, char **arguments)
{
    static char text[1 << 16];
    if (count > 1 && !(strcmp(arguments[1], "larger") == 0 ? is_larger() : is_reported()))
        return 1;
    int maps = open("/proc/self/smaps", O_RDONLY);
    ssize_t bytes;
    while ((bytes = read(maps, text, sizeof text)) > 0)
        if (write(STDOUT_FILENO, text, (size_t)bytes) != bytes)
            return 1;
    return bytes < 0;
}
