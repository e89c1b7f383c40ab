// tools/balance.c - the fields in the order of the sheet.
#include "balance.h"

#include <assert.h>
#include <string.h>

#define FIELD(name, level, counts_up, meaning) {#name, meaning, offsetof(balance_t, name), level, counts_up}

const balance_field_t balance_fields[] = {
    FIELD(rss_bytes, BALANCE_PROCESS, 0, "what the kernel holds resident"),
    FIELD(other_rss_bytes, BALANCE_HALF, 0, "program, libraries, stacks, its own mappings"),
    FIELD(heap_rss_bytes, BALANCE_HALF, 0, "the heap; of it"),
    FIELD(requested_bytes, BALANCE_CAUSE, 0, "asked for and still held"),
    FIELD(rounding_bytes, BALANCE_CAUSE, 0, "block size minus request"),
    FIELD(holes_bytes, BALANCE_CAUSE, 0, "free blocks in pages with live ones"),
    FIELD(tail_bytes, BALANCE_CAUSE, 0, "page ends that fit no block"),
    FIELD(retained_bytes, BALANCE_CAUSE, 0, "no live block, kept for reuse"),
    FIELD(pending_bytes, BALANCE_CAUSE, 0, "freed by another thread, not yet taken back"),
    FIELD(metadata_bytes, BALANCE_CAUSE, 0, "tarn's own tables"),
    FIELD(untouched_bytes, BALANCE_MINUS, 0, "live, but never touched"),
    FIELD(peak_rss_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(requested_error_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(live_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(live_blocks, BALANCE_OTHER, 0, NULL),
    FIELD(allocated_total, BALANCE_OTHER, 1, NULL),
    FIELD(freed_total, BALANCE_OTHER, 1, NULL),
    FIELD(large_blocks, BALANCE_OTHER, 0, NULL),
    FIELD(large_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(large_allocated_total, BALANCE_OTHER, 1, NULL),
    FIELD(large_cached_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(mapped_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(mapped_peak_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(purged_total_bytes, BALANCE_OTHER, 1, NULL),
    FIELD(budget_bytes, BALANCE_OTHER, 0, NULL),
    FIELD(threads, BALANCE_OTHER, 0, NULL),
    FIELD(heaps, BALANCE_OTHER, 0, NULL),
    FIELD(heaps_orphaned, BALANCE_OTHER, 0, NULL),
};
const size_t balance_field_count = sizeof balance_fields / sizeof balance_fields[0];

_Static_assert(sizeof balance_fields / sizeof balance_fields[0] == sizeof(balance_t) / sizeof(uint64_t),
               "each field has its row");

// Far more than any machine has, and so little that no sum of a few of them overflows.
static const uint64_t bytes_most = (uint64_t)1 << 56;

bool balance_adds_up(const balance_t *balance)
{
    uint64_t sums[BALANCE_OTHER + 1] = {0};
    for (size_t i = 0; i < balance_field_count; i++) {
        uint64_t value = balance_value(balance, &balance_fields[i]);
        if (value > bytes_most && !balance_fields[i].counts_up)
            return false;
        sums[balance_fields[i].level] += value;
    }
    return sums[BALANCE_PROCESS] == sums[BALANCE_HALF] &&
           balance->heap_rss_bytes == sums[BALANCE_CAUSE] - sums[BALANCE_MINUS] &&
           balance->live_bytes == balance->requested_bytes + balance->rounding_bytes;
}

uint64_t balance_value(const balance_t *balance, const balance_field_t *field)
{
    uint64_t value;
    memcpy(&value, (const char *)balance + field->offset, sizeof value);
    return value;
}

const balance_field_t *balance_field(const char *name)
{
    for (size_t i = 0; i < balance_field_count; i++)
        if (strcmp(balance_fields[i].name, name) == 0)
            return &balance_fields[i];
    assert(0);
    return balance_fields;
}
