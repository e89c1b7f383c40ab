// pool/survey.h - a read-only walk that shows the heap as plain data. Nothing else shows it to the layers above.
//
//   heap_rss_bytes = requested + rounding + holes + tail + retained + pending + metadata - untouched
//   live_bytes     = requested + rounding          (exact, and so are the counts per class)
//
// Resident bytes are the kernel's (PAGEMAP_SCAN over the pool's own ranges, or mincore on kernels before 6.7, which takes
// memory that was read but never written for resident), OS page by OS page; each resident byte is charged to one cause.
// While other threads allocate, the walk sees each page at its own instant: every sum still closes, and the counts are exact
// for all threads that are not inside the allocator.
#ifndef TARN_SURVEY_H
#define TARN_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bits.h"

#define SURVEY_CLASSES_MAX 128
#define SURVEY_RANGES_MAX 64

// One size class. All *_bytes are resident bytes unless said otherwise. All zero, and never written, where a class was not used: a
// small program's need few OS pages.
typedef struct survey_class {
    uint64_t pages;           // pages that belong to the class now
    uint64_t live_blocks;     // blocks the program holds: exact
    uint64_t allocated_total; // blocks handed to the program since the start: exact
    uint64_t requested_bytes; // of the live blocks: exact or estimated, see survey_t
    uint64_t rounding_bytes;  // live_blocks * survey_block_bytes - requested_bytes
    uint64_t holes_bytes;     // free bytes in pages that also hold live blocks
    uint64_t tail_bytes;      // page ends that fit no block
    uint64_t pending_bytes;   // freed by another thread, not yet taken back
    uint64_t untouched_bytes; // live, but not resident
    double requested_error;   // half the 95 % interval of requested_bytes; 0 when exact
} survey_class_t;

typedef struct survey_range {
    uintptr_t start, end; // a range of addresses in which every resident byte is the pool's
    const char *name;     // "small", "medium", "large", "metadata", ...
} survey_range_t;

typedef struct survey {
    uint64_t heap_rss_bytes; // sum of resident bytes in the ranges below
    uint64_t live_bytes, requested_bytes, rounding_bytes, holes_bytes, tail_bytes, retained_bytes, pending_bytes,
        metadata_bytes, untouched_bytes;
    uint64_t live_blocks, allocated_total, freed_total; // blocks of all classes and large blocks
    double requested_error;                             // half the 95 % interval; 0 when exact
    bool requested_exact;
    uint64_t large_blocks, large_bytes;   // live blocks mapped alone, their bytes (in live_bytes too)
    uint64_t large_allocated_total;       // since the start
    uint64_t large_cached_bytes;          // freed large mappings kept resident (in retained_bytes too)
    uint64_t mapped_bytes, mapped_peak_bytes; // bytes in pages and large blocks in use, now and at most ever
    uint64_t purged_total_bytes;          // given back to the kernel since the start
    uint64_t budget_bytes;                // how much free memory may stay resident now
    uint32_t heaps, heaps_orphaned;       // heaps of living threads, heaps waiting for a new thread
    uint32_t class_count, range_count;
    survey_range_t ranges[SURVEY_RANGES_MAX]; // the first of them, where there are more (large blocks mapped alone)
    survey_class_t classes[SURVEY_CLASSES_MAX]; // in order of block size. Last, where a report's text follows
} survey_t;

// A page, or a large block's addresses, as a walk comes by.
typedef enum survey_kind { SURVEY_PAGE, SURVEY_FREE_PAGE, SURVEY_LARGE, SURVEY_LARGE_FREE } survey_kind_t;

typedef struct survey_page {
    uintptr_t start;
    uint64_t bytes;          // of addresses; of a large block, those in use
    uint64_t resident_bytes;
    uint64_t live_bytes;     // of live blocks, whole
    uint64_t holes_bytes;    // its part of the class's holes_bytes
    uint32_t live_blocks;
    uint32_t block_bytes;    // blocks start at start + i * block_bytes, in a mosaic not at each; 0 in a large block
    survey_kind_t kind;
    uint16_t class;          // number of the class: index in classes, plus 1; 0 if it has none
    bool sampled;            // a live sampled block is in it (sample.h); not known of large blocks
} survey_page_t;

// Told of every page, while the walk holds the pool's locks: may not allocate or free.
typedef struct survey_visitor {
    void (*visit)(void *context, const survey_page_t *page);
    void *context;
} survey_visitor_t;

// Of the class of this index in `classes`: size of a block, and of a page.
RARE uint64_t survey_block_bytes(unsigned class);
RARE uint64_t survey_page_bytes(unsigned class);

// Fills *out. Takes the pool's locks one after the other; allocates nothing; any thread, not in a signal handler that
// interrupted the pool. A survey_t is about 16 KiB: keep it off small stacks.
RARE void survey_take(survey_t *out);

// A survey_take of the calling thread was left by a jump: gives the locks back that it held.
RARE void survey_abandon(void);

// The same without any lock, for a process that is about to die of a fatal signal.
RARE void survey_take_unlocked(survey_t *out);

// Whether a survey would show classes: not before the pool has started.
RARE bool survey_has_classes(void);

// Bytes in use and kept, about, from two counters: whether it may be time for a survey.
uint64_t survey_glance(void);

// Either of them, and what it comes by is shown.
RARE void survey_take_pages(survey_t *out, const survey_visitor_t *visitor, bool locked);

// The pool's own tables, whole OS pages, each a range of addresses of which the end may be reserved only. Takes no lock: one that is made
// meanwhile may be missed.
RARE void survey_tables(void (*visit)(const char *start, const char *end, void *context), void *context);

#endif
