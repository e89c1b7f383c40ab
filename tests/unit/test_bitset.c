// tests/unit/test_bitset.c - pool/bitset.h against an array of flags.
#include <criterion/criterion.h>

#include "bitset.h"
#include "support.h"

#define BOUND 300000u // above 64 * 64 * 64: the top level has several words

static bitset_t set;
static bool *flags;

static void set_start(void)
{
    flags = calloc(BOUND, sizeof(bool));
    bitset_init(&set, BOUND, calloc(1, bitset_bytes(BOUND)));
}

static void set_end(void)
{
    free(bitset_words(&set));
    free(flags);
}

static void flip(uint32_t index)
{
    flags[index] = !flags[index];
    if (flags[index])
        bitset_add(&set, index);
    else
        bitset_remove(&set, index);
}

static uint32_t next_slowly(uint32_t from)
{
    while (from < BOUND && !flags[from])
        from++;
    return from < BOUND ? from : BITSET_NONE;
}

static uint32_t below_slowly(uint32_t bound)
{
    while (bound > 0 && !flags[bound - 1])
        bound--;
    return bound > 0 ? bound - 1 : BITSET_NONE;
}

static uint32_t count_slowly(uint32_t from, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t i = from; i < end; i++)
        count += flags[i];
    return count;
}

TestSuite(bitset, .init = set_start, .fini = set_end);

Test(bitset, the_empty_set_has_no_member)
{
    cr_assert_eq(bitset_lowest(&set), BITSET_NONE);
    cr_assert_eq(bitset_next(&set, 0), BITSET_NONE);
    cr_assert_eq(bitset_below(&set, BOUND), BITSET_NONE);
    cr_assert_not(bitset_has(&set, 17));
}

Test(bitset, a_single_member_is_found_from_everywhere)
{
    static const uint32_t members[] = {0, 63, 64, 4095, 4096, 262143, 262144, BOUND - 1};
    for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        uint32_t member = members[i];
        flip(member);
        cr_assert_eq(bitset_lowest(&set), member);
        cr_assert_eq(bitset_next(&set, member), member);
        cr_assert_eq(bitset_next(&set, member + 1), BITSET_NONE, "behind %u", member);
        cr_assert_eq(bitset_below(&set, member), BITSET_NONE, "below %u", member);
        cr_assert_eq(bitset_below(&set, BOUND), member);
        flip(member);
    }
    cr_assert_eq(set.count, 0);
}

// Dense in one part, sparse in the other: words become empty and full again.
Test(bitset, it_says_what_an_array_of_flags_says)
{
    uint64_t random = 7;
    for (unsigned i = 0; i < 40000; i++) {
        uint32_t bound = support_random(&random) % 2 ? 200 : BOUND;
        flip((uint32_t)(support_random(&random) % bound));
        uint32_t at = (uint32_t)(support_random(&random) % bound);
        cr_assert_eq(bitset_has(&set, at), flags[at]);
        if (i % 32 != 0)
            continue;
        cr_assert_eq(bitset_next(&set, at), next_slowly(at), "next from %u", at);
        cr_assert_eq(bitset_below(&set, at), below_slowly(at), "below %u", at);
        cr_assert_eq(bitset_lowest(&set), next_slowly(0));
        uint32_t end = (uint32_t)(at + support_random(&random) % (BOUND - at + 1));
        cr_assert_eq(bitset_count_in(&set, at, end), count_slowly(at, end), "from %u below %u", at, end);
        cr_assert_eq(bitset_count_in(&set, at & ~31u, (at & ~31u) + 32), count_slowly(at & ~31u, (at & ~31u) + 32));
    }
}

Test(bitset, its_words_are_just_as_many_as_it_asks_for)
{
    for (uint32_t bound = 1; bound < 5000; bound += 61) {
        bitset_t small;
        char *words = malloc(bitset_bytes(bound) + 8);
        memset(words, 0, bitset_bytes(bound));
        memset(words + bitset_bytes(bound), 0x5a, 8);
        bitset_init(&small, bound, words);
        for (uint32_t i = 0; i < bound; i++)
            bitset_add(&small, i);
        for (unsigned i = 0; i < 8; i++)
            cr_assert_eq(words[bitset_bytes(bound) + i], 0x5a, "bound %u", bound);
        free(words);
    }
}

Test(bitset, what_low_members_touch_is_on_two_os_pages)
{
    enum { ALL = 16 * 64 * 64 * 64, OS_PAGE = 4096 }; // so that each level but the top one fills more than an OS page
    char *words = aligned_alloc(OS_PAGE, align_up(bitset_bytes(ALL), OS_PAGE));
    unsigned touched = 0;
    bitset_t large;
    memset(words, 0, bitset_bytes(ALL));
    bitset_init(&large, ALL, words);
    cr_assert_eq(bitset_words(&large), words);
    bitset_add(&large, 1);
    for (size_t from = 0; from < bitset_bytes(ALL); from += OS_PAGE) {
        bool holds = false;
        for (size_t i = from; i < size_min(from + OS_PAGE, bitset_bytes(ALL)); i++)
            holds |= words[i] != 0;
        touched += holds;
    }
    cr_assert_leq(touched, 2);
    free(words);
}
