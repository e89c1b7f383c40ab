// pool/zone.c - see zone.h.
#include "zone.h"

#include <assert.h>

#include "os_linux.h"

uintptr_t zone_front_base;
size_t zone_front_limit;
const front_entry_t *zone_front_map;
lock_t zone_lock = {.rank = LOCK_ZONES};

zone_t zones[ZONES_MAX];
zone_place_t zone_places[ZONE_PLACES];
size_t zone_first_count, zone_first_bytes;
unsigned zone_place_shift;
static _Atomic unsigned zones_used;

// What zone_page_of_later reads of a zone added since the start: a seqlock (Boehm, "Can seqlocks get along with
// programming language memory models?", MSPC 2012), since the zone may be left meanwhile and its place be taken. No
// fences, which ThreadSanitizer does not know: who reads what was stored after a change of generation sees the change.
typedef struct zone_later {
    _Atomic uint32_t generation; // how often a zone of this place was left, or came
    _Atomic uint32_t fresh, shift;
    _Atomic uintptr_t base;
    page_t *_Atomic pages;
} zone_later_t;
static zone_later_t zones_later[ZONES_MAX];
static size_t max_bytes;

// Bounds of a first zone's addresses. The least is what a small program touches; the most keeps all zones and the large
// tier well inside 47 bits. Where there are fewer (39 bits on some aarch64), five zones are a sixth of them, the large
// range (extent.c) a quarter, and the rest is the program's.
static const size_t zone_bytes_least = (size_t)2 << 20;
static const size_t zone_bytes_most = (size_t)1 << 40;
static const unsigned zone_space_shift = 5;
static const size_t zone_alignment = (size_t)2 << 20; // the largest page; also a huge page
static const size_t limited_max_bytes = (size_t)32 << 10; // 2 MiB pages would eat the addresses: those go alone
static const unsigned commit_growth_shift = 3; // an eighth more at a time: few system calls, little ahead of need

static unsigned shift_of_kind(unsigned kind)
{
    if (kind < SMALL_ZONES)
        return kind == 0 ? LOW_PAGE_SHIFT : HIGH_PAGE_SHIFT;
    return MEDIUM_1_PAGE_SHIFT + (kind - SMALL_ZONES) * MEDIUM_DOUBLINGS_PER_ZONE;
}

const char *zone_name(const zone_t *zone)
{
    static const char *const names[ZONE_KINDS] = {"tarn small", "tarn small", "tarn medium 1", "tarn medium 2",
                                                  "tarn medium 3"};
    return names[zone->kind];
}

unsigned zone_count(void)
{
    return atomic_load_explicit(&zones_used, memory_order_acquire);
}

zone_t *zone_get(unsigned index)
{
    return &zones[index];
}

size_t zone_max_bytes(void)
{
    return max_bytes;
}

// None where a page is as large as a huge one, but with huge=on: the blocks of such pages are often touched in part only.
static uint32_t regions_of(const zone_t *zone)
{
    bool fits = (zone->shift < HUGE_SHIFT || (zone->shift == HUGE_SHIFT && huge_is_on())) && (uintptr_t)zone->base % HUGE_BYTES == 0;
    return fits ? zone->bound >> zone_region_shift(zone) : 0;
}

// Descriptors, the two sets and the regions, in one reservation; the sets first, since they are committed whole.
static bool zone_meta_reserve(zone_t *zone)
{
    size_t regions_at = 2 * bitset_bytes(zone->bound);
    uint32_t regions = regions_of(zone) == 0 ? 0 : regions_of(zone) + 1; // the last one may be cut
    size_t set_bytes = align_up(regions_at + regions * sizeof(huge_region_t), os_page_bytes());
    zone->meta_bytes = set_bytes + align_up(zone->bound * sizeof(page_t), os_page_bytes());
    char *meta = os_reserve(zone->meta_bytes, os_page_bytes());
    if (meta == NULL)
        return false;
    if (!os_commit(meta, set_bytes)) {
        os_unmap(meta, zone->meta_bytes);
        return false;
    }
    os_name(meta, zone->meta_bytes, "tarn metadata");
    bitset_init(&zone->dirty, zone->bound, meta);
    bitset_init(&zone->clean, zone->bound, meta + bitset_bytes(zone->bound));
    zone->huge = (huge_table_t){.region = regions == 0 ? NULL : (huge_region_t *)(meta + regions_at),
                                .pages_each = (uint16_t)(1u << (regions == 0 ? 0 : zone_region_shift(zone)))};
    zone->pages = (page_t *)(meta + set_bytes);
    return true;
}

// Before a zone leaves its place, and before another one comes there: whoever had read `fresh` of the first between the two
// would else take it for the second's, whose pages may be larger, and find pages of the zones behind it there.
static void generation_end(zone_later_t *later)
{
    atomic_fetch_add_explicit(&later->generation, 1, memory_order_acq_rel);
}

// A place that a zone has left, or a new one.
static unsigned zone_index_free(void)
{
    unsigned index = 0;
    while (index < zone_count() && zones[index].base != NULL)
        index++;
    return index;
}

static bool zone_add(unsigned kind, char *base, size_t bytes)
{
    unsigned index = zone_index_free();
    if (index == ZONES_MAX)
        return false;
    zone_t *zone = &zones[index];
    unsigned shift = shift_of_kind(kind);
    size_t bound = bytes >> shift;
    bound = size_min(bound, ((size_t)1 << PAGE_ID_ZONE_SHIFT) - 1);
    *zone = (zone_t){.base = base, .bound = (uint32_t)bound, .shift = (uint8_t)shift, .kind = (uint8_t)kind,
                     .index = (uint8_t)index};
    if (!zone_meta_reserve(zone)) {
        zone->base = NULL;
        zone->bound = 0;
        return false;
    }
    zone_later_t *later = &zones_later[index];
    generation_end(later);
    atomic_store_explicit(&later->base, (uintptr_t)base, memory_order_release);
    atomic_store_explicit(&later->shift, shift, memory_order_release);
    atomic_store_explicit(&later->pages, zone->pages, memory_order_release);
    os_name(base, bytes, zone_name(zone));
    atomic_store_explicit(&zones_used, (unsigned)size_max(index + 1, zone_count()), memory_order_release);
    return true;
}

bool zone_extend(unsigned kind)
{
    size_t have = 0, least = size_max((size_t)1 << shift_of_kind(kind), ZONE_COMMIT_LEAST_BYTES);
    for (unsigned i = 0; i < zone_count(); i++)
        have += zones[i].kind == kind ? (size_t)zones[i].bound << zones[i].shift : 0;
    for (size_t bytes = size_max(have, least); bytes >= least; bytes /= 2) {
        char *base = os_reserve(bytes, size_min(zone_alignment, size_max(least, os_page_bytes())));
        if (base == NULL)
            continue;
        os_no_huge_pages(base, bytes);
        if (zone_add(kind, base, bytes))
            return true;
        os_unmap(base, bytes);
    }
    return false;
}

void zone_remove(zone_t *zone)
{
    size_t bytes = (size_t)zone->bound << zone->shift;
    zone_later_t *later = &zones_later[zone->index];
    generation_end(later);
    atomic_store_explicit(&later->fresh, 0, memory_order_release);
    os_unmap(zone->base, bytes);
    os_unmap(bitset_words(&zone->dirty), zone->meta_bytes); // its metadata starts there
    *zone = (zone_t){.index = zone->index};
}

// Of `kinds` zones from base on; so many of them are in their places.
static RARE void zones_give_up(char *base, size_t bytes_each, unsigned kinds, unsigned added)
{
    for (unsigned i = 0; i < added; i++) {
        os_unmap(bitset_words(&zones[i].dirty), zones[i].meta_bytes); // its metadata starts there
        zones[i].base = NULL;
    }
    os_unmap(base, bytes_each * kinds);
    atomic_store_explicit(&zones_used, 0, memory_order_relaxed);
}

static bool zones_reserve(size_t bytes_each, unsigned kinds)
{
    char *base = os_reserve(bytes_each * kinds, zone_alignment);
    if (base == NULL)
        return false;
    os_no_huge_pages(base, bytes_each * kinds);
    for (unsigned kind = 0; kind < kinds; kind++)
        if (!zone_add(kind, base + kind * bytes_each, bytes_each)) {
            zones_give_up(base, bytes_each, kinds, kind);
            return false;
        }
    return true;
}

// What lies between two addresses, but for an OS page that the one before shares with what is committed already.
static bool commit_between(const void *from, const void *to)
{
    uintptr_t start = align_up((uintptr_t)from, os_page_bytes()), end = align_up((uintptr_t)to, os_page_bytes());
    return start >= end || os_commit((void *)start, end - start);
}

// --- the front map ----------------------------------------------------------------------------------------------------

#define FRONT_UNIT_BYTES LOW_PAGE_BYTES // the smallest page: one entry

static size_t front_entries_each(void)
{
    return zone_first_bytes / FRONT_UNIT_BYTES;
}

// The entries of a small zone's page; those of the next page follow them.
static front_entry_t *front_entries(const zone_t *zone, uint32_t page)
{
    size_t first = zone->index * front_entries_each() + ((size_t)page << zone->shift) / FRONT_UNIT_BYTES;
    return (front_entry_t *)(uintptr_t)&zone_front_map[first];
}

static bool is_in_front(const zone_t *zone)
{
    return zone->index < SMALL_ZONES;
}

static void front_set(const zone_t *zone, uint32_t page)
{
    front_entry_t *entry = front_entries(zone, page), *end = front_entries(zone, page + 1);
    intptr_t distance = (intptr_t)((uintptr_t)&zone->pages[page] - (uintptr_t)zone_front_map);
    for (; entry < end; entry++)
        __atomic_store_n(entry, distance, __ATOMIC_RELAXED);
}

static size_t front_bytes(size_t bytes_each)
{
    return align_up(SMALL_ZONES * bytes_each / FRONT_UNIT_BYTES * sizeof(front_entry_t), os_page_bytes());
}

// Where addresses are scarce both zones' entries are in one OS page, which is made usable at the start.
static bool front_is_one_os_page(size_t bytes_each)
{
    return front_bytes(bytes_each) == os_page_bytes();
}

size_t zone_front_bytes_from(uintptr_t address)
{
    size_t offset = address - (uintptr_t)zone_front_map, bytes = front_bytes(zone_first_bytes);
    return zone_front_map != NULL && offset < bytes ? bytes - offset : 0;
}

void zone_front_bounds(unsigned zone, char **start, char **end)
{
    const zone_t *front = &zones[zone];
    uint32_t described = atomic_load_explicit(&front->described, memory_order_acquire);
    *start = *end = NULL;
    if (zone_front_map == NULL || (zone != 0 && front_is_one_os_page(zone_first_bytes)))
        return;
    *start = (char *)front_entries(front, 0);
    *end = front_is_one_os_page(zone_first_bytes) ? *start + os_page_bytes()
                                  : (char *)align_up((uintptr_t)front_entries(front, described), os_page_bytes());
}

// Entries of the zone's pages up to `to` can be set.
static bool front_commit(const zone_t *zone, uint32_t to)
{
    return front_is_one_os_page(zone_first_bytes) ||
           commit_between(front_entries(zone, zone->described), front_entries(zone, to));
}

static bool front_and_zones_reserve(size_t bytes_each, unsigned kinds)
{
    size_t map_bytes = front_bytes(bytes_each);
    void *map = os_reserve_readable(map_bytes, os_page_bytes());
    bool done = map != NULL && (!front_is_one_os_page(bytes_each) || os_commit(map, map_bytes)) &&
                zones_reserve(bytes_each, kinds);
    if (done) {
        os_name(map, map_bytes, "tarn metadata");
        zone_front_map = map;
    } else if (map != NULL) {
        os_unmap(map, map_bytes);
    }
    return done;
}

// To learn that there are no addresses, or no mappings, for zones of any size takes some eighty system calls, of up to 171 GB each.
// A program that was refused its first block may go on asking. So it is found out first whether there is room for the smallest ones.
static RARE bool least_is_there(unsigned kinds)
{
    if (!front_and_zones_reserve(zone_bytes_least, kinds))
        return false;
    void *map = (void *)(uintptr_t)zone_front_map;
    zone_front_map = NULL;
    zones_give_up(zones[0].base, zone_bytes_least, kinds, kinds);
    os_unmap(map, front_bytes(zone_bytes_least));
    return true;
}

bool zone_start(void)
{
    static bool refused; // a start before this one
    size_t limit = os_address_limit_bytes();
    bool limited = limit != SIZE_MAX;
    size_t bytes = limited ? limit / LIMITED_FRACTION : os_memory_bytes();
    bytes = size_min(bytes, size_min(os_address_space_bytes() >> zone_space_shift, zone_bytes_most));
    bytes = size_max(bytes, zone_bytes_least);
    bytes = (size_t)1 << (bits_highest(bytes - 1) + !limited); // a power of two: up, or under a limit down
    unsigned kinds = limited ? ZONE_KINDS - 1 : ZONE_KINDS;
    if (unlikely(refused) && !least_is_there(kinds))
        return false;
    while (!front_and_zones_reserve(bytes, kinds)) {
        bytes /= 2;
        refused = bytes < zone_bytes_least;
        if (refused)
            return false;
    }
    max_bytes = kinds == ZONE_KINDS ? MEDIUM_MAX_BYTES : limited_max_bytes;
    zone_first_count = kinds;
    zone_place_shift = bits_highest(bytes) - ZONE_PLACE_SHIFT;
    zone_first_bytes = bytes;
    for (unsigned i = 0; i < kinds; i++) {
        zone_places[i].shift = zones[i].shift - PAGE_SHIFT;
        zone_places[i].from = (page_t *)((uintptr_t)zones[i].pages - (i * bytes >> zone_places[i].shift));
    }
    zone_front_base = (uintptr_t)zones[0].base;
    __atomic_store_n(&zone_front_limit, SMALL_ZONES * bytes, __ATOMIC_RELEASE);
    return true;
}

void zone_fresh_set(zone_t *zone, uint32_t fresh)
{
    atomic_store_explicit(&zone->fresh, fresh, memory_order_release);
    if (zone->index < zone_first_count)
        atomic_store_explicit(&zone_places[zone->index].end, zone->index * zone_first_bytes + ((size_t)fresh << zone->shift),
                              memory_order_release);
    else
        atomic_store_explicit(&zones_later[zone->index].fresh, fresh, memory_order_release);
}

static RARE bool side_commit(const zone_side_t *side, uint32_t from, uint32_t to)
{
    return commit_between(side->start + from * side->page_bytes, side->start + to * side->page_bytes);
}

static RARE bool sides_commit(const zone_t *zone, uint32_t to)
{
    for (unsigned i = 0; i < ZONE_SIDES && zone->sides[i].start != NULL; i++)
        if (!side_commit(&zone->sides[i], zone->described, to))
            return false;
    return true;
}

char *zone_sides_add(zone_t *zone, unsigned count, size_t page_bytes, size_t apart_bytes)
{
    assert(lock_is_mine(&zone_lock));
    zone_side_t *side = zone->sides;
    while (side->start != NULL)
        side++;
    assert(side + count <= zone->sides + ZONE_SIDES);
    char *start = os_reserve(count * apart_bytes, os_page_bytes());
    for (unsigned i = 0; start != NULL && i < count; i++) {
        zone_side_t one = {start + i * apart_bytes, page_bytes};
        if (!side_commit(&one, 0, zone->described)) {
            os_unmap(start, count * apart_bytes);
            return NULL;
        }
    }
    if (start == NULL)
        return NULL;
    os_name(start, count * apart_bytes, "tarn metadata");
    for (unsigned i = 0; i < count; i++)
        side[i] = (zone_side_t){start + i * apart_bytes, page_bytes};
    return start;
}

static bool zone_commit_pages(zone_t *zone, uint32_t from, uint32_t to)
{
    if (!commit_between(&zone->pages[zone->described], &zone->pages[to]))
        return false;
    if (is_in_front(zone) && !front_commit(zone, to))
        return false;
    if (unlikely(zone->sides[0].start != NULL) && !sides_commit(zone, to))
        return false;
    if (!commit_between(zone->base + ((size_t)from << zone->shift), zone->base + ((size_t)to << zone->shift)))
        return false;
    atomic_store_explicit(&zone->committed, to, memory_order_release);
    if (zone->index == 0 && from == 0)
        zone_fresh_set(zone, 1); // page 0 of zone 0 is the number "none"
    if (to <= zone->described) // it was committed before, and withdrawn
        return true;
    atomic_store_explicit(&zone->described, to, memory_order_release);
    return true;
}

bool zone_commit_more(zone_t *zone)
{
    uint32_t from = zone->committed;
    if (from == zone->bound)
        return false;
    size_t step = size_max(ZONE_COMMIT_LEAST_BYTES >> zone->shift, from >> commit_growth_shift);
    step = size_min(size_max(step, 1), zone->bound - from);
    return zone_commit_pages(zone, from, from + (uint32_t)step) || zone_commit_pages(zone, from, from + 1);
}

uint32_t zone_grain(const zone_t *zone)
{
    return (uint32_t)size_max(os_page_bytes() >> zone->shift, 1);
}

page_t *zone_fresh_begin(zone_t *zone, uint32_t index, unsigned class)
{
    page_t *page = &zone->pages[index];
    page->zone = zone->index;
    page->start = zone->base + ((size_t)index << zone->shift);
    page_init(page, class, true);
    if (is_in_front(zone))
        front_set(zone, index);
    return page;
}

// A zone may be left, and its place be taken by another one, while this looks at it. Neither can be the one that a live
// block is in: that was there before, and stays. So what changed meanwhile is passed over.
page_t *zone_page_of_later(const void *address)
{
    unsigned count = zone_count();
    for (unsigned i = (unsigned)zone_first_count; i < count; i++) {
        zone_later_t *later = &zones_later[i];
        uint32_t generation = atomic_load_explicit(&later->generation, memory_order_acquire);
        uint32_t fresh = atomic_load_explicit(&later->fresh, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&later->base, memory_order_acquire);
        size_t index = ((uintptr_t)address - base) >> atomic_load_explicit(&later->shift, memory_order_acquire);
        page_t *pages = atomic_load_explicit(&later->pages, memory_order_acquire);
        if (index < fresh && atomic_load_explicit(&later->generation, memory_order_relaxed) == generation)
            return &pages[index];
    }
    return NULL;
}
