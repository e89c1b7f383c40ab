// pool/bitset.h - a set of indexes below a fixed bound, with "lowest member" and "highest member below" in a few steps:
// three levels of words, a bit in an upper level says that the word below it is not empty. All of it is [lock] of the
// owner. The words are the caller's memory, zero at the start, and only those that were ever used are touched. The largest level
// comes last, so that the first words of the others are on one OS page.
#ifndef TARN_BITSET_H
#define TARN_BITSET_H

#include "bits.h"

#define BITSET_LEVELS 3
#define BITSET_NONE UINT32_MAX

typedef struct bitset {
    uint64_t *level[BITSET_LEVELS]; // [const] level 0: a bit a member
    uint32_t words[BITSET_LEVELS];  // [const]
    uint32_t count;                 // members
} bitset_t;

// Bytes of words for indexes below `bound`.
size_t bitset_bytes(uint32_t bound);
void bitset_init(bitset_t *set, uint32_t bound, void *words);
void *bitset_words(const bitset_t *set); // as bitset_init got them
bool bitset_has(const bitset_t *set, uint32_t index);
// index must not be in / must be in the set.
void bitset_add(bitset_t *set, uint32_t index);
void bitset_remove(bitset_t *set, uint32_t index);
uint32_t bitset_lowest(const bitset_t *set); // BITSET_NONE if empty
// The lowest member that is at least `from`; the highest one below `bound`; BITSET_NONE if there is none.
uint32_t bitset_next(const bitset_t *set, uint32_t from);
uint32_t bitset_below(const bitset_t *set, uint32_t bound);
// Members from `from` on below `end`.
uint32_t bitset_count_in(const bitset_t *set, uint32_t from, uint32_t end);

#endif
