// tests/tools/planted/growing.c - growing [MORE]: a table of rows, and a cache of MORE entries of 1000 bytes.
#include <stdlib.h>
#include <string.h>

enum { ROWS = 20000, ROW_BYTES = 512, ENTRY_BYTES = 1000 };

__attribute__((noinline)) static char *row_add(void)
{
    char *row = malloc(ROW_BYTES);
    memset(row, 1, ROW_BYTES);
    return row;
}

__attribute__((noinline)) static char *entry_add(void)
{
    char *entry = malloc(ENTRY_BYTES);
    memset(entry, 1, ENTRY_BYTES);
    return entry;
}

int main(int argc, char **argv)
{
    static char *rows[ROWS];
    int entries = argc > 1 ? atoi(argv[1]) : 0;
    char **cache = calloc((size_t)entries + 1, sizeof *cache);
    for (int i = 0; i < ROWS; i++)
        rows[i] = row_add();
    for (int i = 0; i < entries; i++)
        cache[i] = entry_add();
    return rows[0][0] != 1;
}
