// tools/balance.h - the balance sheet of a process as plain data, and its fields by name.
//
//   rss_bytes      = other_rss_bytes + heap_rss_bytes
//   heap_rss_bytes = requested + rounding + holes + tail + retained + pending + metadata - untouched
//   live_bytes     = requested_bytes + rounding_bytes          (docs/statistics.md defines each)
#ifndef TARN_TOOLS_BALANCE_H
#define TARN_TOOLS_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct balance {
    uint64_t rss_bytes, peak_rss_bytes, other_rss_bytes, heap_rss_bytes;
    uint64_t requested_bytes, requested_error_bytes, rounding_bytes, holes_bytes, tail_bytes, retained_bytes,
        pending_bytes, metadata_bytes, untouched_bytes;
    uint64_t live_bytes, live_blocks, allocated_total, freed_total;
    uint64_t large_blocks, large_bytes, large_allocated_total, large_cached_bytes;
    uint64_t mapped_bytes, mapped_peak_bytes, purged_total_bytes, budget_bytes;
    uint64_t threads, heaps, heaps_orphaned;
} balance_t;

// Where a field stands in the sheet: what its bytes are a part of.
typedef enum balance_level {
    BALANCE_PROCESS,
    BALANCE_HALF,
    BALANCE_CAUSE,
    BALANCE_MINUS,
    BALANCE_OTHER
} balance_level_t;

typedef struct balance_field {
    const char *name;    // as in docs/statistics.md
    const char *meaning; // a few words; NULL for those that the sheet does not show
    size_t offset;       // in balance_t
    balance_level_t level;
    int counts_up;       // since the start of the process: it never falls
} balance_field_t;

extern const balance_field_t balance_fields[];
extern const size_t balance_field_count;

// Whether the three equations hold. They do in every sheet that was written.
bool balance_adds_up(const balance_t *balance);

uint64_t balance_value(const balance_t *balance, const balance_field_t *field);

// The field of this name; the name must be one.
const balance_field_t *balance_field(const char *name);

#endif
