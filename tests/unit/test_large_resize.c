// tests/unit/test_large_resize.c - large blocks grow where they are or are moved without copying, and shrink.
#include <criterion/criterion.h>

#include "books.h"
#include "fixture.h"
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
