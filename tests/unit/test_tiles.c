// tests/unit/test_tiles.c - pool/tiles.h: by example, and against an array of granules that says for each whose it is.
#include <criterion/criterion.h>

#include "support.h"
#include "tiles.h"

#define GRANULES 1024u // a page of 16 KiB: four carve steps

static tiles_t *tiles;

static void start(void)
{
    tiles = malloc(tiles_bytes(GRANULES));
    tiles_init(tiles, GRANULES, 0);
}

static void end(void)
{
    free(tiles);
}

static void take_blocks(unsigned first, unsigned count, unsigned blocks)
{
    tiles_take(tiles, first, count, blocks);
    tiles->longest = (uint16_t)tiles_longest(tiles);
}

static void take(unsigned first, unsigned count)
{
    take_blocks(first, count, 1);
}

static void is_whole(void)
{
    const char *wrong = tiles_check(tiles);
    cr_assert_null(wrong, "%s", wrong);
}

TestSuite(tiles, .init = start, .fini = end);

Test(tiles, an_empty_page_is_one_run)
{
    cr_assert_eq(tiles->longest, GRANULES);
    cr_assert_eq(tiles_find(tiles, GRANULES, 1), 0);
    cr_assert_eq(tiles_next_block(tiles, 0), TILES_NONE);
    cr_assert_eq(tiles_free_steps(tiles), 0xf);
}

Test(tiles, a_block_ends_where_the_next_one_starts)
{
    take(3, 5);
    take(8, 200); // over several words
    cr_assert_eq(tiles_block(tiles, 3), 5);
    cr_assert_eq(tiles_block(tiles, 8), 200);
    cr_assert_eq(tiles_block(tiles, 4), 0, "not a start");
    cr_assert_eq(tiles_block(tiles, 2), 0, "free");
    cr_assert_eq(tiles_block(tiles, GRANULES), 0, "beyond the page");
    is_whole();
}

Test(tiles, a_block_may_end_with_the_page)
{
    take(GRANULES - 1, 1);
    take(0, GRANULES - 1);
    cr_assert_eq(tiles_block(tiles, GRANULES - 1), 1);
    cr_assert_eq(tiles_block(tiles, 0), GRANULES - 1);
    cr_assert_eq(tiles->longest, 0);
    cr_assert_eq(tiles_find(tiles, 1, 1), TILES_NONE);
    is_whole();
}

Test(tiles, a_freed_block_joins_its_free_neighbours)
{
    take(100, 10);
    take(110, 10);
    take(120, 10);
    tiles_run_t run = tiles_free(tiles, 100, tiles_block(tiles, 100));
    cr_assert(run.first == 0 && run.end == 110);
    run = tiles_free(tiles, 120, tiles_block(tiles, 120));
    cr_assert(run.first == 120 && run.end == GRANULES);
    run = tiles_free(tiles, 110, tiles_block(tiles, 110));
    cr_assert(run.first == 0 && run.end == GRANULES);
    cr_assert_eq(tiles->longest, GRANULES);
    is_whole();
}

Test(tiles, the_lowest_run_that_is_long_enough_is_found)
{
    take(0, 10);
    take(14, 86);
    take(130, 1);
    cr_assert_eq(tiles_find(tiles, 4, 1), 10);
    cr_assert_eq(tiles_find(tiles, 5, 1), 100);
    cr_assert_eq(tiles_find(tiles, 31, 1), 131);
    cr_assert_eq(tiles_find(tiles, GRANULES - 131 + 1, 1), TILES_NONE);
}

Test(tiles, a_place_can_be_aligned)
{
    take(0, 10);
    take(20, 5);
    cr_assert_eq(tiles_find(tiles, 4, 4), 12);
    cr_assert_eq(tiles_find(tiles, 8, 8), 32, "16 to 24 is not free");
}

Test(tiles, what_is_gone_belongs_to_no_run)
{
    take(0, 1);
    tiles_gone_set(tiles, 0x4);
    cr_assert_eq(tiles->longest, 511);
    cr_assert_eq(tiles_find(tiles, 256, 256), 256);
    tiles_walk_t walk = TILES_WALK;
    tiles_run_t run;
    cr_assert(tiles_walk_next(tiles, &walk, &run) && run.first == 1 && run.end == 512);
    cr_assert(tiles_walk_next(tiles, &walk, &run) && run.first == 768 && run.end == GRANULES);
    cr_assert_not(tiles_walk_next(tiles, &walk, &run));
    cr_assert_eq(tiles_free_steps(tiles), 0xe);
    run = tiles_free(tiles, 0, tiles_block(tiles, 0));
    cr_assert(run.first == 0 && run.end == 512);
    is_whole();
}

// --- against an array of owners --------------------------------------------------------------------------------------

static unsigned owner[GRANULES], owners; // 0: free

static unsigned free_length(unsigned from)
{
    unsigned length = 0;
    while (from + length < GRANULES && owner[from + length] == 0 && !(tiles->gone >> (from + length) / 256 & 1))
        length++;
    return length;
}

static unsigned find_slowly(unsigned count, unsigned alignment)
{
    for (unsigned i = 0; i < GRANULES; i += alignment)
        if (free_length(i) >= count)
            return i;
    return TILES_NONE;
}

static void random_take(uint64_t *random)
{
    unsigned count = 1 + (unsigned)(support_random(random) % (support_random(random) % 4 == 0 ? 300 : 20));
    unsigned alignment = 1u << support_random(random) % 4, place = tiles_find(tiles, count, alignment);
    cr_assert_eq(place, find_slowly(count, alignment));
    if (place == TILES_NONE)
        return;
    unsigned blocks = 1 + (unsigned)(support_random(random) % 3);
    blocks = (unsigned)size_min(blocks, free_length(place) / count);
    take_blocks(place, count, blocks);
    for (unsigned i = 0; i < count * blocks; i++) {
        owners += i % count == 0;
        owner[place + i] = owners;
    }
}

static void random_free(uint64_t *random)
{
    unsigned first = tiles_next_block(tiles, (unsigned)(support_random(random) % GRANULES));
    if (first == TILES_NONE)
        return;
    unsigned whose = owner[first], count = 0;
    cr_assert(whose != 0 && (first == 0 || owner[first - 1] != whose));
    while (first + count < GRANULES && owner[first + count] == whose)
        owner[first + count++] = 0;
    cr_assert_eq(tiles_block(tiles, first), count);
    tiles_run_t run = tiles_free(tiles, first, count);
    cr_assert(run.first <= first && run.end >= first + count);
    cr_assert_eq(free_length(run.first), run.end - run.first);
    cr_assert(run.first == 0 || free_length(run.first - 1) == 0);
}

static void runs_are_the_owners(void)
{
    tiles_walk_t walk = TILES_WALK;
    tiles_run_t run = {0, 0};
    for (unsigned at = 0; at < GRANULES; at++) {
        unsigned length = free_length(at);
        if (length == 0)
            continue;
        cr_assert(tiles_walk_next(tiles, &walk, &run));
        cr_assert(run.first == at && run.end == at + length, "%u to %u, not %u to %u", run.first, run.end, at, at + length);
        at = run.end - 1;
    }
    cr_assert_not(tiles_walk_next(tiles, &walk, &run));
    cr_assert_not(tiles_walk_next(tiles, &walk, &run), "nor when asked again");
}

static void random_gone(uint64_t *random)
{
    unsigned steps = tiles_free_steps(tiles);
    for (unsigned step = 0; step < 4; step++) {
        bool is_free = true;
        for (unsigned i = step * 256; i < (step + 1) * 256; i++)
            is_free &= owner[i] == 0;
        cr_assert_eq(is_free, steps >> step & 1);
    }
    tiles_gone_set(tiles, steps & (unsigned)support_random(random));
}

Test(tiles, random_blocks_are_where_an_array_of_owners_says)
{
    uint64_t random = 12;
    for (unsigned i = 0; i < 20000; i++) {
        if (support_random(&random) % (i / 2000 % 2 == 0 ? 3 : 2) != 0)
            random_take(&random);
        else
            random_free(&random);
        if (i % 50 == 0)
            random_gone(&random);
        if (i % 16 == 0) {
            is_whole();
            runs_are_the_owners();
        }
    }
}
