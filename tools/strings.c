// tools/strings.c - a hash table of the texts kept, with open addressing: at most half full, so that probes are short.
#include "strings.h"

#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_FIRST = 1024 };

static struct {
    const char **slots;
    size_t slot_count, used; // slot_count is a power of two
} table;

// FNV-1a: short texts, no enemy who gains by collisions that half a table of probes would not survive.
static uint64_t hash_of(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
    return hash;
}

static const char **slot_of(const char *text, size_t length)
{
    size_t mask = table.slot_count - 1;
    for (size_t i = hash_of(text, length) & mask;; i = (i + 1) & mask) {
        const char *there = table.slots[i];
        if (there == NULL || (strncmp(there, text, length) == 0 && there[length] == '\0'))
            return &table.slots[i];
    }
}

static void table_double(void)
{
    const char **old = table.slots;
    size_t old_count = table.slot_count;
    table.slot_count = old_count == 0 ? SLOTS_FIRST : old_count * 2;
    table.slots = memory_get(table.slot_count, sizeof *table.slots);
    for (size_t i = 0; i < old_count; i++)
        if (old[i] != NULL)
            *slot_of(old[i], strlen(old[i])) = old[i];
    free(old);
}

const char *strings_keep_part(const char *text, size_t length)
{
    if (table.used * 2 >= table.slot_count)
        table_double();
    length = strnlen(text, length);
    const char **slot = slot_of(text, length);
    if (*slot == NULL) {
        char *copy = memory_get(length + 1, 1);
        memcpy(copy, text, length);
        *slot = copy;
        table.used++;
    }
    return *slot;
}

const char *strings_keep(const char *text)
{
    return strings_keep_part(text, strlen(text));
}
