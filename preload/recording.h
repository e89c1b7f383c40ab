// preload/recording.h - the byte layout of a recording: all that its writer (recorder.c) and its readers share.
//
//   0      header      one OS page of 4 KiB: what process, how it ended, where the tables are, counters
//   table  text        bytes: the command line, paths of modules
//          modules     what was mapped from files when a stack ran through it: path, build-id, addresses
//          threads     names of threads
//          sizes       histogram of the sizes asked for
//          snapshots   balance sheet, classes and heap map, as of one moment each
//          sites       a site is a call stack and a size class: all counters of a profile stand here
//          frames      the stacks of the sites, innermost frame first
//          samples     sampled blocks that are live
//
// Each table is `count` records of `stride` bytes from `offset`, all three in the header. A reader steps by `stride`,
// never by sizeof: a later version of the same `major` may have longer records, and more tables. Everything is little
// endian and naturally aligned. The file is sparse: it is `file_bytes` long, but only what was used has disk blocks.
//
// The program may be killed between any two stores, and a reader may look while it runs. So:
//   - a record of a table is complete before the table's `count` includes it (text, modules, threads, frames, sites);
//   - a sample is complete while its `state` is SAMPLE_LIVE; a reader of a live file takes `birth_number` before and after;
//   - a snapshot is complete while number_end == number_begin != 0; a reader of a live file reads number_end first, then
//     the rest, then number_begin, or all of it twice, and it was equal. Older snapshots are overwritten: sort by number;
//   - counters of a site are single stores. At a kill they may be one sample ahead of or behind the samples' table.
//
// Estimates. A block of b bytes is sampled with the probability p = 1 - exp(-b / sample_bytes), and its weight is 1 / p
// blocks. So each sum of weights is an unbiased estimate of the number of all blocks, sampled or not. Weights and sums
// of weights are fixed point: RECORDING_BLOCK is one block. Sums of bytes are whole bytes.
//
// What a sum's error is: of n samples about 1 / sqrt(n), as the `*_samples` counters tell.
#ifndef TARN_RECORDING_H
#define TARN_RECORDING_H

#include <stdint.h>

#define RECORDING_MAGIC 0x0a4345524e524154u // "TARNREC\n"
#define RECORDING_MAJOR 1 // a reader knows one; it refuses others
// More fields and tables behind the known ones:
//   1  the header's snapshots_cpu_ns and samples_ns; RECORDING_SPARSE, RECORDING_BROKEN_OFF
#define RECORDING_MINOR 1

#define RECORDING_BLOCK ((uint64_t)1 << 16) // the unit of weights: 65536 = one block
#define RECORDING_CELL_UNIT 64u             // bytes; the unit of lengths in the heap map

// --- tables ------------------------------------------------------------------------------------------------------------

typedef enum recording_table_id {
    RECORDING_TEXT,
    RECORDING_MODULES,
    RECORDING_THREADS,
    RECORDING_SIZES,
    RECORDING_SNAPSHOTS,
    RECORDING_SITES,
    RECORDING_FRAMES,
    RECORDING_SAMPLES,
    RECORDING_TABLES,
    RECORDING_TABLES_ROOM = 16, // places for them in the header
} recording_table_id_t;

typedef struct recording_table {
    uint64_t offset;   // bytes from the start of the file; a multiple of 4096
    uint64_t count;    // records that may be read; sizes, snapshots and samples: places, used or not
    uint64_t capacity; // records that have room
    uint32_t stride;   // bytes from a record to the next
    uint32_t reserved;
} recording_table_t;

// --- text --------------------------------------------------------------------------------------------------------------

// A string in the text table: `length` bytes from `offset` of the table, no 0 at the end.
typedef struct recording_text {
    uint32_t offset;
    uint32_t length;
} recording_text_t;

// --- header ------------------------------------------------------------------------------------------------------------

typedef enum recording_end {
    // Or killed: see pid, start_ticks; last_ns is when it was alive. Or it called exec, of which a program cannot tell
    // whether it will succeed: then another recording has the same pid and start_ticks, and began later.
    RECORDING_RUNNING = 0,
    RECORDING_EXIT = 1,         // end_value: the exit status
    RECORDING_UNDERSCORE_EXIT = 2, // the same
    RECORDING_QUICK_EXIT = 3,      // end_value is 0: the status is not known
    RECORDING_SIGNAL = 4,          // end_value: its number
} recording_end_t;

enum {
    RECORDING_FULL_SAMPLES = 1 << 0,   // samples were thinned: sample_bytes_now > sample_bytes
    RECORDING_FULL_SITES = 1 << 1,     // no room for a site: counted in site 0
    RECORDING_FULL_SNAPSHOTS = 1 << 2, // older snapshots were dropped
    RECORDING_FULL_DISK = 1 << 3,      // the file could not grow any more: as if the table had been full
    RECORDING_FULL_TEXT = 1 << 4,      // a path or the command line was cut, or a module or a thread's name was left out
    RECORDING_SPARSE = 1 << 5,         // samples were taken more rarely than sample_bytes says, to save time
    RECORDING_BROKEN_OFF = 1 << 6,     // the profile ended before the program: a thread did not come back from a sample
};

typedef struct recording_header {
    uint64_t magic;
    uint16_t major, minor;
    uint32_t header_bytes; // sizeof(recording_header_t) of the writer
    uint64_t file_bytes;   // length of the file; less: truncated
    uint32_t table_count;
    uint32_t flags; // RECORDING_FULL_...
    recording_table_t tables[RECORDING_TABLES_ROOM];

    // The process. Written before the magic.
    uint32_t pid, parent_pid;
    uint32_t forked;     // 1: a child of a fork without exec. Its heap began as its parent's; parent_pid wrote of that
    uint32_t page_bytes; // the OS page
    uint64_t start_ticks;      // of /proc/PID/stat, field 22: tells whether pid is still this process
    uint64_t start_realtime_ns; // of the recording, since 1970
    uint64_t sample_bytes;     // mean distance of samples, as asked for; 0: no profile, and no sites, frames, samples
    uint64_t young_bytes, old_bytes; // young: died before so many bytes were allocated; old: lived for more than old_bytes
    uint32_t profile;          // 1: there is a profile
    uint32_t snapshot_classes; // records in a snapshot, and ...
    uint32_t snapshot_cells;   // ... places for cells of the heap map
    uint32_t waste_percent;
    char program[64];       // file name of argv[0]; ends with 0
    char writer_version[32]; // of libtarn.so
    char kernel[64];        // "Linux 6.1.0-18-amd64 x86_64"
    recording_text_t command_line; // arguments with a 0 between them
    recording_text_t executable;   // /proc/PID/exe
    recording_text_t directory;    // the working directory at the start

    // What changes. [writer] single stores.
    uint64_t sample_bytes_now; // higher than sample_bytes while samples are thinned or sparse; each has its own weight
    uint64_t last_ns;          // of the last event, from the start
    uint64_t clock_bytes;      // allocated so far, as samples tell: the clock of ages
    uint64_t sampled_total;    // samples so far
    uint64_t sampled_dropped;  // samples for which there was no room or no time
    uint64_t live_samples;
    uint64_t live_weighted_bytes; // of the live samples, as an estimate of all live bytes
    uint64_t peak_weighted_bytes; // the most that was, at peak_ns
    uint64_t peak_ns;
    uint64_t peak_epoch;       // see recording_site_t
    uint64_t snapshot_number;  // of the last complete snapshot; 0: none yet
    uint64_t snapshot_peak;    // number of the one with the highest rss_bytes
    uint64_t snapshot_worst;   // number of the one with the most holes_bytes
    uint64_t snapshot_dropped; // overwritten for want of room
    uint32_t end; // recording_end_t; written last
    int32_t end_value;
    uint64_t end_ns;

    // Which of the three places of pinned bytes in a site is of which snapshot: places change hands, a reader looks here.
    uint64_t pinned_number[3];            // of the snapshot; 0: nothing there
    uint64_t pinned_unattributed_bytes[3]; // holes of that snapshot that no sampled survivor stands for: the sum of all
                                          // sites' pinned_bytes[i] and this is its holes_bytes
    uint32_t pinned_last;  // the place of the last snapshot
    uint32_t pinned_worst; // the place of snapshot_worst (may be the same)

    // What the recording has cost so far.
    uint64_t snapshots_cpu_ns; // processor time
    uint64_t samples_ns;       // time in the sampler, all threads
} recording_header_t;

// --- modules -----------------------------------------------------------------------------------------------------------

// A library that was closed and another one at its addresses are two modules: frames name theirs by index. Module 0 is
// "none known": no record of the file stands for it, its record is empty.
typedef struct recording_module {
    uint64_t start, end; // addresses; start is where offset 0 of the file is mapped
    uint64_t bias;       // address in the process = bias + address in the file's symbol table
    uint64_t first_ns;   // first seen
    recording_text_t path;   // as the loader knows it; empty: no file (vdso)
    uint32_t build_id_bytes; // 0: it has none
    uint8_t build_id[36];
} recording_module_t;

// --- threads -----------------------------------------------------------------------------------------------------------

// Threads of one name are one record. Record 0 is for those that found no room.
typedef struct recording_thread {
    char name[16]; // as of the sample; ends with 0
    uint32_t first_tid;
    uint32_t reserved;
    uint64_t samples; // births by threads of this name
} recording_thread_t;

// --- sizes -------------------------------------------------------------------------------------------------------------

// Record i counts the requests of recording_size_from(i) .. recording_size_from(i + 1) - 1 bytes: every 16 bytes up to
// 1 KiB, then 16 steps a doubling. Estimates, from the samples. With RECORDING_FULL_DISK the last record below 16 KiB may
// count larger sizes, too: those for which the file had no room.
typedef struct recording_size {
    uint64_t allocated_blocks, live_blocks; // times RECORDING_BLOCK
    uint64_t allocated_requested_bytes, live_requested_bytes;
} recording_size_t;

#define RECORDING_SIZE_STEP_SHIFT 4
#define RECORDING_SIZE_LINEAR_SHIFT 10 // up to here in steps of 16
#define RECORDING_SIZES_MAX (64u + (48 - RECORDING_SIZE_LINEAR_SHIFT) * 16)

// Sizes 1..16 are record 0, 17..32 record 1, ..., 1009..1024 record 63, 1025..1088 record 64.
static inline uint32_t recording_size_index(uint64_t requested_bytes)
{
    uint64_t last = requested_bytes == 0 ? 0 : requested_bytes - 1;
    if (last < (uint64_t)1 << RECORDING_SIZE_LINEAR_SHIFT)
        return (uint32_t)(last >> RECORDING_SIZE_STEP_SHIFT);
    uint32_t highest = 63 - (uint32_t)__builtin_clzll(last);
    uint32_t step = (uint32_t)(last >> (highest - RECORDING_SIZE_STEP_SHIFT)) & 15;
    uint32_t index = 64 + (highest - RECORDING_SIZE_LINEAR_SHIFT) * 16 + step;
    return index < RECORDING_SIZES_MAX ? index : RECORDING_SIZES_MAX - 1;
}

// The smallest size that record `index` counts.
static inline uint64_t recording_size_from(uint32_t index)
{
    if (index < 64)
        return ((uint64_t)index << RECORDING_SIZE_STEP_SHIFT) + 1;
    uint32_t highest = RECORDING_SIZE_LINEAR_SHIFT + (index - 64) / 16;
    return ((uint64_t)1 << highest) + ((uint64_t)((index - 64) % 16) << (highest - RECORDING_SIZE_STEP_SHIFT)) + 1;
}

// --- snapshots ---------------------------------------------------------------------------------------------------------

typedef enum recording_reason {
    RECORDING_AT_HIGH = 1,    // resident or live bytes passed a new high by 5 %
    RECORDING_AT_CHANGE = 2,  // they changed by a tenth since the last one
    RECORDING_AT_TIME = 3,    // it was long ago
    RECORDING_AT_REQUEST = 4, // a signal or a call of the program's asked for it
    RECORDING_AT_END = 5,     // exit, or a fatal signal
    RECORDING_AT_START = 6,
} recording_reason_t;

// The balance sheet. Names and equations: docs/statistics.md. They hold in each complete snapshot, exactly.
//
//   | recording_snapshot_t | recording_class_t x snapshot_classes | recording_cell_t x snapshot_cells |     = one stride
typedef struct recording_snapshot {
    uint64_t number_begin; // 1, 2, 3, ...; 0: never used
    uint64_t reason;       // recording_reason_t
    uint64_t time_ns;      // from the start
    uint64_t cpu_ns;       // processor time of the process
    uint64_t clock_bytes;  // as in the header, then
    uint64_t rss_bytes, peak_rss_bytes, other_rss_bytes;
    uint64_t process_known; // 0: rss_bytes is heap_rss_bytes
    uint64_t heap_rss_bytes;
    uint64_t requested_bytes, rounding_bytes, holes_bytes, tail_bytes, retained_bytes, pending_bytes, metadata_bytes,
        untouched_bytes;
    uint64_t live_bytes, live_blocks, allocated_total, freed_total;
    uint64_t requested_error_bytes, requested_exact;
    uint64_t large_blocks, large_bytes, large_allocated_total, large_cached_bytes;
    uint64_t mapped_bytes, mapped_peak_bytes, purged_total_bytes, budget_bytes;
    uint64_t heaps, heaps_orphaned, threads;
    uint64_t live_samples, live_weighted_bytes; // the profile, then
    uint64_t class_count; // classes that follow
    uint64_t cell_count;  // cells that follow them, at offset sizeof + snapshot_classes * sizeof(recording_class_t)
    uint64_t cell_pages;  // each cell stands for so many pages, or large blocks, like its own: 1, or more if thinned
    uint64_t reserved[15];
    uint64_t number_end;
} recording_snapshot_t;

// A size class, smallest first. index + 1 is its number.
typedef struct recording_class {
    uint64_t block_bytes, page_bytes, pages, live_blocks, allocated_total;
    uint64_t requested_bytes, requested_error_bytes, rounding_bytes, holes_bytes, tail_bytes, pending_bytes,
        untouched_bytes;
} recording_class_t;

enum {
    RECORDING_CELL_SAMPLED = 1 << 0, // a live sampled block lies in it: find it in the samples by address
    RECORDING_CELL_FREE = 1 << 1,    // a page or an extent without an owner; class 0
    RECORDING_CELL_LARGE = 1 << 2,   // a large block; class 0
};

// The heap map: a page, or a large block. Lengths in RECORDING_CELL_UNIT.
typedef struct recording_cell {
    uint64_t address;
    uint32_t length;
    uint32_t live;     // in live blocks
    uint32_t resident;
    uint16_t class;    // number of the class; 0: see flags
    uint16_t flags;
} recording_cell_t;

// --- sites -------------------------------------------------------------------------------------------------------------

// A frame: number of its module in the upper 16 bits, address in the lower 48. Addresses are return addresses: the call
// is before it, so look up address - 1.
#define RECORDING_FRAME_ADDRESS_BITS 48
#define RECORDING_FRAME_ADDRESS(frame) ((frame) & (((uint64_t)1 << RECORDING_FRAME_ADDRESS_BITS) - 1))
#define RECORDING_FRAME_MODULE(frame) ((uint32_t)((frame) >> RECORDING_FRAME_ADDRESS_BITS))

enum {
    RECORDING_SITE_CUT = 1 << 0, // the stack goes on beyond the outermost frame
};

// Blocks are times RECORDING_BLOCK; bytes are those of whole blocks, *_requested of what was asked for.
typedef struct recording_counts {
    uint64_t blocks, bytes, requested_bytes;
} recording_counts_t;

// Site 0 has no frames: it takes what found no room. The frames of one stack in several classes are the same ones.
typedef struct recording_site {
    uint64_t stack_hash;   // equal for equal stacks
    uint64_t frames_first; // index in the frames
    uint32_t depth;        // frames
    uint32_t class;        // number of the size class; 0: large blocks
    uint32_t flags;        // RECORDING_SITE_...
    uint32_t reserved;
    uint64_t first_ns, last_ns; // of the first and last sample
    uint64_t allocated_samples, freed_samples, live_samples; // samples behind the estimates
    recording_counts_t allocated, freed, live; // allocated - freed is live, but for blocks that realloc resized in place
                                              // and samples that were thinned
    // At the highest live_weighted_bytes. Read by: recording_site_at_peak.
    recording_counts_t peak;
    uint64_t peak_epoch;
    // What died, by its age in bytes allocated meanwhile; sums of `freed`.
    recording_counts_t died_young, died_middle, died_old;
    // Holes in the pages of this site's survivors, shared among all survivors of the page: see the header's pinned_*.
    uint64_t pinned_bytes[3];
    uint64_t pinned_samples[3]; // survivors they rest on
} recording_site_t;

// A site's part in the highest sum of live bytes: what it had when the last peak was, kept until that changes.
static inline recording_counts_t recording_site_at_peak(const recording_site_t *site, uint64_t header_peak_epoch)
{
    return site->peak_epoch == header_peak_epoch ? site->peak : site->live;
}

// --- samples -----------------------------------------------------------------------------------------------------------

typedef enum recording_sample_state { RECORDING_SAMPLE_FREE = 0, RECORDING_SAMPLE_LIVE = 1 } recording_sample_state_t;

typedef struct recording_sample {
    uint64_t birth_number; // 1, 2, 3, ... in order of birth
    uint64_t address;
    uint64_t requested_bytes, block_bytes;
    uint64_t weight;      // in RECORDING_BLOCK; bytes it stands for: weight * block_bytes / RECORDING_BLOCK
    uint64_t birth_clock_bytes; // the header's clock_bytes then: the age is the difference
    uint64_t birth_ns;    // from the start
    uint32_t site;
    uint32_t thread;      // index in the threads
    uint32_t tid;
    uint32_t state;       // recording_sample_state_t; written last at birth, first at death
    // Its page, as of snapshot page_number (0: none yet, or a large block).
    uint64_t page_number;
    uint64_t page_holes_bytes; // free and resident in the page
    uint32_t page_live_blocks; // in it
    uint32_t reserved;
} recording_sample_t;

static inline uint64_t recording_weighted(uint64_t weight, uint64_t bytes)
{
    return (uint64_t)(((unsigned __int128)weight * bytes) >> 16);
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a recording is little endian"
#endif
_Static_assert(sizeof(recording_table_t) == 32, "layout");
_Static_assert(sizeof(recording_header_t) <= 4096, "the header is one OS page");
_Static_assert(sizeof(recording_module_t) == 80, "layout");
_Static_assert(sizeof(recording_thread_t) == 32, "layout");
_Static_assert(sizeof(recording_size_t) == 32, "layout");
_Static_assert(sizeof(recording_snapshot_t) == 448, "layout");
_Static_assert(sizeof(recording_class_t) == 96, "layout");
_Static_assert(sizeof(recording_cell_t) == 24, "layout");
_Static_assert(sizeof(recording_counts_t) == 24, "layout");
_Static_assert(sizeof(recording_site_t) == 296, "layout");
_Static_assert(sizeof(recording_sample_t) == 96, "layout");

#endif
