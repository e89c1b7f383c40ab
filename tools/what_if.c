// tools/what_if.c - see what_if.h.
//
// Above 1 KiB the histogram has 16 steps a doubling. So it tells what 4, 8 and 16 classes a doubling would round each
// request up to, and no more than 16. Up to 1 KiB the classes are 16 bytes apart, which is what alignment allows.
#include "what_if.h"

#include "amount.h"

#include <stdlib.h>

#define LINEAR_MAX_BYTES 1024
static const unsigned choices[] = {4, 8, 16};

// The doubling (from, 2 * from] in which `bytes` lies.
static uint64_t doubling_of(uint64_t bytes)
{
    uint64_t from = LINEAR_MAX_BYTES;
    while (from * 2 < bytes && from * 2 > from)
        from *= 2;
    return from;
}

static unsigned classes_in(const profile_snapshot_t *snapshot, uint64_t from)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        count += snapshot->classes[i].block_bytes > from && snapshot->classes[i].block_bytes <= 2 * from;
    return count;
}

// What the block of a request would be: the next of `classes` equal steps.
static uint64_t block_with(uint64_t from, uint64_t requested_bytes, unsigned classes)
{
    uint64_t step = from / classes;
    return from + (requested_bytes - from + step - 1) / step * step;
}

static uint64_t amount_cut(double bytes)
{
    uint64_t whole = amount_whole(bytes);
    return whole < INT64_MAX ? whole : INT64_MAX;
}

static int64_t saved_with(const profile_t *profile, uint64_t from, unsigned classes)
{
    double saved = 0; // a damaged recording's counts can come to anything
    for (uint32_t i = 0; i < profile->request_size_count; i++) {
        const profile_request_size_t *size = &profile->request_sizes[i];
        if (size->from_bytes <= LINEAR_MAX_BYTES || size->block_bytes == 0 || doubling_of(size->to_bytes) != from)
            continue;
        double block_bytes = (double)size->block_bytes, other = (double)block_with(from, size->to_bytes, classes);
        saved += (block_bytes - other) * (double)size->live_blocks;
    }
    return saved < 0 ? -(int64_t)amount_cut(-saved) : (int64_t)amount_cut(saved);
}

static int compare(const void *left, const void *right)
{
    const what_if_t *first = left, *second = right;
    return (first->saved_bytes < second->saved_bytes) - (first->saved_bytes > second->saved_bytes);
}

unsigned what_if_find(const profile_t *profile, what_if_t out[WHAT_IF_MAX])
{
    const profile_snapshot_t *last = profile_snapshot(profile, MOMENT_LAST);
    uint64_t largest = last->class_count == 0 ? 0 : last->classes[last->class_count - 1].block_bytes;
    unsigned count = 0;
    for (uint64_t from = LINEAR_MAX_BYTES; from < largest; from *= 2) {
        unsigned now = classes_in(last, from);
        for (unsigned i = 0; i < sizeof choices / sizeof choices[0] && count < WHAT_IF_MAX; i++) {
            int64_t saved = choices[i] == now ? 0 : saved_with(profile, from, choices[i]);
            if (saved != 0)
                out[count++] = (what_if_t){from + 1, 2 * from, now, choices[i], saved};
        }
        if (from > UINT64_MAX / 4)
            break;
    }
    qsort(out, count, sizeof *out, compare);
    return count;
}
