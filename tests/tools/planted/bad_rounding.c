// tests/tools/planted/bad_rounding.c - the planted fault: records of 33 bytes in blocks of 48, beside a table that
// fits.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS = 800000, RECORD_BYTES = 33, ROWS = 10000, ROW_BYTES = 256 };

static char *records[RECORDS], *rows[ROWS];

__attribute__((noinline)) static char *record_new(void)
{
    char *record = malloc(RECORD_BYTES);
    memset(record, 1, RECORD_BYTES);
    return record;
}

__attribute__((noinline)) static char *row_new(void)
{
    char *row = malloc(ROW_BYTES);
    memset(row, 1, ROW_BYTES);
    return row;
}

int main(void)
{
    for (int i = 0; i < RECORDS; i++)
        records[i] = record_new();
    for (int i = 0; i < ROWS; i++)
        rows[i] = row_new();
    return records[0][0] != 1 || rows[0][0] != 1;
}
