// pool/extent.c - see extent.h.
#include "extent.h"

#include <assert.h>

#include "os_linux.h"

lock_t extent_lock = {.rank = LOCK_LARGE};

// Four times the machine's memory, so that growing blocks find room; at most 4 TiB; none under RLIMIT_AS.
static const size_t range_memory_factor = 4;
static const size_t range_bytes_most = (size_t)4 << 40;
static const unsigned nodes_space_shift = 6;
static const unsigned range_space_shift = 2; // of the addresses there are: see zone.c
static const size_t range_bytes_least = (size_t)64 << 20;
static const size_t range_alignment = (size_t)2 << 20; // a huge page
static const size_t commit_least_grains = 64;          // 4 MiB
static const unsigned commit_growth_shift = 3;
// An OS page at first, later one more for each 16, so that many blocks do not cost a system call each.
static const unsigned nodes_growth_shift = 4;
static const unsigned fit_tries = 16; // nodes of one bin that are looked at

#define BINS_EXACT_SHIFT 6u
#define BINS_EXACT (1u << BINS_EXACT_SHIFT)
#define BIN_STEPS_SHIFT 3u // above: 8 bins a doubling
#define BINS 256u // 64 + 8 * 20 are needed for 4 TiB, and whole words of bits
#define NODES_MAX ((size_t)1 << 26)

static char *range;
static size_t range_grains, committed_grains;
static _Atomic size_t top_grains; // read without the lock, too: a live block lies below it
static size_t table_grains; // whose words of the table may be read: as many as were ever committed
static extent_id_t *table;
static extent_t *nodes; // reserved for the most there can be, committed as needed
static size_t nodes_used, nodes_committed_bytes, nodes_reserved_bytes;
static extent_id_t spare_nodes;
static extent_id_t bins[BINS];
static uint64_t bins_full[BINS / 64];

extent_t *extent_node(extent_id_t id)
{
    return &nodes[id];
}

// --- nodes -----------------------------------------------------------------------------------------------------------

static void nodes_set(void *start, size_t bytes)
{
    nodes = start;
    nodes_reserved_bytes = bytes;
    nodes_used = 1; // 0 is "none"
}

static size_t nodes_most_bytes(size_t address_limit_bytes)
{
    size_t most = size_min(NODES_MAX, (os_address_space_bytes() >> nodes_space_shift) / sizeof(extent_t));
    if (address_limit_bytes != SIZE_MAX) // as much as a zone takes of the addresses there
        most = size_max(address_limit_bytes / LIMITED_FRACTION / sizeof(extent_t), os_page_bytes());
    return align_up(most * sizeof(extent_t), os_page_bytes());
}

// Where there is no range.
static bool nodes_reserve(void)
{
    size_t bytes = nodes_most_bytes(os_address_limit_bytes());
    for (; nodes == NULL && bytes >= os_page_bytes(); bytes = align_down(bytes / 4, os_page_bytes())) {
        void *start = os_reserve(bytes, os_page_bytes());
        if (start != NULL)
            nodes_set(start, bytes);
    }
    return nodes != NULL;
}

static bool nodes_commit(void)
{
    if (nodes == NULL && !nodes_reserve())
        return false;
    size_t bytes = os_page_bytes() + align_down(nodes_committed_bytes >> nodes_growth_shift, os_page_bytes());
    bytes = size_min(bytes, nodes_reserved_bytes - nodes_committed_bytes);
    char *from = (char *)nodes + nodes_committed_bytes;
    if (bytes == 0 || !os_commit(from, bytes))
        return false;
    os_name(from, bytes, "tarn metadata");
    nodes_committed_bytes += bytes;
    return true;
}

extent_id_t extent_node_new(void)
{
    extent_id_t id = spare_nodes;
    if (id != 0) {
        spare_nodes = nodes[id].next;
    } else {
        if ((nodes_used + 1) * sizeof(extent_t) > nodes_committed_bytes && !nodes_commit())
            return 0;
        id = (extent_id_t)nodes_used++;
    }
    nodes[id] = (extent_t){.state = EXTENT_LOST};
    return id;
}

void extent_node_drop(extent_id_t id)
{
    nodes[id] = (extent_t){.state = EXTENT_LOST, .next = spare_nodes};
    spare_nodes = id;
}

// --- bins ------------------------------------------------------------------------------------------------------------

static unsigned bin_of(size_t grains)
{
    if (grains < BINS_EXACT)
        return (unsigned)grains;
    unsigned high = bits_highest(grains);
    unsigned step = (unsigned)(grains >> (high - BIN_STEPS_SHIFT)) & ((1u << BIN_STEPS_SHIFT) - 1);
    return BINS_EXACT + ((high - BINS_EXACT_SHIFT) << BIN_STEPS_SHIFT) + step;
}

static void bin_add(extent_id_t id)
{
    unsigned bin = bin_of(nodes[id].grains);
    nodes[id].prev = 0;
    nodes[id].next = bins[bin];
    if (bins[bin] != 0)
        nodes[bins[bin]].prev = id;
    bins[bin] = id;
    bins_full[bin / 64] |= (uint64_t)1 << (bin % 64);
    nodes[id].state = EXTENT_FREE;
}

static void bin_remove(extent_id_t id)
{
    extent_t *extent = &nodes[id];
    unsigned bin = bin_of(extent->grains);
    if (extent->next != 0)
        nodes[extent->next].prev = extent->prev;
    if (extent->prev != 0)
        nodes[extent->prev].next = extent->next;
    else
        bins[bin] = extent->next;
    if (bins[bin] == 0)
        bins_full[bin / 64] &= ~((uint64_t)1 << (bin % 64));
    extent->next = extent->prev = 0;
    extent->state = EXTENT_BUSY;
}

// Where an extent may begin: so many bytes behind a multiple of a power of two.
typedef struct spot {
    uintptr_t alignment, behind;
} spot_t;

// Grains before the first such address.
static size_t grains_before(const char *start, spot_t spot)
{
    return ((spot.behind - (uintptr_t)start) & (spot.alignment - 1)) >> LARGE_GRAIN_SHIFT;
}

static bool fits(const extent_t *extent, size_t grains, spot_t spot)
{
    return extent->grains >= grains && extent->grains - grains >= grains_before(extent->start, spot);
}

static extent_id_t bin_search(unsigned bin, size_t grains, spot_t spot)
{
    extent_id_t id = bins[bin];
    for (unsigned tries = 0; id != 0 && tries < fit_tries; tries++, id = nodes[id].next)
        if (fits(&nodes[id], grains, spot))
            return id;
    return 0;
}

static extent_id_t bins_search(size_t grains, spot_t spot)
{
    for (unsigned bin = bin_of(grains); bin < BINS; bin++) {
        uint64_t rest = bins_full[bin / 64] >> (bin % 64);
        if (rest == 0) {
            bin |= 63; // on to the next word
            continue;
        }
        bin += bits_lowest(rest);
        extent_id_t id = bin_search(bin, grains, spot);
        if (id != 0)
            return id;
    }
    return 0;
}

// --- the table -------------------------------------------------------------------------------------------------------

static size_t grain_of(const void *address)
{
    return (size_t)((const char *)address - range) >> LARGE_GRAIN_SHIFT;
}

static void table_set(extent_id_t id)
{
    size_t first = grain_of(nodes[id].start);
    table[first] = id;
    table[first + nodes[id].grains - 1] = id;
}

void extent_swap_table(extent_id_t a, extent_id_t b)
{
    table_set(a);
    table_set(b);
}

bool extent_has_range(void)
{
    return range != NULL;
}

bool extent_in_range(const void *address)
{
    return (uintptr_t)address - (uintptr_t)range < top_grains << LARGE_GRAIN_SHIFT;
}

extent_id_t extent_at(const void *address)
{
    if (!extent_in_range(address))
        return 0;
    extent_id_t id = table[grain_of(address)];
    return id != 0 && grain_of(nodes[id].start) == grain_of(address) ? id : 0;
}

extent_id_t extent_around(const void *address)
{
    for (extent_id_t id = extent_first(); id != 0 && extent_in_range(address); id = extent_behind(id))
        if ((size_t)((const char *)address - nodes[id].start) >> LARGE_GRAIN_SHIFT < nodes[id].grains)
            return id;
    return 0;
}

extent_id_t extent_first(void)
{
    return top_grains == 0 ? 0 : table[0];
}

extent_id_t extent_behind(extent_id_t id)
{
    size_t behind = grain_of(nodes[id].start) + nodes[id].grains;
    return behind < top_grains ? table[behind] : 0;
}

static extent_id_t extent_before(extent_id_t id)
{
    size_t first = grain_of(nodes[id].start);
    return first == 0 ? 0 : table[first - 1];
}

// --- the top ---------------------------------------------------------------------------------------------------------

static bool commit_to(size_t grains)
{
    char *from = range + (committed_grains << LARGE_GRAIN_SHIFT);
    size_t page = os_page_bytes();
    uintptr_t table_from = align_up((uintptr_t)(table + table_grains), page); // the page before is in use
    uintptr_t table_to = align_up((uintptr_t)(table + grains), page);
    if (table_from < table_to && !os_commit((void *)table_from, table_to - table_from))
        return false;
    if (!os_commit(from, (grains - committed_grains) << LARGE_GRAIN_SHIFT))
        return false;
    committed_grains = grains;
    table_grains = size_max(table_grains, grains);
    return true;
}

static bool top_reach(size_t grains)
{
    if (grains > range_grains)
        return false;
    if (grains <= committed_grains)
        return true;
    size_t ahead = size_max(commit_least_grains, committed_grains >> commit_growth_shift);
    size_t wanted = size_min(size_max(grains, committed_grains + ahead), range_grains);
    return commit_to(wanted) || commit_to(grains);
}

static extent_id_t top_extent(size_t grains)
{
    extent_id_t id = extent_node_new();
    if (id == 0)
        return 0;
    nodes[id].start = range + (top_grains << LARGE_GRAIN_SHIFT);
    nodes[id].grains = (uint32_t)grains;
    nodes[id].state = EXTENT_BUSY;
    top_grains += grains;
    table_set(id);
    return id;
}

static extent_id_t top_take(size_t grains, spot_t spot)
{
    if (range == NULL || grains > range_grains)
        return 0;
    size_t skip = grains_before(range + (top_grains << LARGE_GRAIN_SHIFT), spot);
    if (skip > range_grains || !top_reach(top_grains + skip + grains))
        return 0;
    extent_id_t gap = skip == 0 ? 0 : top_extent(skip);
    if (skip != 0 && gap == 0)
        return 0;
    extent_id_t id = top_extent(grains);
    if (gap != 0)
        extent_put(gap);
    return id;
}

// --- the range -------------------------------------------------------------------------------------------------------

bool extent_start(void)
{
    if (os_address_limit_bytes() != SIZE_MAX) {
        // Where small blocks have used up the addresses before the first large one, what is left would be the nodes' for ever.
        nodes_reserve();
        return false;
    }
    size_t bytes = size_min(os_memory_bytes() * range_memory_factor, range_bytes_most);
    bytes = size_min((size_t)1 << (bits_highest(bytes - 1) + 1), os_address_space_bytes() >> range_space_shift);
    for (; range == NULL && bytes >= range_bytes_least; bytes /= 2) {
        range = os_reserve(bytes, range_alignment);
        range_grains = bytes >> LARGE_GRAIN_SHIFT;
    }
    if (range == NULL)
        return false;
    // The nodes with it: if the program sets a limit of addresses before its first large block, there will be none to be had.
    size_t table_bytes = align_up(range_grains * sizeof(extent_id_t), os_page_bytes()), node_bytes = nodes_most_bytes(SIZE_MAX);
    table = os_reserve(table_bytes + node_bytes, os_page_bytes());
    if (table != NULL)
        nodes_set((char *)table + table_bytes, node_bytes);
    else
        table = os_reserve(table_bytes, os_page_bytes());
    if (table == NULL) {
        os_unmap(range, range_grains << LARGE_GRAIN_SHIFT);
        range = NULL;
        return false;
    }
    os_name(range, range_grains << LARGE_GRAIN_SHIFT, "tarn large");
    os_name(table, table_bytes, "tarn metadata");
    return true;
}

static bool extent_commit(extent_id_t id)
{
    extent_t *extent = &nodes[id];
    if (!os_commit(extent->start, (size_t)extent->grains << LARGE_GRAIN_SHIFT))
        return false;
    extent->withdrawn = extent->mixed = false;
    return true;
}

// What is before an aligned address stays free. False: no memory for a node.
static bool front_cut(extent_id_t id, size_t grains)
{
    extent_id_t front = grains == 0 ? 0 : extent_node_new();
    if (front == 0)
        return grains == 0;
    extent_t *extent = &nodes[id];
    nodes[front].start = extent->start;
    nodes[front].grains = (uint32_t)grains;
    nodes[front].withdrawn = extent->withdrawn;
    nodes[front].mixed = extent->mixed;
    extent->start += grains << LARGE_GRAIN_SHIFT;
    extent->grains -= (uint32_t)grains;
    table_set(id);
    extent_put(front);
    return true;
}

static extent_id_t spot_get(size_t grains, spot_t spot)
{
    extent_id_t id = bins_search(grains, spot);
    if (id == 0)
        return top_take(grains, spot);
    bin_remove(id);
    if (!front_cut(id, grains_before(nodes[id].start, spot))) {
        extent_put(id);
        return 0;
    }
    extent_cut(id, grains);
    if (unlikely(nodes[id].withdrawn) && !extent_commit(id)) {
        extent_put(id);
        return top_take(grains, spot);
    }
    return id;
}

extent_id_t extent_get(size_t grains, size_t alignment)
{
    return spot_get(grains, (spot_t){size_max(alignment, LARGE_GRAIN_BYTES), 0});
}

extent_id_t extent_get_alike(size_t grains, size_t alignment, const void *address)
{
    return spot_get(grains, (spot_t){size_max(alignment, LARGE_GRAIN_BYTES), (uintptr_t)address});
}

static void withdrawn_merge(extent_t *extent, const extent_t *other)
{
    extent->mixed |= other->mixed || extent->withdrawn != other->withdrawn;
    extent->withdrawn |= other->withdrawn;
}

static void absorb(extent_id_t id, extent_id_t behind)
{
    bin_remove(behind);
    nodes[id].grains += nodes[behind].grains;
    withdrawn_merge(&nodes[id], &nodes[behind]);
    extent_node_drop(behind);
}

void extent_put(extent_id_t id)
{
    nodes[id].used_bytes = nodes[id].requested_bytes = 0;
    extent_id_t before = extent_before(id), behind = extent_behind(id);
    if (behind != 0 && nodes[behind].state == EXTENT_FREE)
        absorb(id, behind);
    if (before != 0 && nodes[before].state == EXTENT_FREE) {
        bin_remove(before);
        nodes[before].grains += nodes[id].grains;
        withdrawn_merge(&nodes[before], &nodes[id]);
        extent_node_drop(id);
        id = before;
    }
    table_set(id);
    bin_add(id);
}

void extent_cut(extent_id_t id, size_t grains)
{
    size_t rest = nodes[id].grains - grains;
    extent_id_t tail = rest == 0 ? 0 : extent_node_new();
    if (tail == 0)
        return; // whole, or no memory for a node: the caller has more than it asked for
    nodes[tail].start = nodes[id].start + (grains << LARGE_GRAIN_SHIFT);
    nodes[tail].grains = (uint32_t)rest;
    nodes[tail].withdrawn = nodes[id].withdrawn;
    nodes[tail].mixed = nodes[id].mixed;
    nodes[id].grains = (uint32_t)grains;
    table_set(id);
    table_set(tail);
    extent_put(tail);
}

bool extent_grow(extent_id_t id, size_t grains)
{
    extent_id_t behind = extent_behind(id);
    if (behind == 0) {
        size_t first = grain_of(nodes[id].start);
        if (nodes[id].moved || !top_reach(first + grains))
            return false;
        top_grains = first + grains;
        nodes[id].grains = (uint32_t)grains;
        table_set(id);
        return true;
    }
    // What a moved extent grew into would be a second mapping, and those two could not be moved in one call again.
    if (nodes[id].moved || nodes[behind].state != EXTENT_FREE || nodes[id].grains + nodes[behind].grains < grains)
        return false;
    if (nodes[behind].withdrawn && !os_commit(nodes[behind].start, (grains - nodes[id].grains) << LARGE_GRAIN_SHIFT))
        return false;
    absorb(id, behind);
    table_set(id);
    extent_cut(id, grains);
    nodes[id].withdrawn = nodes[id].mixed = false; // what it has is committed
    return true;
}

bool extent_refresh(char *start, size_t grains)
{
    size_t bytes = grains << LARGE_GRAIN_SHIFT;
    bool done = os_refresh(start, bytes);
    if (done)
        os_name(start, bytes, "tarn large"); // else it would not merge with its neighbours
    return done;
}

// --- when memory is refused ------------------------------------------------------------------------------------------

static size_t grains_withdraw(char *start, size_t grains)
{
    size_t bytes = grains << LARGE_GRAIN_SHIFT;
    if (bytes == 0 || !os_withdraw(start, bytes))
        return 0;
    os_name(start, bytes, "tarn large"); // else it would not merge with its neighbours
    return bytes;
}

static size_t free_withdraw(extent_t *extent)
{
    if (extent->state != EXTENT_FREE || (extent->withdrawn && !extent->mixed))
        return 0;
    size_t bytes = grains_withdraw(extent->start, extent->grains);
    if (bytes != 0) {
        extent->withdrawn = true;
        extent->mixed = false;
    }
    return bytes;
}

size_t extent_withdraw(void)
{
    size_t total = 0;
    unsigned runs = 0;
    for (extent_id_t id = extent_first(); id != 0 && runs < WITHDRAW_RUNS_MOST; id = extent_behind(id)) {
        size_t bytes = free_withdraw(&nodes[id]);
        runs += bytes != 0;
        total += bytes;
    }
    size_t ahead = grains_withdraw(range + (top_grains << LARGE_GRAIN_SHIFT), committed_grains - top_grains);
    committed_grains = ahead == 0 ? committed_grains : top_grains;
    return total + ahead;
}

void extent_bounds(char **start, char **end)
{
    *start = range;
    *end = range + (top_grains << LARGE_GRAIN_SHIFT);
}

void extent_table_bounds(char **start, char **end)
{
    *start = (char *)table;
    *end = (char *)align_up((uintptr_t)(table + table_grains), os_page_bytes());
}

void extent_node_bounds(char **start, char **end)
{
    *start = (char *)nodes;
    *end = (char *)nodes + nodes_committed_bytes;
}

const char *extent_check(void)
{
    size_t grains = 0;
    bool free_before = false;
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id)) {
        const extent_t *extent = &nodes[id];
        if (grain_of(extent->start) != grains || extent->grains == 0)
            return "extents do not tile the range";
        if (table[grains] != id || table[grains + extent->grains - 1] != id)
            return "the table does not lead to an extent";
        if (extent->state == EXTENT_FREE && free_before)
            return "two free extents touch";
        if (extent->state == EXTENT_FREE && (extent->moved || extent->huge || extent->stained))
            return "a free extent is not fresh";
        if (extent->state == EXTENT_LIVE && extent->used_bytes > (size_t)extent->grains << LARGE_GRAIN_SHIFT)
            return "a block is longer than its extent";
        free_before = extent->state == EXTENT_FREE;
        grains += extent->grains;
    }
    return grains == top_grains ? NULL : "the last extent does not reach the top";
}
