// pool/large.c - see large.h.
#include "large.h"

#include "budget.h"
#include "huge.h"
#include "large_cache.h"
#include "large_direct.h"
#include "large_huge.h"
#include "os_linux.h"

// A cached extent may be longer than needed by an eighth (as a size class would be), or by one grain.
static const unsigned fit_slack_shift = 3;

void large_start(void)
{
    extent_start();
}

bool large_in_range(const void *block)
{
    return extent_in_range(block);
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

// `large_live_counts` has the warm block as live still.
large_counts_t large_counts(void)
{
    large_counts_t seen = large_live_counts;
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

// The warm extent becomes one of the cached. False: there is none.
static bool warm_cool(void)
{
    if (likely(atomic_load_explicit(&warm, memory_order_relaxed) == 0))
        return false;
    uint64_t word = atomic_exchange_explicit(&warm, 0, memory_order_acquire);
    if (word == 0)
        return false;
    warm_revive(warm_extent(word));
    large_live_end(warm_extent(word));
    large_cache_add((extent_id_t)word);
    return true;
}

// --- the lock, and what came back while a fork held it ---------------------------------------------------------------

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

static void extent_settle(extent_id_t id)
{
    large_live_moved += extent_node(id)->moved; // if it is, still: see extent_release
    if (extent_node(id)->used_bytes != 0)
        large_cache_add(id); // the kernel did not take it
    else
        extent_put(id);
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
        if ((id = large_live_find(block, &result)) == 0)
            continue;
        large_live_end(extent_node(id));
        if (extent_node(id)->direct)
            large_direct_free(id);
        else
            large_cache_add(id); // what is too much goes with the next free
    }
}

static bool large_lock_take(void)
{
    if (!lock_take(&extent_lock))
        return false;
    if (unlikely(atomic_load_explicit(&late_blocks, memory_order_relaxed) != NULL ||
                 atomic_load_explicit(&late_extents, memory_order_relaxed) != 0))
        late_take();
    return true;
}

// --- giving back -----------------------------------------------------------------------------------------------------

// Gives a BUSY extent's memory to the kernel and the extent to its range. The lock is held before, not while the kernel
// works, and afterwards if *locked. Returns the bytes given back.
static size_t extent_release(extent_id_t id, bool *locked)
{
    extent_t *extent = extent_node(id);
    char *start = extent->start;
    size_t grains = extent->grains; // all of it: what was behind a block may be dirty too
    size_t used_bytes = extent->used_bytes;
    bool moved = extent->moved, apart = moved || extent->huge;
    large_live_moved -= moved;
    lock_give(&extent_lock);
    bool done = apart ? extent_refresh(start, grains) : os_purge(start, grains << LARGE_GRAIN_SHIFT);
    extent->moved = moved && !done;
    extent->huge = extent->huge && !done;
    extent->stained = extent->stained && !done;
    extent->used_bytes = done ? 0 : used_bytes;
    *locked = large_lock_take();
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
    while (locked && purged < bytes && (large_cache_oldest() != 0 || warm_cool())) {
        extent_id_t id = large_cache_oldest();
        large_cache_remove(id);
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

// --- get -------------------------------------------------------------------------------------------------------------

typedef struct wanted {
    size_t alignment, bytes; // bytes: whole OS pages
    size_t grains, room;     // that the block needs; that a new extent gets, in addresses alone
    bool grows;              // what has to grow finds no room in a mapping of its own either
    bool huge;               // a new extent begins where a huge page does, and asks for them
} wanted_t;

static wanted_t wanted_of(size_t alignment, size_t size_bytes, size_t room_bytes)
{
    size_t bytes = align_up(size_max(size_bytes, 1), os_page_bytes()), grains = large_live_grains(bytes);
    size_t room = size_max((room_bytes + LARGE_GRAIN_BYTES - 1) >> LARGE_GRAIN_SHIFT, grains);
    bool huge = large_huge_suits(bytes);
    return (wanted_t){alignment, bytes, grains, huge ? large_huge_grains(NULL, room) : room, room_bytes != 0, huge};
}

static extent_id_t wanted_cached(const wanted_t *wanted)
{
    return large_cache_find(wanted->grains, wanted->room + (wanted->grains >> fit_slack_shift) + 1, wanted->alignment);
}

static extent_id_t wanted_fresh(const wanted_t *wanted, bool guarded)
{
    extent_id_t id = unlikely(guarded) ? large_direct_get_guarded(wanted->bytes, wanted->alignment) : 0;
    if (id != 0)
        return id;
    id = extent_get(wanted->room, wanted->huge ? size_max(wanted->alignment, HUGE_BYTES) : wanted->alignment);
    if (id != 0 && wanted->huge)
        large_huge_ask(extent_node(id), wanted->bytes);
    return id != 0 || wanted->grows ? id : large_direct_get(wanted->bytes, wanted->alignment);
}

// `room_bytes` of addresses at least; 0: as many as it needs.
static void *alloc_with_room(size_t alignment, size_t size_bytes, size_t room_bytes, bool *clean)
{
    if (size_bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX - size_bytes || large_live_is_hopeless(size_bytes))
        return NULL;
    wanted_t wanted = wanted_of(alignment, size_bytes, room_bytes);
    if (!large_lock_take())
        return NULL;
    warm_cool();
    bool guarded = large_direct_guards(alignment);
    extent_id_t id = guarded ? 0 : wanted_cached(&wanted);
    size_t dirty_bytes = id == 0 ? 0 : extent_node(id)->used_bytes;
    *clean = id == 0;
    if (unlikely(!budget_reuse(dirty_bytes, wanted.bytes))) {
        lock_give(&extent_lock);
        return NULL;
    }
    if (id != 0)
        large_cache_remove(id);
    else
        id = wanted_fresh(&wanted, guarded);
    if (id != 0)
        large_live_begin(extent_node(id), wanted.bytes, size_bytes);
    lock_give(&extent_lock);
    if (id == 0) {
        budget_unuse(wanted.bytes);
        return NULL;
    }
    extent_t *extent = extent_node(id);
    large_live_trim(extent, dirty_bytes, wanted.bytes);
    if (*clean)
        budget_regret(BUDGET_WHOLE, wanted.bytes);
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

// The lock is held before, and afterwards if the result says so.
static bool dispose(extent_id_t id)
{
    bool locked = true;
    if (extent_node(id)->direct) {
        char *start;
        size_t bytes = large_direct_leave(id, &start);
        lock_give(&extent_lock);
        os_unmap(start, bytes);
        locked = false;
    } else if (budget_fits(extent_node(id)->used_bytes)) {
        large_cache_add(id); // what is too much by that goes next, the oldest first: the newest is wanted soonest
    } else {
        size_t released = extent_release(id, &locked);
        if (released != 0)
            budget_purged(released);
    }
    return locked;
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
    extent_id_t id = large_live_find(block, &result);
    bool locked = true;
    if (id != 0) {
        large_live_end(extent_node(id));
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
    extent_id_t id = large_live_find(block, &result);
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
