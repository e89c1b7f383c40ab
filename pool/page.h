// pool/page.h - a page: one run of equal-sized blocks, owned by one heap. The descriptor stands out of band, 64 bytes
// in a table by zone, so that no overflow of a block reaches it and a pointer leads to it by arithmetic, or by one load (zone.h).
//
//   small page    | block 0 | block 1 | ... | block n-1 | tail |      carved in steps of 4 KiB, in any order
//                 |<-- carve step 0 --->|<-- step 1 -->| ...          a block belongs to the step it starts in
//
//   medium page   | block 0 | ... | block n-1 | tail |                one bit a free block, in dirty_bits or clean_bits
//
// A small page's blocks are each in exactly one place: live, on the owner's head list, on `list`, on `remote`, or not
// carved. Two lists (head and list) so that both the owner's malloc and its free stay free of atomics and of counters:
// free counts `left` down, and its zero is the one event that matters (page empty, or a fullness bucket crossed).
//
//   small:   used = floor + left;   used + |list| = carved blocks (used counts live, head and remote ones)
//   medium:  used = floor + left;   used + |dirty_bits| + |clean_bits| = block_count
//
// A medium page's bits alone say how many of its blocks are used. While it is the current one, `left` is not kept (its
// last block's free changes nothing): so neither malloc nor free counts.
//
// [const] fixed while the page belongs to a class   [owner] the owning heap's thread, or its deputy (heap.h), and who is about to free
// a block of it glances at some   [atomic] anyone
// [zone] the lock of zones, while the page has no owner   [mosaics] the lock of mosaics
#ifndef TARN_PAGE_H
#define TARN_PAGE_H

#include <stdatomic.h>

#include "size_class.h"

typedef struct block {
    struct block *next;
} block_t;

typedef struct heap heap_t;
typedef struct mosaic mosaic_t;

// Where the owner keeps the page.
typedef enum page_place {
    PAGE_FREE,      // no owner: in its zone's set of free pages, or never used
    PAGE_WITHDRAWN, // the same, clean, and its addresses are reserved only
    PAGE_CURRENT,   // blocks are taken from it now
    PAGE_LISTED,    // in bucket `bucket`: has blocks to give
    PAGE_UNLISTED,  // no (small: few) blocks to give
    PAGE_MOSAIC,    // in no heap: see mosaic.h
    PAGE_GUARD,     // never used: it cannot be accessed (zone_guard.h)
} page_place_t;

// How what is clean in a page became so: whose mistake it was if it is wanted again.
typedef enum page_purged { PURGED_NEVER, PURGED_WHOLE, PURGED_INSIDE } page_purged_t;

// A page's number over all zones: zone in the upper 4 bits, index below. 0 is "none": zone 0's first page is not used.
typedef uint32_t page_id_t;
#define PAGE_ID_ZONE_SHIFT 28

typedef struct page {
    _Atomic(heap_t *) owner; // [atomic] written under LOCK_HEAPS or by the owner; NULL: free page, or mosaic. Bit 0:
                             // PAGE_MARK, bit 1: PAGE_IN_MOSAIC
    union {
        block_t *list;      // [owner] small: the owner's free pushes here
        uint64_t dirty_bits; // [owner] medium: free blocks that may be resident
        uint64_t free_words; // [owner] hardened small: which words of bits have free blocks (block_bits.h)
    };
    uint16_t left;   // [owner] frees until the next event
    uint16_t floor;  // [owner] used blocks when the event comes
    uint8_t class;   // [const]
    uint8_t place;   // [owner] page_place_t
    union {
        uint8_t bucket; // [owner] small: list it is in, if PAGE_LISTED
        bool ahead;     // [owner] medium, the current page: resident whole before any of it was used, by a huge page
    };
    uint8_t purged;  // [owner] page_purged_t
    _Atomic uint64_t remote; // [atomic] blocks freed by others: see remote.h
    union {
        struct {
            page_id_t next, prev; // [owner] neighbours in the bucket
        };
        mosaic_t *mosaic;    // [mosaics] if it is one
    };
    page_id_t inbox_next;    // [atomic] next in an inbox: written by whoever queued the page
    uint16_t scanned;        // [owner] used blocks at the last search for empty OS pages; 0: none yet
    uint16_t zone;           // [const] index of the zone
    union {
        struct {
            uint32_t carved_count; // [owner] small: blocks in the carved steps
            uint16_t carved;       // [owner] small: carve steps done, a bit each
            uint16_t soiled;       // [owner] small: those, and steps that an earlier life of the page left resident
        };
        uint64_t clean_bits;   // [owner] medium: the other free blocks: not resident, they read as zero
    };
    char *start;         // [const] address of block 0
} page_t;

#define PAGE_SHIFT 6 // log2
_Static_assert(sizeof(page_t) == CACHE_LINE_BYTES, "free loads one line of a descriptor");
_Static_assert(sizeof(page_t) == 1 << PAGE_SHIFT, "and computes its address by shifts");

static inline const size_class_t *page_class(const page_t *page)
{
    return &size_class_table[page->class];
}

static inline bool page_is_small(const page_t *page)
{
    return page->class <= SMALL_CLASSES;
}

// In the owner word: the page holds a sampled block (sample.c, which alone sets and clears it), so that no free in it
// takes the fast path.
#define PAGE_MARK ((uintptr_t)1)
// The page is a mosaic: no heap owns it, the lock of mosaics guards it (mosaic.h). Its class, and which of its steps were
// carved, stay what they were: who frees a block of before need not have seen the change yet.
#define PAGE_IN_MOSAIC ((uintptr_t)2)

// With the mark, for the fast path: a marked page is nobody's there.
static inline heap_t *page_owner_word(page_t *page)
{
    return atomic_load_explicit(&page->owner, memory_order_relaxed);
}

static inline heap_t *page_owner(page_t *page)
{
    return (heap_t *)((uintptr_t)page_owner_word(page) & ~(PAGE_MARK | PAGE_IN_MOSAIC));
}

// The same, sequentially consistent.
static inline heap_t *page_owner_in_order(page_t *page)
{
    return (heap_t *)((uintptr_t)atomic_load_explicit(&page->owner, memory_order_seq_cst) &
                      ~(PAGE_MARK | PAGE_IN_MOSAIC));
}

static inline bool page_is_mosaic(page_t *page)
{
    return ((uintptr_t)page_owner_word(page) & PAGE_IN_MOSAIC) != 0;
}

static inline bool page_is_marked(page_t *page)
{
    return ((uintptr_t)page_owner_word(page) & PAGE_MARK) != 0;
}

// Each changes a part of the owner word and leaves the other.
void page_mark(page_t *page);
void page_unmark(page_t *page);
void page_owner_change(page_t *page, heap_t *owner);
void page_owner_mosaic(page_t *page); // no heap any more

// Medium: what is free. Dirty ones first, since a purge makes them clean, and a reader of another thread must not miss
// them in between. Inlined, so that it is part of the function that glances (GLANCES).
static inline __attribute__((always_inline)) uint64_t page_free_bits(const page_t *page)
{
    uint64_t dirty = __atomic_load_n(&page->dirty_bits, __ATOMIC_ACQUIRE);
    return dirty | page->clean_bits;
}

// Used blocks as `left` counts them: small, or medium and not the current page.
static inline unsigned page_used_counted(const page_t *page)
{
    return (unsigned)page->floor + page->left;
}

static inline unsigned page_used(const page_t *page)
{
    return page_is_small(page) ? page_used_counted(page)
                               : page_class(page)->block_count - bits_count(page_free_bits(page));
}

// `left` of a medium page that is the current one: it ends after so many frees, and means nothing.
#define PAGE_NO_EVENT UINT16_MAX

static inline char *page_block(const page_t *page, unsigned index)
{
    return page->start + (size_t)index * page_class(page)->block_bytes;
}

// Index of the block that contains the address; *exact: the address is its start. The tail counts as block n.
unsigned page_block_index(const page_t *page, const void *address, bool *exact);

static inline unsigned page_steps(const page_t *page)
{
    return page_class(page)->page_bytes >> CARVE_SHIFT;
}

// First block that starts in carve step `step` or later; page_step_first(page, page_steps(page)) = block_count.
static inline unsigned page_step_first(const page_t *page, unsigned step)
{
    const size_class_t *class = page_class(page);
    unsigned first = size_class_index(class, ((size_t)step << CARVE_SHIFT) + class->block_bytes - 1);
    return first < class->block_count ? first : class->block_count;
}

// Blocks in the given carve steps, a bit each.
static inline unsigned page_steps_count(const page_t *page, unsigned steps)
{
    unsigned count = 0;
    for (unsigned step = 0; step < page_steps(page); step++)
        if (steps >> step & 1)
            count += page_step_first(page, step + 1) - page_step_first(page, step);
    return count;
}

// Blocks carved so far.
static inline unsigned page_carved_count(const page_t *page)
{
    return page->carved_count;
}

// The page starts a life in `class`: nothing carved, nothing used. medium: clean says that its memory reads as zero.
void page_init(page_t *page, unsigned class, bool clean);

// Sets the number of used blocks at which the next event comes. small: used must be right before and stays right. owner.
void page_arm(page_t *page, unsigned floor);
// The same where `used`, the number of used blocks, is known.
static inline void page_arm_used(page_t *page, unsigned used, unsigned floor)
{
    page->floor = (uint16_t)floor;
    page->left = (uint16_t)(used - floor);
}

// Small pages (owner):
bool page_can_carve(const page_t *page);
// Carves one more step onto the empty list, a soiled one first. True: the step was not resident.
bool page_carve(page_t *page);
// Takes the whole list, for the head; *count is its length. All carved blocks are used then, and the page's event is the
// last one's free.
block_t *page_take_list(page_t *page, unsigned *count);
// Whether the second may be a block of the first one's page. A page of the low zone has fewer such bits; that leads into a
// neighbour at most, and is one test for both.
static inline bool page_is_within(const block_t *first, const block_t *second)
{
    const uintptr_t within = HIGH_PAGE_BYTES - GRANULE_BYTES;
    return (((uintptr_t)first ^ (uintptr_t)second) & ~within) == 0;
}
// Whether the list's first block is one, and the link in it ends the list or leads into the page: what neither a free into
// a block nor, mostly, a write into a freed one leaves so. Who makes a list the head list asks; only of these two, since
// malloc touches them next in any case (docs/decisions/025). class: the page's.
static inline bool page_list_looks_right(const page_t *page, const size_class_t *class)
{
    const block_t *first = page->list, *second;
    if (unlikely(size_class_index_exact(class, (size_t)((const char *)first - page->start)) >= class->block_count))
        return false;
    second = first->next;
    return second == NULL || likely(page_is_within(first, second));
}
// Ends the list before the first entry that is no block of the page, or that is one too many; what is behind stays used,
// and is lost. Returns that entry; *before: the block whose link led there, NULL if it was the list's first.
RARE const block_t *page_list_mend(page_t *page, const block_t **before);
// Puts `count` used blocks, linked first to last, back on the list. last may be NULL if the list is empty and the blocks
// end with NULL. The event, if one is due, is the caller's to see.
void page_put_list(page_t *page, block_t *first, block_t *last, unsigned count);
// Resident bytes of a page that is all free, or about to be, at most. Inlined for who glances, as page_free_bits.
static inline __attribute__((always_inline)) size_t page_dirty_bytes(const page_t *page)
{
    if (page_is_small(page))
        return bits_count(page->soiled) * CARVE_BYTES;
    return (size_t)(page_class(page)->block_count - bits_count(page->clean_bits)) * page_class(page)->block_bytes;
}
// The bucket for its number of used blocks.
unsigned page_fullness(const page_t *page);

// The equations above, bits and links within bounds. Returns NULL, or what is wrong. owner or quiet only.
const char *page_check(const page_t *page);

#endif
