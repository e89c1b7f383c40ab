// pool/large_huge.c - see large_huge.h.
#include "large_huge.h"

#include "huge.h"
#include "os_linux.h"

// Addresses that ask are a mapping apart from those that do not, and a process may have 65,530 (vm.max_map_count). So a block
// asks only if it is no less than this part of the range before it: 4,096 such blocks, and as many again for each doubling of the
// range beyond 16 GiB.
static const unsigned least_part_shift = 13;

#define HUGE_GRAINS (HUGE_BYTES >> LARGE_GRAIN_SHIFT)
// Of a block's last huge page so much may lie unused: a third of the block. From 6 MiB on it is always whole.
static const size_t least_bytes = HUGE_BYTES / 4 * 3;
static const unsigned rest_part = 3;

bool large_huge_suits(size_t bytes)
{
    return bytes >= least_bytes && extent_has_range() && huge_suits_large();
}

bool large_huge_suits_resized(const extent_t *extent, size_t bytes)
{
    if (extent->huge || bytes <= extent->used_bytes)
        return extent->huge;
    return large_huge_suits(bytes) || huge_suits_growth(extent->start, extent->used_bytes, bytes);
}

size_t large_huge_grains(const char *start, size_t grains)
{
    size_t before = (uintptr_t)start % HUGE_BYTES >> LARGE_GRAIN_SHIFT; // of the huge page that it begins in
    size_t whole = align_up(before + grains, HUGE_GRAINS) - before;
    return (whole - grains) * rest_part <= grains ? whole : grains;
}

void large_huge_ask(extent_t *extent, size_t bytes)
{
    char *range_start, *range_end;
    extent_bounds(&range_start, &range_end);
    if (!extent->huge && bytes < (size_t)(extent->start - range_start) >> least_part_shift)
        return;
    extent->huge = true;
    os_ask_huge_pages(extent->start, (size_t)extent->grains << LARGE_GRAIN_SHIFT);
}
