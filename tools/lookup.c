// tools/lookup.c - open addressing; see lookup.h.
#include "lookup.h"

#include "memory.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 256 };

// FNV-1a, its bits mixed once more: the low ones choose the slot.
uint64_t lookup_hash(const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static void slots_double(lookup_t *lookup)
{
    lookup_t larger = {.slot_count = lookup->slot_count == 0 ? SLOTS_FIRST : lookup->slot_count * 2,
                       .used = lookup->used};
    larger.slots = memory_get(larger.slot_count, sizeof *larger.slots);
    for (size_t i = 0; i < larger.slot_count; i++)
        larger.slots[i].element = LOOKUP_NONE;
    for (size_t i = 0; i < lookup->slot_count; i++) {
        if (lookup->slots[i].element == LOOKUP_NONE)
            continue;
        size_t place = lookup->slots[i].hash & (larger.slot_count - 1);
        while (larger.slots[place].element != LOOKUP_NONE)
            place = (place + 1) & (larger.slot_count - 1);
        larger.slots[place] = lookup->slots[i];
    }
    free(lookup->slots);
    *lookup = larger;
}

uint32_t lookup_find_or_add(lookup_t *lookup, uint64_t hash, uint32_t next, lookup_is_t *is, const void *context)
{
    if (lookup->used * 2 >= lookup->slot_count)
        slots_double(lookup);
    size_t place = hash & (lookup->slot_count - 1);
    for (; lookup->slots[place].element != LOOKUP_NONE; place = (place + 1) & (lookup->slot_count - 1))
        if (lookup->slots[place].hash == hash && is(context, lookup->slots[place].element))
            return lookup->slots[place].element;
    lookup->slots[place].hash = hash;
    lookup->slots[place].element = next;
    lookup->used++;
    return next;
}

void lookup_free(lookup_t *lookup)
{
    free(lookup->slots);
    *lookup = (lookup_t){0};
}
