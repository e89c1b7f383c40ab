// tools/lookup.h - a hash index over the elements of somebody's array: finds the one that equals, or where to add it.
#ifndef TARN_TOOLS_LOOKUP_H
#define TARN_TOOLS_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOKUP_NONE UINT32_MAX

typedef struct lookup {
    struct lookup_slot {
        uint64_t hash;
        uint32_t element; // index in the array, or LOOKUP_NONE
    } *slots;
    size_t slot_count, used; // slot_count is a power of two; at most half is used
} lookup_t; // all zero: empty

// Is element `element` the one that is looked for?
typedef bool lookup_is_t(const void *context, uint32_t element);

// The element with this hash that `is` the one; if there is none, `next` is entered under the hash and returned.
uint32_t lookup_find_or_add(lookup_t *lookup, uint64_t hash, uint32_t next, lookup_is_t *is, const void *context);

void lookup_free(lookup_t *lookup);

uint64_t lookup_hash(const void *bytes, size_t length);

#endif
