// pool/zone.h - the address ranges of pages, and the pages in them that nobody owns: get, give back, purge.
//
//   zone   | page 0 | page 1 | ... | fresh -> never used, readable | committed -> reserved only |
//
// One zone a kind (small low and high, medium 1..3) is reserved at the start, as large as the machine's memory and next to each
// other; where addresses are scarce (RLIMIT_AS) they are modest, and more are added as needed. free finds a page by
// arithmetic in the first small zone, and by zone_page_of everywhere else.
// A free page is dirty (resident, in part at least) or clean (given back). Dirty ones go first, lowest address first;
// purging starts at the highest address. Everything here is [LOCK_ZONES] unless said otherwise.
#ifndef TARN_ZONE_H
#define TARN_ZONE_H

#include "bitset.h"
#include "huge.h"
#include "lock.h"
#include "page.h"

#define ZONES_MAX 16u // 4 bits of a page_id_t
// The level from which on of each group of pages the last is a guard.
#define HARDEN_GUARDS 2

#define ZONE_KINDS (SMALL_ZONES + MEDIUM_ZONES)

typedef struct zone {
    char *base;       // [const] these five until the zone is left (zone_leave): then NULL and 0
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
    huge_table_t huge;
    size_t meta_bytes;          // [const] reserved for descriptors and sets
} zone_t;

// What free needs of the first small zone. Three variables and not a struct: the compiler would spend an instruction of
// the fast path on the struct's address.
POOL_LOCAL extern uintptr_t zone_front_base;   // [const] after the start
POOL_LOCAL extern size_t zone_front_limit;     // [atomic] bytes from base whose descriptors may be read; only grows, relaxed: who
                                    // frees a block has seen it grow
POOL_LOCAL extern page_t *zone_front_pages;    // [const] after the start
// The same of the second, for blocks above 256 B.
POOL_LOCAL extern uintptr_t zone_high_base;
POOL_LOCAL extern size_t zone_high_limit;
POOL_LOCAL extern page_t *zone_high_pages;
// The same of the medium ones. A limit of 0: there is no such zone.
POOL_LOCAL extern size_t zone_medium_limit[MEDIUM_ZONES];
POOL_LOCAL extern page_t *zone_medium_pages[MEDIUM_ZONES];
extern lock_t zone_lock;

// Reserves the first zones. False: no addresses at all.
bool zone_start(void);
// Largest request that the zones serve; above it blocks are mapped alone.
size_t zone_max_bytes(void);

// Whether a page of the class would be one that is resident already. Read without the lock: about.
bool zone_has_dirty(unsigned class);
// A page for blocks of `class`, initialised, with owner. NULL: no memory.
page_t *zone_page_alloc(unsigned class, heap_t *owner);
// Takes back an empty page. Its owner's lists must have forgotten it.
void zone_page_free(page_t *page);
// Gives free pages' memory back, highest addresses first, until `bytes` are purged or none is left. Returns the bytes.
// Huge pages that are free whole go whole. Those that are partly used: not at all, or, if need be, in part. long: only
// runs that are cheap for their length.
size_t zone_purge_long(size_t bytes);
size_t zone_purge_whole(size_t bytes);
size_t zone_purge(size_t bytes);
// os_purge for a part of a page that its owner keeps: a huge page it lies in is split first.
bool zone_purge_inside(const page_t *page, void *from, size_t bytes);
// When memory is refused: what is clean is reserved only, so that others can have it. Returns the bytes.
RARE size_t zone_withdraw(void);
// When addresses are refused: gives those of zones that were added and hold no used page back. Returns the bytes.
RARE size_t zone_leave_empty(void);
// Between the two no zone is left, so that descriptors of all zones can be read without the lock.
RARE void zone_stay_begin(void);
RARE void zone_stay_end(void);

// What free needs of a zone of the start, in 16 bytes: an index is a shift.
typedef struct zone_place {
    page_t *pages;          // [const]
    _Atomic uint32_t fresh; // as in zone_t
    uint32_t shift;         // [const]
} zone_place_t;

POOL_LOCAL extern zone_t zones[ZONES_MAX];
POOL_LOCAL extern zone_place_t zone_places[ZONE_KINDS];
POOL_LOCAL extern size_t zone_first_count;   // [const] zones reserved at the start, side by side, all of one size
POOL_LOCAL extern size_t zone_first_bytes;   // [const] size of each
POOL_LOCAL extern size_t zone_first_mask;    // [const] the same, less one
POOL_LOCAL extern unsigned zone_first_shift; // [const] its log2

page_t *zone_page_of_later(const void *address); // in the zones added since the start

// The same in the zones of the start; NULL if it is in none of them.
static inline page_t *zone_page_of_first(const void *address)
{
    size_t offset = (uintptr_t)address - zone_front_base, which = offset >> zone_first_shift;
    if (unlikely(which >= zone_first_count))
        return NULL;
    zone_place_t *place = &zone_places[which];
    size_t index = (offset & zone_first_mask) >> place->shift;
    return likely(index < atomic_load_explicit(&place->fresh, memory_order_acquire)) ? &place->pages[index] : NULL;
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

// Resident bytes of a free page, at most.
size_t zone_page_dirty_bytes(const page_t *page);

unsigned zone_count(void);
zone_t *zone_get(unsigned index);
const char *zone_name(const zone_t *zone);

#endif
