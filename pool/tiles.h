// pool/tiles.h - which granules of a page belong to blocks, and where blocks start: blocks of any size side by side, as a
// mosaic has them (mosaic.h). Pure: two words of bits for every 64 granules, no memory of the page is touched.
//
//   granule    0 1 2 3 4 5 6 7 8 9        a block: a start, and used granules up to the next start or free granule
//   used       1 1 1 1 0 0 1 1 1 1        a run:   free granules up to the next used one. Neighbours are always joined,
//   start      1 0 1 0 0 0 1 0 0 0                 since nothing is written down but the bits
//
// A carve step that is not resident is *gone*: its free granules belong to no run, so that runs cost no page fault.
// Invariant (tiles_check): used_granules = |used|; start is within used; the first used granule behind a free one is a
// start; longest = length of the longest run.
#ifndef TARN_TILES_H
#define TARN_TILES_H

#include "config.h"

#define TILES_GRANULES_MAX (HIGH_PAGE_BYTES >> GRANULE_SHIFT)
#define TILES_STEP_GRANULES (CARVE_BYTES >> GRANULE_SHIFT)
#define TILES_NONE UINT32_MAX

typedef struct tiles {
    uint16_t granules;      // [const] a multiple of 256: whole carve steps
    uint16_t used_granules;
    uint16_t gone;          // carve steps that are not resident, a bit each
    uint16_t longest;       // granules of the longest run
    uint64_t words[];       // used bits, then start bits
} tiles_t;

// Granules first..end-1.
typedef struct tiles_run {
    unsigned first, end;
} tiles_run_t;

static inline size_t tiles_bytes(unsigned granules)
{
    return sizeof(tiles_t) + (size_t)2 * granules / 8;
}

// No block, and everything resident but what is gone.
void tiles_init(tiles_t *tiles, unsigned granules, unsigned gone);
// `blocks` blocks of `count` granules each, side by side, all free. longest is the caller's to set anew, after all that it
// takes.
void tiles_take(tiles_t *tiles, unsigned first, unsigned count, unsigned blocks);
// Granules of the block that starts at `first`; 0: none does.
unsigned tiles_block(const tiles_t *tiles, unsigned first);
bool tiles_is_used(const tiles_t *tiles, unsigned granule);
// Ends the block of `count` granules (tiles_block) that starts at `first`. Returns the run that it is part of now.
tiles_run_t tiles_free(tiles_t *tiles, unsigned first, unsigned count);
// The lowest place for `count` granules at a multiple of alignment, in a run. TILES_NONE: there is none.
unsigned tiles_find(const tiles_t *tiles, unsigned count, unsigned alignment);
unsigned tiles_longest(const tiles_t *tiles);
// The first block not below `from`; TILES_NONE.
unsigned tiles_next_block(const tiles_t *tiles, unsigned from);
// Carve steps without a used granule, a bit each; gone ones too.
unsigned tiles_free_steps(const tiles_t *tiles);
// More steps are gone, or are back. None of them has a used granule. longest is set.
void tiles_gone_set(tiles_t *tiles, unsigned gone);

// NULL, or what is wrong.
const char *tiles_check(const tiles_t *tiles);

// --- all runs, from the lowest on ------------------------------------------------------------------------------------
//
// Short ones are many, and most are passed by: a dozen instructions for each.

#define TILES_WORD_BITS 64u
#define TILES_STEP_WORDS (TILES_STEP_GRANULES / TILES_WORD_BITS)

typedef struct tiles_walk {
    unsigned word;
    uint64_t rest; // of the word's granules that are in runs, those not passed yet
} tiles_walk_t;
#define TILES_WALK {UINT32_MAX, 0} // before word 0

// Granules in runs, a bit each.
static inline uint64_t tiles_run_word(const tiles_t *tiles, unsigned word)
{
    return ~tiles->words[word] & ((tiles->gone >> word / TILES_STEP_WORDS & 1) - (uint64_t)1);
}

// The end of a run that fills the rest of its word.
static inline unsigned tiles_walk_on(const tiles_t *tiles, tiles_walk_t *walk)
{
    unsigned words = tiles->granules / TILES_WORD_BITS;
    while (++walk->word < words) {
        uint64_t bits = tiles_run_word(tiles, walk->word);
        if (bits == ~(uint64_t)0)
            continue;
        walk->rest = bits & (bits + 1);
        return walk->word * TILES_WORD_BITS + bits_lowest(~bits);
    }
    walk->rest = 0;
    return tiles->granules;
}

// False: there is no further one. The tiles may change below where the walk is.
static inline bool tiles_walk_next(const tiles_t *tiles, tiles_walk_t *walk, tiles_run_t *run)
{
    unsigned words = tiles->granules / TILES_WORD_BITS;
    while (walk->rest == 0) {
        if (walk->word + 1 >= words)
            return false;
        walk->rest = tiles_run_word(tiles, ++walk->word);
    }
    unsigned bit = bits_lowest(walk->rest);
    uint64_t carried = walk->rest + ((uint64_t)1 << bit); // the run becomes one bit, at its end
    run->first = walk->word * TILES_WORD_BITS + bit;
    if (carried == 0) {
        run->end = tiles_walk_on(tiles, walk);
    } else {
        run->end = walk->word * TILES_WORD_BITS + bits_lowest(carried);
        walk->rest &= carried;
    }
    return true;
}

#endif
