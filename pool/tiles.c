// pool/tiles.c - see tiles.h.
#include "tiles.h"

#include <assert.h>

#define WORD_BITS TILES_WORD_BITS
#define STEP_WORDS TILES_STEP_WORDS

static unsigned word_count(const tiles_t *tiles)
{
    return tiles->granules / WORD_BITS;
}

static const uint64_t *starts(const tiles_t *tiles)
{
    return tiles->words + word_count(tiles);
}

static void bits_change_long(uint64_t *words, unsigned first, unsigned count, bool set)
{
    while (count != 0) {
        unsigned shift = first % WORD_BITS;
        unsigned here = (unsigned)size_min(count, WORD_BITS - shift);
        uint64_t mask = bits_mask(here) << shift;
        words[first / WORD_BITS] = set ? words[first / WORD_BITS] | mask : words[first / WORD_BITS] & ~mask;
        first += here;
        count -= here;
    }
}

// Sets (or clears) the bits of the granules first..first+count-1. Most blocks lie within a word.
static inline void bits_change(uint64_t *words, unsigned first, unsigned count, bool set)
{
    unsigned shift = first % WORD_BITS;
    if (unlikely(shift + count > WORD_BITS)) {
        bits_change_long(words, first, count, set);
        return;
    }
    uint64_t *word = &words[first / WORD_BITS], mask = bits_mask(count) << shift;
    *word = set ? *word | mask : *word & ~mask;
}

static bool bit_get(const uint64_t *words, unsigned index)
{
    return words[index / WORD_BITS] >> index % WORD_BITS & 1;
}

// What ends a run: used granules, and gone steps whole.
static inline uint64_t blocked_word(const tiles_t *tiles, unsigned word)
{
    return ~tiles_run_word(tiles, word);
}

// What ends a block: a free granule, or the next start.
static inline uint64_t ending_word(const tiles_t *tiles, unsigned word)
{
    return ~tiles->words[word] | starts(tiles)[word];
}

static inline uint64_t start_word(const tiles_t *tiles, unsigned word)
{
    return starts(tiles)[word];
}

// The first set bit from `from` on, of the words that `word_of` gives; tiles->granules if there is none.
static inline __attribute__((always_inline)) unsigned next_bit(const tiles_t *tiles, unsigned from,
                                                               uint64_t (*word_of)(const tiles_t *, unsigned))
{
    if (from >= tiles->granules)
        return tiles->granules;
    unsigned word = from / WORD_BITS;
    uint64_t bits = word_of(tiles, word) & ~(uint64_t)0 << from % WORD_BITS;
    while (bits == 0) {
        if (++word == word_count(tiles))
            return tiles->granules;
        bits = word_of(tiles, word);
    }
    return word * WORD_BITS + bits_lowest(bits);
}

// The first granule of the run that ends at `end`.
static unsigned run_first(const tiles_t *tiles, unsigned end)
{
    for (unsigned word = end / WORD_BITS, shift = end % WORD_BITS;; shift = WORD_BITS) {
        uint64_t bits = shift == 0 ? 0 : blocked_word(tiles, word) & bits_mask(shift);
        if (bits != 0)
            return word * WORD_BITS + bits_highest(bits) + 1;
        if (word-- == 0)
            return 0;
    }
}

void tiles_init(tiles_t *tiles, unsigned granules, unsigned gone)
{
    assert(granules % TILES_STEP_GRANULES == 0 && granules <= TILES_GRANULES_MAX);
    tiles->granules = (uint16_t)granules;
    tiles->used_granules = 0;
    for (unsigned i = 0; i < 2 * word_count(tiles); i++)
        tiles->words[i] = 0;
    tiles_gone_set(tiles, gone);
}

void tiles_take(tiles_t *tiles, unsigned first, unsigned count, unsigned blocks)
{
    unsigned all = count * blocks;
    assert(all != 0 && first + all <= tiles->granules);
    bits_change(tiles->words, first, all, true);
    for (unsigned at = first; at != first + all; at += count)
        bits_change(tiles->words + word_count(tiles), at, 1, true);
    tiles->used_granules = (uint16_t)(tiles->used_granules + all);
}

bool tiles_is_used(const tiles_t *tiles, unsigned granule)
{
    return bit_get(tiles->words, granule);
}

unsigned tiles_block(const tiles_t *tiles, unsigned first)
{
    if (first >= tiles->granules || !bit_get(tiles->words, first) || !bit_get(starts(tiles), first))
        return 0;
    return next_bit(tiles, first + 1, ending_word) - first;
}

tiles_run_t tiles_free(tiles_t *tiles, unsigned first, unsigned count)
{
    assert(count != 0 && count == tiles_block(tiles, first));
    bits_change(tiles->words, first, count, false);
    bits_change(tiles->words + word_count(tiles), first, 1, false);
    tiles->used_granules = (uint16_t)(tiles->used_granules - count);
    tiles_run_t run = {run_first(tiles, first), next_bit(tiles, first + count, blocked_word)};
    if (run.end - run.first > tiles->longest)
        tiles->longest = (uint16_t)(run.end - run.first);
    return run;
}

unsigned tiles_find(const tiles_t *tiles, unsigned count, unsigned alignment)
{
    tiles_walk_t walk = TILES_WALK;
    for (tiles_run_t run; tiles_walk_next(tiles, &walk, &run);) {
        unsigned place = (unsigned)align_up(run.first, alignment);
        if (place + count <= run.end)
            return place;
    }
    return TILES_NONE;
}

unsigned tiles_longest(const tiles_t *tiles)
{
    unsigned longest = 0;
    tiles_walk_t walk = TILES_WALK;
    for (tiles_run_t run; tiles_walk_next(tiles, &walk, &run);)
        longest = (unsigned)size_max(longest, run.end - run.first);
    return longest;
}

unsigned tiles_next_block(const tiles_t *tiles, unsigned from)
{
    unsigned first = next_bit(tiles, from, start_word);
    return first == tiles->granules ? TILES_NONE : first;
}

unsigned tiles_free_steps(const tiles_t *tiles)
{
    unsigned steps = 0;
    for (unsigned step = 0; step < tiles->granules / TILES_STEP_GRANULES; step++) {
        uint64_t used = 0;
        for (unsigned word = step * STEP_WORDS; word < (step + 1) * STEP_WORDS; word++)
            used |= tiles->words[word];
        steps |= (unsigned)(used == 0) << step;
    }
    return steps;
}

void tiles_gone_set(tiles_t *tiles, unsigned gone)
{
    tiles->gone = (uint16_t)gone;
    tiles->longest = (uint16_t)tiles_longest(tiles);
}

const char *tiles_check(const tiles_t *tiles)
{
    unsigned used = 0;
    for (unsigned word = 0; word < word_count(tiles); word++)
        used += bits_count(tiles->words[word]);
    if (used != tiles->used_granules)
        return "the count of used granules is not that of the bits";
    for (unsigned i = 0; i < tiles->granules; i++) {
        bool is_used = bit_get(tiles->words, i), before = i != 0 && bit_get(tiles->words, i - 1);
        bool start = bit_get(starts(tiles), i);
        if (start && !is_used)
            return "a block starts in a free granule";
        if (is_used && !before && !start)
            return "a used granule belongs to no block";
        if (is_used && tiles->gone >> i / TILES_STEP_GRANULES & 1)
            return "a used granule lies in a step that is not resident";
    }
    return tiles->longest == tiles_longest(tiles) ? NULL : "the longest run is not what it should be";
}
