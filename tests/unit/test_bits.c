// tests/unit/test_bits.c - pool/bits.h against the slow way.
#include <criterion/criterion.h>

#include "bits.h"
#include "support.h"

static unsigned count_slowly(uint64_t word)
{
    unsigned count = 0;
    for (unsigned i = 0; i < 64; i++)
        count += word >> i & 1;
    return count;
}

Test(bits, count_is_the_number_of_set_bits)
{
    uint64_t random = 1;
    cr_assert_eq(bits_count(0), 0);
    cr_assert_eq(bits_count(~(uint64_t)0), 64);
    for (unsigned i = 0; i < 64; i++)
        cr_assert_eq(bits_count((uint64_t)1 << i), 1, "bit %u", i);
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t word = support_random(&random);
        cr_assert_eq(bits_count(word), count_slowly(word));
    }
}

Test(bits, lowest_and_highest_find_the_outermost_bits)
{
    for (unsigned low = 0; low < 64; low++)
        for (unsigned high = low; high < 64; high++) {
            uint64_t word = (uint64_t)1 << low | (uint64_t)1 << high;
            cr_assert_eq(bits_lowest(word), low);
            cr_assert_eq(bits_highest(word), high);
        }
}

Test(bits, a_turn_moves_every_bit_and_loses_none)
{
    for (unsigned bit = 0; bit < 64; bit++)
        for (unsigned count = 0; count <= 128; count++)
            cr_assert_eq(bits_turn((uint64_t)1 << bit, count), (uint64_t)1 << ((bit + 128 - count) % 64));
}

Test(bits, mask_has_the_lowest_bits_and_no_other)
{
    for (unsigned count = 0; count <= 64; count++)
        for (unsigned i = 0; i < 64; i++)
            cr_assert_eq(bits_mask(count) >> i & 1, i < count, "bit %u of mask %u", i, count);
}

Test(bits, alignment_rounds_to_the_next_multiple_on_either_side)
{
    for (size_t alignment = 1; alignment <= 256; alignment *= 2)
        for (size_t value = 0; value < 1000; value++) {
            cr_assert_eq(align_down(value, alignment), value / alignment * alignment);
            cr_assert_eq(align_up(value, alignment), (value + alignment - 1) / alignment * alignment);
        }
}

Test(bits, powers_of_two_are_known)
{
    unsigned powers = 0;
    for (size_t value = 0; value <= 4096; value++)
        powers += is_power_of_two(value);
    cr_assert_eq(powers, 13);
    cr_assert_not(is_power_of_two(0));
    cr_assert(is_power_of_two((size_t)1 << 63));
}
