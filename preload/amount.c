// preload/amount.c - see amount.h.
#include "amount.h"

#include "writer.h"

// A unit begins at ten times its size: below, the smaller one shows more of the figure.
#define UNIT_FIRST_MULTIPLE 10

static const struct {
    const char *name;
    unsigned shift;
    unsigned scale; // 10 to the power of the decimals shown
} units[] = {
    [AMOUNT_KIB] = {"KiB", 10, 10},
    [AMOUNT_MIB] = {"MiB", 20, 100},
    [AMOUNT_GIB] = {"GiB", 30, 1000},
};

amount_unit_t amount_unit_of(uint64_t bytes)
{
    amount_unit_t unit = AMOUNT_GIB;
    while (unit > AMOUNT_KIB && bytes >> units[unit].shift < UNIT_FIRST_MULTIPLE)
        unit--;
    return unit;
}

amount_t amount_in(amount_unit_t unit, uint64_t bytes)
{
    amount_t amount;
    writer_t writer = WRITER(amount.text);
    uint64_t size = (uint64_t)1 << units[unit].shift, scale = units[unit].scale;
    uint64_t whole = bytes >> units[unit].shift, part = ((bytes & (size - 1)) * scale + size / 2) >> units[unit].shift;
    if (part == scale) { // rounded up
        whole++;
        part = 0;
    }
    writer_format(&writer, "%'lu.", whole);
    for (uint64_t digit = scale / 10; digit > 0; digit /= 10)
        writer_format(&writer, "%lu", part / digit % 10);
    writer_format(&writer, " %s", units[unit].name);
    return amount;
}

amount_t amount_of(uint64_t bytes)
{
    return amount_in(amount_unit_of(bytes), bytes);
}
