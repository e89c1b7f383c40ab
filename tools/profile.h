// tools/profile.h - what one recording says of its process, as plain data: every report is written from this alone.
//
//   stack     one call stack, with its metrics; the last one is [unattributed]
//   location  an address in a module; frames are the functions that stand there (several where some are inlined)
//   site      the frame of a stack that is to blame: the first that is neither an allocation function nor of the C++
//             library. Stacks that share it are added up
//   moment    when a metric was taken
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

typedef enum profile_moment {
    MOMENT_LAST,  // the last snapshot: at exit, if the process came to that
    MOMENT_PEAK,  // the snapshot with the most live bytes; pinned bytes are not known then
    MOMENT_WORST, // the snapshot with the most holes; only pinned bytes are known then
} profile_moment_t;
#define PROFILE_MOMENTS (MOMENT_WORST + 1)

// With fewer, the standard error of an estimate is above 32 %: reports say so.
#define PROFILE_SAMPLES_FEW 10

typedef enum profile_generation { GENERATION_YOUNG, GENERATION_MIDDLE, GENERATION_OLD } profile_generation_t;
#define PROFILE_GENERATIONS (GENERATION_OLD + 1)

typedef struct profile_module {
    const char *path, *name; // `name` without folders
    uint64_t start, end, bias;
    uint8_t build_id[36];
    uint32_t build_id_bytes; // 0: it has none
    symbols_source_t source; // what its names are from
    bool used;               // a stack runs through it
} profile_module_t;

typedef struct profile_frame {
    const char *function; // never NULL: "libx.so+0x1234" where nothing is known
    const char *file;     // or NULL
    unsigned line;        // or 0
    int module;           // index, or -1
    bool inlined;         // into the next frame
    bool unnamed;         // `function` is an offset
    const char *text;     // "function (file:line)", the file without its folders
} profile_frame_t;

typedef struct profile_location {
    int module; // index, or -1
    uint64_t address; // in the process: of the call, not of the return
    uint64_t offset;  // as the module's file numbers addresses
    uint32_t frame_first, frame_count; // in profile_t.frames, innermost first
} profile_location_t;

typedef struct profile_neighbour {
    uint32_t stack;
    uint64_t bytes; // of the pinned bytes
} profile_neighbour_t;

typedef struct profile_stack {
    uint32_t *locations; // innermost first
    uint32_t location_count;
    uint32_t site;       // in profile_t.sites
    const profile_frame_t *blamed; // the frame that is the site; NULL: [unattributed]
    uint64_t metrics[PROFILE_MOMENTS][PROFILE_METRICS];
    uint64_t allocated_blocks, allocated_bytes; // since the start
    uint64_t freed[PROFILE_GENERATIONS];        // blocks by their age when they were freed
    uint64_t kept[PROFILE_GENERATIONS];         // live blocks by their age now
    double live_error_bytes;                    // half the 95 % interval of live_bytes
    profile_neighbour_t *neighbours;            // whose freed blocks were beside this one's, most bytes first
    uint32_t neighbour_count;
    uint32_t allocated_samples, live_samples;   // what the estimates rest on
    int thread;                                 // of most of its live samples: index, or -1
    bool cut;                                   // it goes on beyond the outermost frame
} profile_stack_t;

typedef struct profile_site {
    const char *text;     // "cache_insert (cache.c:41)"
    uint64_t metrics[PROFILE_MOMENTS][PROFILE_METRICS];
    uint64_t allocated_blocks, allocated_bytes;
    uint64_t freed[PROFILE_GENERATIONS], kept[PROFILE_GENERATIONS]; // as in profile_stack_t
    uint32_t stack_count, live_samples;
} profile_site_t;

typedef struct profile_class {
    uint64_t block_bytes, page_bytes, pages, live_blocks, allocated_total, requested_bytes, requested_error_bytes,
        rounding_bytes, holes_bytes, tail_bytes, pending_bytes, untouched_bytes;
} profile_class_t;

typedef enum profile_page_kind { PAGE_OF_CLASS, PAGE_LARGE, PAGE_FREE } profile_page_kind_t;

// A page of the heap at a snapshot, a large block, or a run of kept pages.
typedef struct profile_page {
    profile_page_kind_t kind;
    uint32_t class_index; // PAGE_OF_CLASS: in the snapshot's classes
    uint64_t address, page_bytes, live_bytes, resident_bytes;
} profile_page_t;

// One sampled block.
typedef struct profile_sample {
    uint32_t stack;
    uint32_t thread;
    uint64_t address, requested_bytes, block_bytes, birth_ms;
    uint64_t age_bytes;      // allocated by the process since
    profile_generation_t generation;
    double weight;           // how many blocks it stands for
} profile_sample_t;

typedef struct profile_snapshot {
    uint64_t number;         // 1, 2, 3, ...
    uint64_t time_ms;        // since the start
    uint64_t cpu_ms;         // of the process
    const char *reason;      // "high", "end", ...
    bool process_known;      // false: rss_bytes is heap_rss_bytes
    bool requested_exact;
    uint64_t weighted_bytes; // live bytes as the samples tell
    uint64_t live_samples;
    balance_t balance;
    profile_class_t *classes;
    uint32_t class_count;
    profile_page_t *pages;   // the heap map, in address order; none where the recording has none
    uint32_t page_count;
    uint64_t pages_a_cell;   // of the heap map: a page stands for so many
} profile_snapshot_t;

// Requests of from_bytes to to_bytes; the counts are estimates.
typedef struct profile_request_size {
    uint64_t from_bytes, to_bytes;
    uint64_t block_bytes; // 0: a large block
    uint64_t live_blocks, live_bytes, allocated_blocks, allocated_bytes; // bytes asked for
} profile_request_size_t;

typedef struct profile_thread {
    uint64_t id;          // of the first of this name
    const char *name;
    uint64_t samples;
} profile_thread_t;

typedef struct profile {
    const char *recording;    // the file's path
    const char *program, *tarn_version, *ended_by;
    const char *became;       // the program that it went on as, when it ended by exec; else NULL
    const char *executable;   // its path
    uint64_t pid, parent_pid; // parent_pid 0: not known
    const char **command;
    uint32_t command_count;
    uint64_t started_unix_ms, duration_ms;
    uint64_t sample_bytes;    // 0: no profile
    uint64_t clock_bytes;     // allocated so far: the clock of ages
    uint64_t weighted_bytes, live_samples; // live bytes as the samples tell, which may be newer than the last snapshot
    const char *kernel;
    uint64_t os_page_bytes, waste_percent;
    bool sparse;              // samples became rarer on the way, to save time
    bool forked;              // without exec: its heap began as its parent's
    int end_value;            // exit status, or number of the signal
    const char **warnings;
    uint32_t warning_count;
    profile_snapshot_t *snapshots; // oldest first; at least one
    uint32_t snapshot_count;
    uint32_t at[PROFILE_MOMENTS], peak_rss; // which of them
    profile_module_t *modules;
    uint32_t module_count;
    profile_location_t *locations;
    uint32_t location_count;
    profile_frame_t *frames;
    uint32_t frame_count;
    profile_stack_t *stacks;  // the last one is [unattributed]
    uint32_t stack_count;
    profile_site_t *sites;    // the last one is [unattributed]'s
    uint32_t site_count;
    profile_thread_t *threads;
    uint32_t thread_count;
    profile_sample_t *samples;
    uint32_t sample_count;
    profile_request_size_t *request_sizes; // most live bytes first
    uint32_t request_size_count;
} profile_t;

const profile_snapshot_t *profile_snapshot(const profile_t *profile, profile_moment_t moment);

// Whether a metric is known at a moment; elsewhere it is 0 everywhere.
bool profile_knows(profile_moment_t moment, profile_metric_t metric);

// What the sum of a metric over all stacks is: the figure in the balance sheet.
uint64_t profile_total(const profile_t *profile, profile_moment_t moment, profile_metric_t metric);

// "live_bytes", ...: the names in docs/report-json.md.
const char *profile_metric_name(profile_metric_t metric);

// The metric of this name, with or without _bytes; -1 if there is none.
int profile_metric_find(const char *name);

#endif
