// tools/profile.h - what one recording says of its process, as plain data: every report is written from this alone.
//
//   stack     one call stack, with its metrics; the last one is [unattributed]
//   location  an address in a module; frames are the functions that stand there (several where some are inlined)
//   site      the frame of a stack that is to blame: the first that is neither an allocation function nor of the C++
//             library. Stacks that share it are added up
//   moment    when a metric is taken: at the peak of resident memory, or at the last snapshot
//
// For each metric the sum over all stacks is the balance sheet's figure at that moment:
//   live_bytes, live_blocks, requested_bytes, rounding_bytes are the fields of these names, pinned_bytes is holes_bytes
#ifndef TARN_TOOLS_PROFILE_H
#define TARN_TOOLS_PROFILE_H

#include "balance.h"
#include "symbols.h"

#include <stdbool.h>

typedef enum profile_metric {
    METRIC_LIVE_BYTES,
    METRIC_LIVE_BLOCKS,
    METRIC_REQUESTED,
    METRIC_ROUNDING,
    METRIC_PINNED,
} profile_metric_t;
#define PROFILE_METRICS (METRIC_PINNED + 1)

typedef enum profile_moment { MOMENT_LAST, MOMENT_PEAK } profile_moment_t;
#define PROFILE_MOMENTS (MOMENT_PEAK + 1)

typedef enum profile_generation { GENERATION_YOUNG, GENERATION_MIDDLE, GENERATION_OLD } profile_generation_t;
#define PROFILE_GENERATIONS (GENERATION_OLD + 1)

typedef struct profile_module {
    const char *path, *name; // `name` without folders
    char *build_id;          // in hex; "" if it has none
    symbols_source_t source; // what its names are from
} profile_module_t;

typedef struct profile_frame {
    const char *function; // never NULL: "libx.so+0x1234" where nothing is known
    const char *file;     // or NULL
    unsigned line;        // or 0
    int module;           // index, or -1
    bool inlined;         // into the next frame
    const char *text;     // "function (file:line)", the file without its folders
} profile_frame_t;

typedef struct profile_location {
    int module; // index, or -1
    uint64_t offset;
    uint32_t frame_first, frame_count; // in profile_t.frames, innermost first
} profile_location_t;

typedef struct profile_stack {
    uint32_t *locations; // innermost first
    uint32_t location_count;
    uint32_t site;       // in profile_t.sites
    uint64_t metrics[PROFILE_MOMENTS][PROFILE_METRICS];
    uint64_t allocated_blocks, allocated_bytes; // since the start
    uint64_t peak_live_bytes;                   // the most it ever had, whenever that was
    uint64_t generations[PROFILE_GENERATIONS];  // blocks by their age when freed, or at the end
    uint64_t freed_blocks, freed_young_blocks;
    double live_error_bytes;                    // half the 95 % interval of live_bytes
    uint32_t samples;
    int thread;                                 // index, or -1
} profile_stack_t;

typedef struct profile_site {
    const char *text;     // "cache_insert (cache.c:41)"
    uint64_t metrics[PROFILE_MOMENTS][PROFILE_METRICS];
    uint64_t allocated_blocks, allocated_bytes;
    uint32_t stack_count;
} profile_site_t;

typedef struct profile_class {
    uint64_t block_bytes, page_bytes, pages, live_blocks, allocated_total, requested_bytes, requested_error_bytes,
        rounding_bytes, holes_bytes, tail_bytes, pending_bytes, untouched_bytes;
} profile_class_t;

#endif
