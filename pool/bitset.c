// pool/bitset.c - see bitset.h.
#include "bitset.h"

#include <assert.h>

static uint32_t words_for(uint32_t bits)
{
    return (bits + 63) / 64;
}

size_t bitset_bytes(uint32_t bound)
{
    size_t words = 0;
    for (int level = 0; level < BITSET_LEVELS; level++)
        words += bound = words_for(bound);
    return words * sizeof(uint64_t);
}

void bitset_init(bitset_t *set, uint32_t bound, void *words)
{
    uint64_t *at = words;
    set->count = 0;
    for (int level = 0; level < BITSET_LEVELS; level++)
        set->words[level] = bound = words_for(bound);
    for (int level = BITSET_LEVELS; level-- > 0; at += set->words[level])
        set->level[level] = at;
}

void *bitset_words(const bitset_t *set)
{
    return set->level[BITSET_LEVELS - 1];
}

bool bitset_has(const bitset_t *set, uint32_t index)
{
    return set->level[0][index / 64] >> (index % 64) & 1;
}

void bitset_add(bitset_t *set, uint32_t index)
{
    assert(!bitset_has(set, index));
    set->count++;
    for (int level = 0; level < BITSET_LEVELS; level++, index /= 64)
        set->level[level][index / 64] |= (uint64_t)1 << (index % 64);
}

void bitset_remove(bitset_t *set, uint32_t index)
{
    assert(bitset_has(set, index));
    set->count--;
    for (int level = 0; level < BITSET_LEVELS; level++, index /= 64) {
        set->level[level][index / 64] &= ~((uint64_t)1 << (index % 64));
        if (set->level[level][index / 64] != 0)
            break;
    }
}

// From a non-empty word of the level down to the member.
static uint32_t descend(const bitset_t *set, int level, uint32_t word, bool lowest)
{
    for (; level >= 0; level--) {
        uint64_t bits = set->level[level][word];
        word = word * 64 + (lowest ? bits_lowest(bits) : bits_highest(bits));
    }
    return word;
}

uint32_t bitset_next(const bitset_t *set, uint32_t from)
{
    for (int level = 0; level < BITSET_LEVELS; level++) {
        uint32_t word = from / 64;
        if (word >= set->words[level])
            return BITSET_NONE;
        uint64_t rest = set->level[level][word] & ~bits_mask(from % 64);
        if (rest != 0)
            return descend(set, level - 1, word * 64 + bits_lowest(rest), true);
        from = word + 1;
    }
    for (uint32_t word = from; word < set->words[BITSET_LEVELS - 1]; word++) // the top level is not itself summed up
        if (set->level[BITSET_LEVELS - 1][word] != 0)
            return descend(set, BITSET_LEVELS - 1, word, true);
    return BITSET_NONE;
}

uint32_t bitset_count_in(const bitset_t *set, uint32_t from, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t word = from / 64; word * 64 < end; word++) {
        uint64_t bits = set->level[0][word];
        if (word == from / 64)
            bits &= ~bits_mask(from % 64);
        if (end - word * 64 < 64)
            bits &= bits_mask(end - word * 64);
        count += bits_count(bits);
    }
    return count;
}

uint32_t bitset_lowest(const bitset_t *set)
{
    return set->count == 0 ? BITSET_NONE : bitset_next(set, 0);
}

uint32_t bitset_below(const bitset_t *set, uint32_t bound)
{
    for (int level = 0; level < BITSET_LEVELS; level++) {
        uint32_t word = bound / 64;
        if (bound % 64 != 0) {
            uint64_t rest = set->level[level][word] & bits_mask(bound % 64);
            if (rest != 0)
                return descend(set, level - 1, word * 64 + bits_highest(rest), false);
        }
        bound = word;
    }
    for (uint32_t word = bound; word-- > 0;)
        if (set->level[BITSET_LEVELS - 1][word] != 0)
            return descend(set, BITSET_LEVELS - 1, word, false);
    return BITSET_NONE;
}
