// tests/tools/planted/early.c - a library whose constructor runs before libtarn's, and keeps 8 MiB.
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 64, BLOCK_BYTES = 128 << 10 };

static void *kept[BLOCKS];

__attribute__((noinline)) void *early_cache(void)
{
    void *block = malloc(BLOCK_BYTES);
    if (block != NULL)
        memset(block, 1, BLOCK_BYTES);
    return block;
}

__attribute__((constructor)) static void begin(void)
{
    for (int i = 0; i < BLOCKS; i++)
        kept[i] = early_cache();
}
