// pool/zone.h - the address ranges of pages: reserved, committed, added to, and how a page is found by an address in it.
//
//   zone   | page 0 | page 1 | ... | fresh -> never used, readable | committed -> reserved only |
//
// One zone a kind (small low and high, medium 1..3) is reserved at the start, as large as the machine's memory and next to each
// other; where addresses are scarce (RLIMIT_AS) they are modest, and more are added as needed. free finds a page by the front map
// in the small zones of the start, by zone_page_find in the medium ones, and by zone_page_of everywhere else.
// Which pages are free, and what becomes of them, is told above this file: zone_sets.h, zone_page.h (get and give back),
// zone_purge.h. Everything here is [LOCK_ZONES] unless said otherwise.
#ifndef TARN_ZONE_H
#define TARN_ZONE_H

#include "bitset.h"
#include "huge.h"
#include "lock.h"
#include "page.h"

#define ZONES_MAX 16u // 4 bits of a page_id_t
// Addresses become memory so many bytes at a time at least: few system calls.
#define ZONE_COMMIT_LEAST_BYTES ((size_t)256 << 10)

#define ZONE_KINDS (SMALL_ZONES + MEDIUM_ZONES)

// A table of a layer above, with so many bytes for each page: usable as far as pages are described. What is reserved only costs nothing
// where a process locks its memory (mlockall), or committed memory counts.
#define ZONE_SIDES 4u // three planes of block_bits, and requested's sizes
typedef struct zone_side {
    char *start; // NULL: none
    size_t page_bytes;
} zone_side_t;

typedef struct zone {
    char *base;       // [const] these five until the zone is left (zone_remove): then NULL and 0
    page_t *pages;    // [const] descriptors
    uint32_t bound;   // [const] pages reserved
    uint8_t shift;    // [const] log2 of the page size
    uint8_t kind;     // [const] 0, 1 = small (low, high), 2..4 = medium
    uint8_t index;    // [const]
    _Atomic uint32_t fresh;     // pages ever used
    _Atomic uint32_t committed; // pages that may be used
    _Atomic uint32_t described; // pages whose descriptors may be read: as many as were ever committed
    bitset_t dirty, clean;      // free pages below fresh
    uint32_t guards;            // pages below fresh that are guards
    uint32_t owned_peak;        // most owned pages of late (zone_sets_owned)
    uint64_t owned_peak_ms;     // when it last sank, or a purge found half of it still owned
    huge_table_t huge;
    size_t meta_bytes;          // [const] reserved for descriptors and sets
    zone_side_t sides[ZONE_SIDES]; // the first ones; a zone with any is never left
} zone_t;

// What free needs of the two small zones of the start, which stand side by side. Three variables and not a struct: the compiler
// would spend an instruction of the fast path on the struct's address.
//
// The front map leads from an address to its page's descriptor, whatever the page's size: which of the two zones a block lies in
// is a branch that no processor can foresee where sizes are mixed. One entry for each 16 KiB: how far the descriptor is from the
// map's start. 0 where no page ever was; that leads to the map's own first entries, which stay 0, since page 0 is never used: for
// a free, a descriptor without an owner.
typedef intptr_t front_entry_t;
_Static_assert(offsetof(page_t, owner) == 0 && sizeof(((page_t *)0)->owner) == sizeof(front_entry_t), "its first entry is an owner word");
POOL_LOCAL extern uintptr_t zone_front_base;   // [const] after the start
POOL_LOCAL extern size_t zone_front_limit;     // [const] after the start; bytes of both. 0: not started
POOL_LOCAL extern const front_entry_t *zone_front_map; // [const] after the start; an entry is set before a block of its page is handed out

// offset: from zone_front_base, below zone_front_limit. A descriptor, or what can be read as one that has no owner.
static inline page_t *zone_front_page(size_t offset)
{
    const front_entry_t *map = zone_front_map;
    return (page_t *)((uintptr_t)map + (uintptr_t)map[offset >> LOW_PAGE_SHIFT]);
}

// From an address in the map to the map's end; 0: it is not in it. What of it is not in use can be read, but holds nothing.
RARE size_t zone_front_bytes_from(uintptr_t address);
// The map's parts that are in use, in memory of their own: of the first small zone, and of the second. NULL: none.
void zone_front_bounds(unsigned zone, char **start, char **end);

extern lock_t zone_lock;

// Adds `count` tables, zero, each `apart_bytes` (whole OS pages) behind the one before. The caller holds the lock. NULL: no memory.
RARE char *zone_sides_add(zone_t *zone, unsigned count, size_t page_bytes, size_t apart_bytes);

// Reserves the zones of the start. False: no addresses at all.
bool zone_start(void);
// Largest request that the zones serve; above it blocks are mapped alone.
size_t zone_max_bytes(void);

// Another zone of the kind, twice as large as all that there are of it, or as large as can be had. False: no addresses.
APART bool zone_extend(unsigned kind);
// Gives up the addresses of one that was added, and its place. Nothing of it is in use.
RARE void zone_remove(zone_t *zone);
// Makes some more of its pages usable (`committed`), an eighth of what there is or at least one. False: no memory, or it is
// all committed.
bool zone_commit_more(zone_t *zone);
// The next page that was never used, `zone->fresh` or behind it, gets its descriptor, initialised for blocks of `class`; it
// must be committed. It can be found from its addresses when zone_fresh_set has passed it.
page_t *zone_fresh_begin(zone_t *zone, uint32_t index, unsigned class);
void zone_fresh_set(zone_t *zone, uint32_t fresh);
// Pages a whole number of which makes up OS pages: 1 where a page is not smaller than those. No lock.
uint32_t zone_grain(const zone_t *zone);

// What leads from an address in a zone of the start to its page's descriptor. Offsets are from zone_front_base.
#define ZONE_PLACE_SHIFT 5 // log2 of its size, so that an index is a shift
typedef struct zone_place {
    _Alignas(1 << ZONE_PLACE_SHIFT) page_t *from; // [const] where offset 0 would have its descriptor if all before were such pages, too
    _Atomic size_t end; // offset behind the pages ever used; only grows. 0: there is no such zone
    uint32_t shift;     // [const] offset to bytes of descriptors, of which those below a descriptor's size do not count
} zone_place_t;
#define ZONE_PLACES 8u // a power of two, so that any offset has a place, whose end tells whether it is the right one

_Static_assert(sizeof(zone_place_t) == 1 << ZONE_PLACE_SHIFT && ZONE_PLACES >= ZONE_KINDS, "an index is a shift and a mask");

POOL_LOCAL extern zone_t zones[ZONES_MAX];
POOL_LOCAL extern zone_place_t zone_places[ZONE_PLACES];
POOL_LOCAL extern unsigned zone_place_shift; // [const] offset to bytes of zone_places, of which those below a place's size do not count
POOL_LOCAL extern size_t zone_first_count;   // [const] zones reserved at the start, side by side, all of one size
POOL_LOCAL extern size_t zone_first_bytes;   // [const] size of each

page_t *zone_page_of_later(const void *address); // in the zones added since the start

// Finds the page that an offset from zone_front_base lies in. False: it is in no zone of the start. By a table and no comparison:
// which zone a block lies in is a branch that no processor can foresee where sizes are mixed.
static inline bool zone_page_find(size_t offset, page_t **page)
{
    const unsigned shift = __atomic_load_n(&zone_place_shift, __ATOMIC_RELAXED); // not before it is wanted
    const size_t in_places = offset >> shift & (ZONE_PLACES - 1) << ZONE_PLACE_SHIFT;
    const zone_place_t *place = (const zone_place_t *)((uintptr_t)zone_places + in_places);
    __asm__("" : "+r"(place)); // one address for all its members: gcc would else reckon it three times
    if (unlikely(offset >= atomic_load_explicit(&place->end, memory_order_acquire)))
        return false;
    *page = (page_t *)((uintptr_t)place->from + (offset >> place->shift & ~(sizeof(page_t) - 1)));
    return true;
}

// The same by the address; NULL: it is in none.
static inline page_t *zone_page_of_first(const void *address)
{
    page_t *page;
    return likely(zone_page_find((uintptr_t)address - zone_front_base, &page)) ? page : NULL;
}

// The page that an address lies in, owned or not; NULL if it is in no zone. Any thread, no lock.
static inline page_t *zone_page_of(const void *address)
{
    page_t *page = zone_page_of_first(address);
    return likely(page != NULL) ? page : zone_page_of_later(address);
}

static inline page_t *zone_page_by_id(page_id_t id)
{
    return id == 0 ? NULL : &zones[id >> PAGE_ID_ZONE_SHIFT].pages[id & (((page_id_t)1 << PAGE_ID_ZONE_SHIFT) - 1)];
}

static inline page_id_t zone_page_id(const page_t *page)
{
    return (page_id_t)page->zone << PAGE_ID_ZONE_SHIFT | (page_id_t)(page - zones[page->zone].pages);
}

// log2 of the pages in a huge page. Where one is a page or less there are no regions (huge.h), and it is not asked for.
static inline unsigned zone_region_shift(const zone_t *zone)
{
    return HUGE_SHIFT - zone->shift;
}

// Of the region that a page is in. No lock.
static inline huge_state_t zone_huge_state(const page_t *page)
{
    const zone_t *zone = &zones[page->zone];
    return huge_state(&zone->huge, (uint32_t)(page - zone->pages) >> zone_region_shift(zone));
}

// Any thread, no lock. A zone that was left counts, with `base` NULL.
unsigned zone_count(void);
zone_t *zone_get(unsigned index);
const char *zone_name(const zone_t *zone);

#endif
