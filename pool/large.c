// pool/large.c - see large.h.
#include "large.h"

#include "budget.h"
#include "misuse.h"
#include "os_linux.h"

// Cached extents that are looked at for a fit, newest first.
static const unsigned cache_tries = 32;
// A cached extent may be longer than needed by an eighth (as a size class would be), or by one grain.
static const unsigned fit_slack_shift = 3;
// A block that has to move to grow gets room for half as much again, in addresses alone.
static const unsigned growth_shift = 1;
// mremap leaves a mapping of its own behind for each block that was moved; the kernel's limit is 65530 in all.
static const unsigned moved_most = 4096;

#define DIRECT_BUCKETS 1024u

static extent_id_t cache_newest, cache_oldest;
static RARE_DATA extent_id_t direct[DIRECT_BUCKETS];
static size_t direct_count; // blocks in it; at 0 the table is not looked at, and so not resident
static unsigned moved_count;
static large_counts_t counts;

void large_start(void)
{
    extent_start();
}

// --- the warm block --------------------------------------------------------------------------------------------------

size_t large_warm_most = BUDGET_FLOOR_BYTES;
// The extent, and above it what was asked for: so that a compare-and-swap sees whether it is still the same. 0: none.
static _Atomic uint64_t warm;          // give: release; take: acquire
static _Atomic uint64_t warm_taken;    // how often a block came from there

#define WARM_SIZE_SHIFT 32
_Static_assert(sizeof(extent_id_t) * 8 == WARM_SIZE_SHIFT, "an extent's number below");

static extent_t *warm_extent(uint64_t word)
{
    return extent_node((extent_id_t)word);
}

// `counts` has the warm block as live still.
large_counts_t large_counts(void)
{
    large_counts_t seen = counts;
    uint64_t word = atomic_load_explicit(&warm, memory_order_acquire);
    seen.allocated_total += atomic_load_explicit(&warm_taken, memory_order_relaxed);
    if (word != 0) {
        seen.live_blocks--;
        seen.live_bytes -= warm_extent(word)->used_bytes;
        seen.requested_bytes -= word >> WARM_SIZE_SHIFT;
    }
    return seen;
}

// Nobody else has the warm extent: it is live again, as the program left it.
static void *warm_revive(extent_t *extent)
{
    extent_state_set(extent, EXTENT_LIVE);
    budget_use(extent->used_bytes); // counted twice for a moment: so nobody else takes the room under a limit
    budget_release(extent->used_bytes);
    return extent->start;
}

void *large_alloc_warm(size_t size_bytes)
{
    uint64_t word = atomic_load_explicit(&warm, memory_order_relaxed);
    if (word == 0 || word >> WARM_SIZE_SHIFT != size_bytes ||
        !atomic_compare_exchange_strong_explicit(&warm, &word, 0, memory_order_acquire, memory_order_relaxed))
        return NULL;
    atomic_fetch_add_explicit(&warm_taken, 1, memory_order_relaxed);
    return warm_revive(warm_extent(word));
}

bool large_free_warm(void *block)
{
    extent_id_t id = extent_at(block);
    extent_t *extent = extent_node(id);
    uint8_t live = EXTENT_LIVE;
    if (id == 0 || extent->start != (char *)block || extent->used_bytes > large_warm_most || extent->moved ||
        extent->stained || !atomic_compare_exchange_strong(&extent->state, &live, EXTENT_WARM))
        return false;
    budget_retain(extent->used_bytes);
    budget_unuse(extent->used_bytes);
    uint64_t word = (uint64_t)extent->requested_bytes << WARM_SIZE_SHIFT | id;
    word = atomic_exchange_explicit(&warm, word, memory_order_acq_rel);
    if (unlikely(word != 0))
        large_free(warm_revive(warm_extent(word)));
    size_t excess = budget_excess();
    if (unlikely(excess != 0))
        large_purge(excess);
    return true;
}

bool large_in_range(const void *block)
{
    return extent_in_range(block);
}

// --- the cache -------------------------------------------------------------------------------------------------------

static void cache_add(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    extent_state_set(extent, EXTENT_CACHED);
    extent->prev = 0;
    extent->next = cache_newest;
    if (cache_newest != 0)
        extent_node(cache_newest)->prev = id;
    else
        cache_oldest = id;
    cache_newest = id;
    budget_retain(extent->used_bytes);
}

static void live_end(extent_t *extent);

// The warm extent becomes one of the cached. False: there is none.
static bool warm_cool(void)
{
    if (likely(atomic_load_explicit(&warm, memory_order_relaxed) == 0))
        return false;
    uint64_t word = atomic_exchange_explicit(&warm, 0, memory_order_acquire);
    if (word == 0)
        return false;
    warm_revive(warm_extent(word));
    live_end(warm_extent(word));
    cache_add((extent_id_t)word);
    return true;
}

static void cache_remove(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    if (extent->next != 0)
        extent_node(extent->next)->prev = extent->prev;
    else
        cache_oldest = extent->prev;
    if (extent->prev != 0)
        extent_node(extent->prev)->next = extent->next;
    else
        cache_newest = extent->next;
    extent->next = extent->prev = 0;
    extent_state_set(extent, EXTENT_BUSY);
    budget_release(extent->used_bytes);
}

// Grains for a block. An OS page at least is left behind it, in addresses alone: what runs over its end, or below the start
// of the next one, is written where nobody is.
static size_t grains_of(size_t bytes)
{
    return (bytes + os_page_bytes() + LARGE_GRAIN_BYTES - 1) >> LARGE_GRAIN_SHIFT;
}

static bool cache_fits(const extent_t *extent, size_t grains, size_t most_grains, size_t alignment)
{
    return extent->grains >= grains && extent->grains <= most_grains &&
           ((uintptr_t)extent->start & (alignment - 1)) == 0;
}

static extent_id_t cache_find(size_t grains, size_t most_grains, size_t alignment)
{
    extent_id_t best = 0, id = cache_newest;
    for (unsigned tries = 0; id != 0 && tries < cache_tries; tries++, id = extent_node(id)->next)
        if (cache_fits(extent_node(id), grains, most_grains, alignment) &&
            (best == 0 || extent_node(id)->grains < extent_node(best)->grains))
            best = id;
    return best;
}

// What came back while a fork that did not finish held the lock: blocks, linked by their first word, and extents whose
// memory was already given back (used_bytes 0) or not, linked by `next`. Pushed by anyone, taken by the next holder.
static _Atomic(void *) late_blocks;
static _Atomic extent_id_t late_extents;

static void late_block_push(void *block)
{
    void *first = atomic_load_explicit(&late_blocks, memory_order_relaxed);
    do
        *(void **)block = first;
    while (!atomic_compare_exchange_weak_explicit(&late_blocks, &first, block, memory_order_release,
                                                  memory_order_relaxed));
}

static void late_extent_push(extent_id_t id)
{
    extent_id_t first = atomic_load_explicit(&late_extents, memory_order_relaxed);
    do
        extent_node(id)->next = first;
    while (!atomic_compare_exchange_weak_explicit(&late_extents, &first, id, memory_order_release,
                                                  memory_order_relaxed));
}

static void late_take(void);

static bool large_lock_take(void)
{
    if (!lock_take(&extent_lock))
        return false;
    if (unlikely(atomic_load_explicit(&late_blocks, memory_order_relaxed) != NULL ||
                 atomic_load_explicit(&late_extents, memory_order_relaxed) != 0))
        late_take();
    return true;
}

static void extent_settle(extent_id_t id)
{
    if (extent_node(id)->used_bytes != 0)
        cache_add(id); // the kernel did not take it
    else
        extent_put(id);
}

// Gives a BUSY extent's memory to the kernel and the extent to its range. The lock is held before, not while the kernel
// works, and afterwards if *locked. Returns the bytes given back.
static size_t extent_release(extent_id_t id, bool *locked)
{
    extent_t *extent = extent_node(id);
    char *start = extent->start;
    size_t bytes = (size_t)extent->grains << LARGE_GRAIN_SHIFT; // all of it: what was behind a block may be dirty too
    size_t used_bytes = extent->used_bytes;
    bool moved = extent->moved;
    moved_count -= moved;
    lock_give(&extent_lock);
    bool done = moved ? os_refresh(start, bytes) : os_purge(start, bytes);
    if (done && moved)
        os_name(start, bytes, "tarn large"); // else it would not merge with its neighbours
    extent->moved = moved && !done;
    extent->stained = extent->stained && !done;
    extent->used_bytes = done ? 0 : used_bytes;
    *locked = large_lock_take();
    moved_count += *locked && extent->moved;
    if (*locked)
        extent_settle(id);
    else
        late_extent_push(id);
    return done ? used_bytes : 0;
}

size_t large_purge(size_t bytes)
{
    size_t purged = 0;
    bool locked = large_lock_take();
    while (locked && purged < bytes && (cache_oldest != 0 || warm_cool())) {
        extent_id_t id = cache_oldest;
        cache_remove(id);
        size_t released = extent_release(id, &locked);
        if (released == 0)
            break;
        purged += released;
    }
    if (locked)
        lock_give(&extent_lock);
    if (purged != 0)
        budget_purged(purged);
    return purged;
}

size_t large_withdraw(void)
{
    if (!large_lock_take())
        return 0;
    size_t bytes = extent_withdraw();
    lock_give(&extent_lock);
    return bytes;
}

// --- mappings of their own -------------------------------------------------------------------------------------------

static extent_id_t *direct_bucket(const void *start)
{
    return &direct[((uintptr_t)start >> 12) % DIRECT_BUCKETS];
}

static void direct_add(extent_id_t id)
{
    extent_id_t *bucket = direct_bucket(extent_node(id)->start);
    extent_node(id)->next = *bucket;
    *bucket = id;
    direct_count++;
}

static void direct_remove(extent_id_t id)
{
    extent_id_t *at = direct_bucket(extent_node(id)->start);
    while (*at != id)
        at = &extent_node(*at)->next;
    *at = extent_node(id)->next;
    extent_node(id)->next = 0;
    direct_count--;
}

extent_id_t large_direct_next(extent_id_t id)
{
    unsigned bucket = 0;
    if (direct_count == 0)
        return 0;
    if (id != 0 && extent_node(id)->next != 0)
        return extent_node(id)->next;
    if (id != 0)
        bucket = (unsigned)(direct_bucket(extent_node(id)->start) - direct) + 1;
    for (; bucket < DIRECT_BUCKETS; bucket++)
        if (direct[bucket] != 0)
            return direct[bucket];
    return 0;
}

static extent_id_t direct_get(size_t bytes, size_t alignment)
{
    extent_id_t id = extent_node_new();
    char *start = id == 0 ? NULL : os_map(bytes, size_max(alignment, os_page_bytes()));
    if (start == NULL) {
        if (id != 0)
            extent_node_drop(id);
        return 0;
    }
    os_name(start, bytes, "tarn large");
    *extent_node(id) = (extent_t){.start = start, .direct = true, .state = EXTENT_BUSY};
    direct_add(id);
    return id;
}

// --- hardened: each block between guards, and its addresses held back (level 2) ---------------------------------------
//
//   | reserved only, as long as the alignment | block, whole OS pages | one OS page reserved only |
//
// Nothing can be read or written before, behind, or after it was freed, until the addresses are given back: when
// guarded_held more have been freed.

#define GUARDED_LEVEL 2
#define GUARDED_HELD 64u
#define GUARDED_ALIGNMENT_MOST ((size_t)1 << 30) // so that its OS pages can be counted in 32 bits
// Three mappings each, of the kernel's 65,530; above it, blocks lie side by side.
static const unsigned guarded_most = 10000;

static RARE_DATA extent_id_t guarded_held[GUARDED_HELD]; // a ring
static unsigned guarded_freed, guarded_count;

static bool is_guarded(size_t alignment)
{
    return harden_level >= GUARDED_LEVEL && guarded_count < guarded_most && alignment <= GUARDED_ALIGNMENT_MOST;
}

static RARE extent_id_t guarded_get(size_t bytes, size_t alignment)
{
    size_t os_page = os_page_bytes(), lead = size_max(alignment, os_page);
    extent_id_t id = extent_node_new();
    char *base = id == 0 ? NULL : os_reserve(lead + bytes + os_page, lead);
    if (base != NULL && !os_commit(base + lead, bytes)) {
        os_unmap(base, lead + bytes + os_page);
        base = NULL;
    }
    if (base == NULL) {
        if (id != 0)
            extent_node_drop(id);
        return 0;
    }
    os_name(base + lead, bytes, "tarn large");
    *extent_node(id) = (extent_t){.start = base + lead, .direct = true, .state = EXTENT_BUSY,
                                  .grains = (uint32_t)(lead / os_page)};
    direct_add(id);
    guarded_count++;
    return id;
}

static RARE void guarded_unmap(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    size_t lead = (size_t)extent->grains * os_page_bytes();
    direct_remove(id);
    os_unmap(extent->start - lead, lead + extent->used_bytes + os_page_bytes());
    extent_node_drop(id);
    guarded_count--;
}

static RARE void guarded_free(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    bool scarce = os_address_limit_bytes() != SIZE_MAX;
    if (scarce || !os_withdraw(extent->start, extent->used_bytes)) {
        guarded_unmap(id);
        return;
    }
    extent_id_t *place = &guarded_held[guarded_freed++ % GUARDED_HELD];
    if (*place != 0)
        guarded_unmap(*place);
    *place = id;
}

// The guard moves down, and what was behind it is given back. False: it would have to grow.
static RARE bool guarded_shrink(const extent_t *extent, size_t bytes)
{
    size_t os_page = os_page_bytes();
    if (bytes >= extent->used_bytes)
        return bytes == extent->used_bytes;
    if (!os_withdraw(extent->start + bytes, os_page))
        return false;
    os_unmap(extent->start + bytes + os_page, extent->used_bytes - bytes);
    return true;
}

// Whether it lies in a live block between guards. It takes a walk over all of them, for one that is about to be told of.
static RARE bool guarded_has(const char *address)
{
    for (extent_id_t id = large_direct_next(0); id != 0 && guarded_count != 0; id = large_direct_next(id))
        if ((size_t)(address - extent_node(id)->start) < extent_node(id)->used_bytes)
            return extent_node(id)->state == EXTENT_LIVE;
    return false;
}

static extent_id_t direct_find(const void *block)
{
    extent_id_t id = direct_count == 0 ? 0 : *direct_bucket(block);
    while (id != 0 && extent_node(id)->start != (const char *)block)
        id = extent_node(id)->next;
    return id;
}

static extent_id_t find(const void *block)
{
    extent_id_t id = extent_in_range(block) ? extent_at(block) : 0;
    if (likely(id != 0 && extent_node(id)->state == EXTENT_LIVE))
        return id;
    extent_id_t alone = direct_find(block); // also inside the range: the kernel may have put it into a lost extent
    return alone != 0 ? alone : id;
}

// --- get -------------------------------------------------------------------------------------------------------------

// What the last owner left resident behind the new block's end would be waste that nobody sees.
static void trim_behind(extent_t *extent, size_t dirty_bytes, size_t bytes)
{
    if (dirty_bytes > bytes && !os_purge(extent->start + bytes, dirty_bytes - bytes))
        extent->stained = true;
}

static void live_begin(extent_t *extent, size_t bytes, size_t size_bytes)
{
    extent_state_set(extent, EXTENT_LIVE);
    extent->used_bytes = bytes;
    extent->requested_bytes = size_bytes;
    counts.live_blocks++;
    counts.allocated_total++;
    counts.live_bytes += bytes;
    counts.requested_bytes += size_bytes;
}

// The reserved range is not held against the kernel's overcommit limit, so a request that could never be filled would be
// granted; programs rely on its being refused. Only requests that big are worth the two system calls.
static const unsigned huge_shift = 2; // a quarter of the machine's memory

static bool is_hopeless(size_t bytes)
{
    return bytes > os_memory_bytes() >> huge_shift && !os_would_grant(bytes);
}

// `room_bytes` of addresses at least; none of them costs memory.
static void *alloc_with_room(size_t alignment, size_t size_bytes, size_t room_bytes, bool *clean)
{
    if (size_bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX - size_bytes || is_hopeless(size_bytes))
        return NULL;
    size_t bytes = align_up(size_max(size_bytes, 1), os_page_bytes());
    size_t grains = grains_of(bytes), dirty_bytes = 0;
    size_t room = size_max((room_bytes + LARGE_GRAIN_BYTES - 1) >> LARGE_GRAIN_SHIFT, grains);
    if (!large_lock_take())
        return NULL;
    warm_cool();
    bool guarded = is_guarded(alignment);
    extent_id_t id = guarded ? 0 : cache_find(grains, room + (grains >> fit_slack_shift) + 1, alignment);
    *clean = id == 0;
    if (id != 0)
        dirty_bytes = extent_node(id)->used_bytes;
    if (unlikely(!budget_reuse(dirty_bytes, bytes))) {
        lock_give(&extent_lock);
        return NULL;
    }
    if (id != 0)
        cache_remove(id);
    if (unlikely(guarded))
        id = guarded_get(bytes, alignment);
    if (id == 0)
        id = extent_get(room, alignment);
    if (id == 0 && room_bytes == 0) // what has to grow finds no room in a mapping of its own either
        id = direct_get(bytes, alignment);
    if (id != 0)
        live_begin(extent_node(id), bytes, size_bytes);
    lock_give(&extent_lock);
    if (id == 0) {
        budget_unuse(bytes);
        return NULL;
    }
    extent_t *extent = extent_node(id);
    trim_behind(extent, dirty_bytes, bytes);
    if (*clean)
        budget_regret(BUDGET_WHOLE, bytes);
    return extent->start;
}

void *large_alloc(size_t alignment, size_t size_bytes, bool *clean)
{
    return alloc_with_room(alignment, size_bytes, 0, clean);
}

void *large_alloc_growing(size_t size_bytes)
{
    bool clean;
    return alloc_with_room(GRANULE_BYTES, size_bytes, MEDIUM_MAX_BYTES, &clean);
}

size_t large_growing_least(void)
{
    const size_t os_pages_least = 8; // so that rounding up to OS pages costs an eighth at most, as size classes do
    return extent_has_range() ? size_max(LARGE_GROWING_BYTES, os_pages_least * os_page_bytes()) : SIZE_MAX;
}

// --- free ------------------------------------------------------------------------------------------------------------

static large_result_t not_found(const void *block)
{
    if (!extent_in_range(block))
        return guarded_count != 0 && guarded_has(block) ? LARGE_INTERIOR : LARGE_FOREIGN;
    extent_id_t id = extent_around(block);
    return id != 0 && extent_node(id)->state == EXTENT_LIVE ? LARGE_INTERIOR : LARGE_FREED;
}

// The live extent that starts at the block; 0, and why there is none.
static extent_id_t find_live(const void *block, large_result_t *why)
{
    extent_id_t id = find(block);
    if (id == 0) {
        *why = not_found(block);
        return 0;
    }
    const extent_t *extent = extent_node(id);
    bool live = extent->state == EXTENT_LIVE;
    *why = !live ? LARGE_FREED : extent->start == (const char *)block ? LARGE_DONE : LARGE_INTERIOR;
    return *why == LARGE_DONE ? id : 0;
}

static void live_end(extent_t *extent)
{
    extent_state_set(extent, EXTENT_BUSY);
    counts.live_blocks--;
    counts.live_bytes -= extent->used_bytes;
    counts.requested_bytes -= extent->requested_bytes;
    budget_unuse(extent->used_bytes);
}

static void direct_free(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    if (unlikely(extent->grains != 0)) {
        guarded_free(id);
        return;
    }
    direct_remove(id);
    os_unmap(extent->start, extent->used_bytes);
    extent_node_drop(id);
}

// The lock is held before, and afterwards if the result says so.
static bool dispose(extent_id_t id)
{
    bool locked = true;
    if (extent_node(id)->direct) {
        direct_free(id);
    } else if (budget_fits(extent_node(id)->used_bytes)) {
        cache_add(id); // what is too much by that goes next, the oldest first: the newest is wanted soonest
    } else {
        size_t released = extent_release(id, &locked);
        if (released != 0)
            budget_purged(released);
    }
    return locked;
}

static void late_take(void)
{
    large_result_t result;
    extent_id_t id = atomic_exchange_explicit(&late_extents, 0, memory_order_acquire);
    for (extent_id_t next; id != 0; id = next) {
        next = extent_node(id)->next;
        extent_settle(id);
    }
    void *block = atomic_exchange_explicit(&late_blocks, NULL, memory_order_acquire);
    for (void *next; block != NULL; block = next) {
        next = *(void **)block;
        if ((id = find_live(block, &result)) == 0)
            continue;
        live_end(extent_node(id));
        if (extent_node(id)->direct)
            direct_free(id);
        else
            cache_add(id); // what is too much goes with the next free
    }
}

large_result_t large_free(void *block)
{
    large_result_t result;
    if (!large_lock_take()) {
        if (!extent_in_range(block) || extent_at(block) == 0)
            return LARGE_BUSY; // perhaps not ours: its memory is not to be written
        late_block_push(block);
        return LARGE_DONE;
    }
    extent_id_t id = find_live(block, &result);
    bool locked = true;
    if (id != 0) {
        live_end(extent_node(id));
        locked = dispose(id);
    }
    if (locked)
        lock_give(&extent_lock);
    size_t excess = result == LARGE_DONE ? budget_excess() : 0;
    if (unlikely(excess != 0)) // what was cached when more was in use
        large_purge(excess);
    return result;
}

large_result_t large_usable(const void *block, size_t *bytes)
{
    large_result_t result;
    if (!lock_take(&extent_lock))
        return LARGE_BUSY;
    extent_id_t id = find_live(block, &result);
    if (id != 0)
        *bytes = extent_node(id)->used_bytes;
    lock_give(&extent_lock);
    return result;
}

size_t large_usable_unlocked(const void *block)
{
    extent_id_t id = extent_in_range(block) ? extent_at(block) : 0;
    return id != 0 && extent_node(id)->state == EXTENT_LIVE ? extent_node(id)->used_bytes : 0;
}

// --- resize ----------------------------------------------------------------------------------------------------------

// The caller has counted what it grew by as used.
static void resized(extent_t *extent, size_t bytes, size_t size_bytes)
{
    counts.live_bytes += bytes - extent->used_bytes;
    counts.requested_bytes += size_bytes - extent->requested_bytes;
    if (bytes < extent->used_bytes)
        budget_unuse(extent->used_bytes - bytes);
    extent->used_bytes = bytes;
    extent->requested_bytes = size_bytes;
}

// In place, in the grains it has. Shrinking gives the OS pages behind the end back, then the addresses.
static void resize_here(extent_id_t id, size_t bytes, size_t size_bytes)
{
    extent_t *extent = extent_node(id);
    size_t before = extent->used_bytes, grains = grains_of(bytes);
    trim_behind(extent, before, bytes);
    resized(extent, bytes, size_bytes);
    if (!extent->stained && bytes < before && grains < extent->grains && !extent->moved)
        extent_cut(id, grains);
}

// A place that was moved out of goes back to the range, unless somebody else's mapping has taken it.
static void extent_leave(extent_id_t id, bool hole)
{
    extent_t *place = extent_node(id);
    if (hole) {
        extent_state_set(place, EXTENT_LOST);
        return;
    }
    os_name(place->start, (size_t)place->grains << LARGE_GRAIN_SHIFT, "tarn large"); // else it would not merge
    extent_put(id);
}

// The old addresses of a moved block go back to the range; the extent's node takes the new ones.
static void place_swap(extent_id_t id, extent_id_t other, bool hole)
{
    extent_t *extent = extent_node(id), *place = extent_node(other), old = *extent;
    extent->start = place->start;
    extent->grains = place->grains;
    moved_count += !old.moved;
    extent->moved = true;
    place->start = old.start;
    place->grains = old.grains;
    extent_swap_table(id, other);
    extent_leave(other, hole);
}

static bool resize_by_move(extent_id_t id, size_t bytes)
{
    extent_t *extent = extent_node(id);
    size_t room = bytes + (bytes >> growth_shift);
    size_t grains = grains_of(room);
    if (!extent->moved && moved_count >= moved_most)
        return false;
    extent_id_t other = extent_get(grains, LARGE_GRAIN_BYTES);
    if (other == 0)
        return false;
    bool hole = false;
    extent_t *place = extent_node(other);
    if (!os_move(extent->start, (size_t)extent->grains << LARGE_GRAIN_SHIFT, place->start,
                 (size_t)place->grains << LARGE_GRAIN_SHIFT, &hole)) {
        extent_put(other);
        return false;
    }
    place_swap(id, other, hole);
    return true;
}

static bool resize_guarded(extent_t *extent, size_t bytes, size_t size_bytes)
{
    if (!guarded_shrink(extent, bytes))
        return false;
    resized(extent, bytes, size_bytes);
    return true;
}

static bool resize_direct(extent_id_t id, size_t bytes, size_t size_bytes)
{
    extent_t *extent = extent_node(id);
    if (unlikely(extent->grains != 0))
        return resize_guarded(extent, bytes, size_bytes);
    char *start = os_resize(extent->start, extent->used_bytes, bytes);
    if (start == NULL)
        return false;
    direct_remove(id);
    extent->start = start;
    direct_add(id);
    resized(extent, bytes, size_bytes);
    return true;
}

// Out of the range into a mapping of its own, when the range has no room: still without copying.
static bool resize_to_direct(extent_id_t id, size_t bytes)
{
    extent_id_t other = direct_get(bytes, os_page_bytes());
    if (other == 0)
        return false;
    extent_t *extent = extent_node(id), *place = extent_node(other);
    bool hole = false;
    place->used_bytes = bytes;
    if (!os_move(extent->start, (size_t)extent->grains << LARGE_GRAIN_SHIFT, place->start, bytes, &hole)) {
        direct_free(other);
        return false;
    }
    // The node of the block stays; the one that was made for the mapping takes over the extent it leaves.
    direct_remove(other);
    extent_t old = *extent;
    *extent = (extent_t){.start = place->start, .state = EXTENT_LIVE, .direct = true, .used_bytes = old.used_bytes,
                         .requested_bytes = old.requested_bytes};
    *place = (extent_t){.start = old.start, .grains = old.grains, .state = EXTENT_BUSY};
    direct_add(id);
    moved_count -= old.moved;
    extent_swap_table(other, other);
    extent_leave(other, hole);
    return true;
}

static bool resize_locked(extent_id_t id, size_t size_bytes)
{
    extent_t *extent = extent_node(id);
    size_t bytes = align_up(size_max(size_bytes, 1), os_page_bytes());
    size_t grains = grains_of(bytes);
    if (extent->direct)
        return resize_direct(id, bytes, size_bytes);
    if (grains <= extent->grains || extent_grow(id, grains) || resize_by_move(id, bytes))
        resize_here(id, bytes, size_bytes);
    else if (resize_to_direct(id, bytes))
        resized(extent_node(id), bytes, size_bytes);
    else
        return false;
    return true;
}

static bool resize_counted(extent_id_t id, size_t size_bytes)
{
    size_t before = extent_node(id)->used_bytes, bytes = align_up(size_max(size_bytes, 1), os_page_bytes());
    size_t more = bytes > before ? bytes - before : 0;
    if (more != 0 && unlikely(!budget_take(more)))
        return false;
    if (resize_locked(id, size_bytes))
        return true;
    budget_unuse(more);
    return false;
}

void *large_resize(void *block, size_t size_bytes)
{
    if (size_bytes > PTRDIFF_MAX || is_hopeless(size_bytes) || !lock_take(&extent_lock))
        return NULL;
    large_result_t result;
    extent_id_t id = find_live(block, &result);
    void *resized_block = id != 0 && resize_counted(id, size_bytes) ? extent_node(id)->start : NULL;
    lock_give(&extent_lock);
    return resized_block;
}
