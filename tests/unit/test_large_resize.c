// tests/unit/test_large_resize.c - large blocks grow where they are or are moved without copying, and shrink.
#include <criterion/criterion.h>

#include "books.h"
#include "check.h"
#include "fixture.h"
#include "huge.h"
#include "large.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)

TestSuite(large_resize, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

static void pattern_fill(unsigned char *block, size_t from, size_t to)
{
    for (size_t i = from; i < to; i += 509)
        block[i] = (unsigned char)(i % 251);
}

static bool pattern_is(const unsigned char *block, size_t to)
{
    for (size_t i = 0; i < to; i += 509)
        if (block[i] != (unsigned char)(i % 251))
            return false;
    return true;
}

Test(large_resize, it_grows_in_place_where_there_is_room)
{
    unsigned char *block = pool_malloc(MIB);
    pattern_fill(block, 0, MIB);
    for (size_t size = MIB; size <= 64 * MIB; size += MIB / 2)
        cr_assert_eq(pool_realloc(block, size), block, "%zu", size);
    cr_assert(pattern_is(block, MIB));
}

Test(large_resize, moved_by_the_kernel_it_keeps_its_contents_and_its_memory)
{
    unsigned char *block = pool_malloc(16 * MIB);
    pool_malloc(MIB); // in the way
    pattern_fill(block, 0, 16 * MIB);
    uint64_t resident = books_resident(block, block + 16 * MIB);
    unsigned char *moved = pool_realloc(block, 24 * MIB);
    cr_assert_neq(moved, block);
    cr_assert(pattern_is(moved, 16 * MIB));
    cr_assert_eq(books_resident(moved, moved + 24 * MIB), resident);
    cr_assert_eq(books_resident(block, block + 16 * MIB), 0);
}

// So the kernel moves page tables, and not what stands in them.
Test(large_resize, moved_by_the_kernel_a_long_one_lies_as_before_in_2_mib)
{
    for (size_t size = 8 * MIB; size <= 64 * MIB; size *= 2) {
        char *block = pool_malloc(size), *moved;
        cr_assert_not_null(pool_malloc(200 * MIB + MEDIUM_MAX_BYTES)); // in the way
        cr_assert_neq(moved = pool_realloc(block, size + MIB), block);
        cr_assert_eq((uintptr_t)moved % HUGE_BYTES, (uintptr_t)block % HUGE_BYTES, "%zu", size);
    }
}

Test(large_resize, a_growing_vector_keeps_its_contents_all_the_way)
{
    size_t size = 300 << 10;
    unsigned char *block = pool_malloc(size);
    pattern_fill(block, 0, size);
    while (size < 200 * MIB) {
        size_t longer = size + size / 2;
        pool_malloc(MEDIUM_MAX_BYTES + 1); // always in the way
        block = pool_realloc(block, longer);
        cr_assert_not_null(block);
        cr_assert(pattern_is(block, size), "%zu", size);
        pattern_fill(block, 0, longer);
        size = longer;
    }
    pool_free(block);
}

Test(large_resize, the_addresses_left_by_a_move_are_used_again_and_read_as_zero)
{
    unsigned char *block = pool_malloc(4 * MIB);
    pool_malloc(MIB);
    memset(block, 0x5a, 4 * MIB);
    cr_assert_neq(pool_realloc(block, 8 * MIB), block);
    unsigned char *again = pool_calloc(4 * MIB);
    cr_assert_eq(again, block);
    cr_assert(again[0] == 0 && memcmp(again, again + 1, 4 * MIB - 1) == 0);
}

Test(large_resize, shrinking_gives_the_rest_back)
{
    unsigned char *block = pool_malloc(8 * MIB);
    pattern_fill(block, 0, 8 * MIB);
    memset(block + 2 * MIB, 0x5a, 6 * MIB);
    cr_assert_eq(pool_realloc(block, 2 * MIB), block);
    cr_assert_eq(pool_usable_size(block), 2 * MIB);
    cr_assert_eq(books_resident(block + 2 * MIB, block + 8 * MIB), 0);
    cr_assert(pattern_is(block, 2 * MIB));
    unsigned char *rest = block + 2 * MIB + LARGE_GRAIN_BYTES;
    cr_assert_eq(pool_malloc(6 * MIB - LARGE_GRAIN_BYTES), rest, "the addresses, too, but for a gap");
}

// --- huge pages (docs/decisions/056) -------------------------------------------------------------------------------------

static bool asks(const void *block)
{
    return extent_node(extent_at(block))->huge;
}

// A block of 40 MiB that grew to 60, and something behind it. filled: so much of it was touched before.
static unsigned char *grown(size_t filled)
{
    unsigned char *block = pool_malloc(40 * MIB);
    pool_malloc(MIB);
    for (size_t at = 0; at < filled; at += os_page_bytes())
        block[at] = 1;
    return pool_realloc(block, 60 * MIB);
}

Test(large_resize, a_full_block_that_grows_is_filled_on_by_huge_pages)
{
    unsigned char *block = grown(40 * MIB);
    cr_assert(asks(block));
    cr_assert_eq(books_resident(block, block + 60 * MIB), 40 * MIB, "asking alone makes nothing resident");
    unsigned char *first = (unsigned char *)align_up((uintptr_t)block + 40 * MIB, HUGE_BYTES);
    first[0] = 1;
    if (os_gives_huge_pages(HUGE_BYTES))
        cr_assert_eq(books_resident(first, first + HUGE_BYTES), HUGE_BYTES);
}

Test(large_resize, it_goes_on_to_ask_when_it_moves_and_keeps_its_huge_pages)
{
    cr_assert_not_null(pool_malloc(300 << 10)); // so that it does not begin where a huge page does
    unsigned char *block = grown(40 * MIB), *before = block;
    for (size_t size = 60 * MIB; block == before; size += 10 * MIB) {
        memset(block + size - 10 * MIB, 0x5a, 10 * MIB);
        cr_assert_not_null(block = pool_realloc(block, size + 10 * MIB));
    }
    cr_assert(asks(block));
    before = block;
    uint64_t resident = books_resident(block, block + 60 * MIB);
    while (block == before)
        cr_assert_not_null(block = pool_realloc(block, pool_usable_size(block) + 30 * MIB));
    cr_assert_eq(books_resident(block, block + 60 * MIB), resident);
    cr_assert_neq((uintptr_t)before % HUGE_BYTES, 0);
    cr_assert_eq((uintptr_t)block % HUGE_BYTES, (uintptr_t)before % HUGE_BYTES, "or its huge pages would be split");
}

Test(large_resize, a_block_that_is_half_touched_is_not)
{
    cr_assert_not(asks(grown(20 * MIB)));
}

Test(large_resize, a_small_one_is_not)
{
    unsigned char *block = pool_malloc(20 * MIB);
    memset(block, 0x5a, 20 * MIB);
    cr_assert_not(asks(pool_realloc(block, 31 * MIB)));
}

Test(large_resize, one_that_shrinks_is_not)
{
    unsigned char *block = pool_malloc(80 * MIB);
    memset(block, 0x5a, 80 * MIB);
    cr_assert_not(asks(pool_realloc(block, 40 * MIB)));
}

// As long as it grows by little steps the kernel is not asked each time what is resident: once for an eighth.
Test(large_resize, it_is_looked_at_once_for_an_eighth)
{
    unsigned char *block = pool_malloc(40 * MIB);
    block = pool_realloc(block, 41 * MIB); // 40 to 44: the same eighth
    memset(block, 0x5a, 41 * MIB);
    cr_assert_not(asks(block = pool_realloc(block, 42 * MIB)));
    memset(block, 0x5a, 42 * MIB);
    cr_assert(asks(pool_realloc(block, 44 * MIB)));
}

static void require_nothing_asks_at(const unsigned char *start, size_t bytes)
{
    size_t there = 0;
    for (size_t i = 0; i < 200; i++) {
        unsigned char *block = pool_malloc(MIB);
        block[0] = 1;
        cr_assert_eq(books_resident(block, block + MIB), os_page_bytes(), "%zu", i);
        there += block >= start && block + MIB <= start + bytes;
    }
    cr_assert_geq(there, bytes / MIB / 2, "the addresses of the one that asked are used again");
}

Test(large_resize, what_it_leaves_behind_asks_no_more)
{
    unsigned char *block = grown(40 * MIB);
    cr_assert(asks(block));
    pool_free(block);
    cr_assert_eq(books_resident(block, block + 60 * MIB), 0);
    require_nothing_asks_at(block, 60 * MIB);
}

Test(large_resize, nor_does_what_it_leaves_behind_if_it_never_moved)
{
    unsigned char *block = pool_malloc(40 * MIB);
    memset(block, 0x5a, 40 * MIB);
    cr_assert_eq(pool_realloc(block, 60 * MIB), block);
    cr_assert(asks(block));
    pool_free(block);
    require_nothing_asks_at(block, 60 * MIB);
}

Test(large_resize, nor_does_what_it_leaves_behind_when_it_shrinks)
{
    unsigned char *block = pool_malloc(40 * MIB);
    memset(block, 0x5a, 40 * MIB);
    cr_assert_eq(pool_realloc(block, 60 * MIB), block);
    cr_assert_eq(pool_realloc(block, 20 * MIB), block);
    cr_assert(asks(block));
    require_nothing_asks_at(block + 21 * MIB, 39 * MIB);
}

// What it grows by is one mapping with what it was, up to the end of a huge page: else mremap would refuse it.
Test(large_resize, a_full_block_with_room_behind_it_grows_there_and_then_moves)
{
    bool gives = os_gives_huge_pages(HUGE_BYTES);
    size_t size = 40 * MIB;
    cr_assert_not_null(pool_malloc(300 << 10)); // so that it begins within a huge page, and ends within one
    unsigned char *block = pool_malloc(size), *before = block;
    memset(block, 0x5a, size);
    for (; size < 160 * MIB; size += 20 * MIB) {
        cr_assert_eq(pool_realloc(block, size + 20 * MIB), block);
        cr_assert(asks(block));
        memset(block + size, 0x5a, 20 * MIB);
        unsigned char *last = (unsigned char *)((uintptr_t)(block + size + 20 * MIB) & ~(HUGE_BYTES - 1));
        cr_assert(!gives || books_resident(last, last + HUGE_BYTES) == HUGE_BYTES);
    }
    cr_assert_not_null(pool_malloc(MIB)); // in the way
    uint64_t resident = books_resident(block, block + size);
    cr_assert_neq(block = pool_realloc(block, size + 40 * MIB), before);
    cr_assert_eq(books_resident(block, block + size), resident);
    cr_assert_eq(books_resident(before, before + size), 0);
}

Test(large_resize, what_it_asked_for_is_in_the_books)
{
    static survey_t survey;
    unsigned char *block = grown(40 * MIB);
    for (size_t size = 60 * MIB; size < 200 * MIB; size += size / 8 & ~(os_page_bytes() - 1)) {
        block[size - 1] = 1;
        survey_take(&survey);
        require_survey(&survey);
        cr_assert_leq(survey.tail_bytes, survey.live_bytes / 16, "one huge page at most");
        cr_assert_not_null(block = pool_realloc(block, size + size / 8));
    }
    cr_assert_eq(pool_realloc(block, 50 * MIB), block);
    require_books();
}
