// pool/large_resize.c - a large block becomes longer or shorter, without a copy. See large.h.
//
//   in its own grains  ->  into free grains behind  ->  moved to where there is room for half as much again (mremap)
//   ->  moved into a mapping of its own, where the range has no room
//
// A mapping of its own is resized by the kernel; one between guards only shrinks. All of it under LOCK_LARGE: a block
// that becomes shorter is live meanwhile, for surveys and for a fork's child.
#include "large.h"

#include "budget.h"
#include "huge.h"
#include "large_direct.h"
#include "large_huge.h"
#include "os_linux.h"

// A block that has to move to grow gets room for half as much again, in addresses alone.
static const unsigned growth_shift = 1;
static const size_t alike_least_bytes = 4 * HUGE_BYTES;
// mremap leaves a mapping of its own behind for each block that was moved; the kernel's limit is 65530 in all.
static const unsigned moved_most = 4096;

// What is behind the first `grains`, without what was used of it.
static bool tail_is_clean(const extent_t *extent, size_t grains)
{
    if (likely(!extent->huge))
        return !extent->stained;
    return extent_refresh(extent->start + (grains << LARGE_GRAIN_SHIFT), extent->grains - grains);
}

// In place, in the grains it has. Shrinking gives the OS pages behind the end back, then the addresses.
static void resize_here(extent_id_t id, size_t bytes, size_t size_bytes)
{
    extent_t *extent = extent_node(id);
    size_t before = extent->used_bytes, grains = large_live_grains(bytes);
    large_live_trim(extent, before, bytes);
    large_live_resized(extent, bytes, size_bytes);
    if (bytes < before && grains < extent->grains && !extent->moved && tail_is_clean(extent, grains))
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
    large_live_moved += !old.moved;
    extent->moved = true;
    place->start = old.start;
    place->grains = old.grains;
    extent_swap_table(id, other);
    extent_leave(other, hole);
}

// Where it moves to. What is long, or asks for huge pages, is to lie as before in what they, and page tables, are for: so the kernel
// moves whole tables, and splits no huge page. (512 MiB: 0.1 ms instead of 5.5; 64 MiB 40 us instead of 200; of 4 MiB it is little.)
static extent_id_t place_get(const extent_t *extent, size_t room, bool huge)
{
    const char *like = extent->huge || extent->used_bytes >= alike_least_bytes ? extent->start : NULL;
    size_t grains = huge ? large_huge_grains(like, room) : room;
    return extent_get_alike(grains, huge || like != NULL ? HUGE_BYTES : LARGE_GRAIN_BYTES, like);
}

static bool resize_by_move(extent_id_t id, size_t bytes, bool huge)
{
    extent_t *extent = extent_node(id);
    if (!extent->moved && large_live_moved >= moved_most)
        return false;
    extent_id_t other = place_get(extent, large_live_grains(bytes + (bytes >> growth_shift)), huge);
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
    if (!large_direct_shrink_guarded(extent, bytes))
        return false;
    large_live_resized(extent, bytes, size_bytes);
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
    large_direct_remove(id);
    extent->start = start;
    large_direct_add(id);
    large_live_resized(extent, bytes, size_bytes);
    return true;
}

// Out of the range into a mapping of its own, when the range has no room: still without copying.
static bool resize_to_direct(extent_id_t id, size_t bytes)
{
    extent_id_t other = large_direct_get(bytes, os_page_bytes());
    if (other == 0)
        return false;
    extent_t *extent = extent_node(id), *place = extent_node(other);
    bool hole = false;
    place->used_bytes = bytes;
    if (!os_move(extent->start, (size_t)extent->grains << LARGE_GRAIN_SHIFT, place->start, bytes, &hole)) {
        large_direct_free(other);
        return false;
    }
    // The node of the block stays; the one that was made for the mapping takes over the extent it leaves.
    large_direct_remove(other);
    extent_t old = *extent;
    *extent = (extent_t){.start = place->start, .state = EXTENT_LIVE, .direct = true, .used_bytes = old.used_bytes,
                         .requested_bytes = old.requested_bytes};
    *place = (extent_t){.start = old.start, .grains = old.grains, .state = EXTENT_BUSY};
    large_direct_add(id);
    large_live_moved -= old.moved;
    extent_swap_table(other, other);
    extent_leave(other, hole);
    return true;
}

// --- any of the ways -----------------------------------------------------------------------------------------------------

static bool resize_in_place(extent_id_t id, size_t grains, bool huge)
{
    size_t whole = huge ? large_huge_grains(extent_node(id)->start, grains) : grains;
    return extent_grow(id, whole) || (whole != grains && extent_grow(id, grains));
}

static bool resize_in_range(extent_id_t id, size_t bytes, size_t size_bytes)
{
    extent_t *extent = extent_node(id);
    size_t grains = large_live_grains(bytes);
    bool huge = large_huge_suits_resized(extent, bytes), there = grains <= extent->grains;
    if (!there && !resize_in_place(id, grains, huge) && !resize_by_move(id, bytes, huge))
        return false;
    if (huge && !(there && extent->huge))
        large_huge_ask(extent, bytes);
    resize_here(id, bytes, size_bytes);
    return true;
}

static bool resize_locked(extent_id_t id, size_t size_bytes)
{
    size_t bytes = align_up(size_max(size_bytes, 1), os_page_bytes());
    if (extent_node(id)->direct)
        return resize_direct(id, bytes, size_bytes);
    if (resize_in_range(id, bytes, size_bytes))
        return true;
    if (!resize_to_direct(id, bytes))
        return false;
    large_live_resized(extent_node(id), bytes, size_bytes);
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
    if (size_bytes > PTRDIFF_MAX || large_live_is_hopeless(size_bytes) || !lock_take(&extent_lock))
        return NULL;
    large_result_t result;
    extent_id_t id = large_live_find(block, &result);
    void *resized_block = id != 0 && resize_counted(id, size_bytes) ? extent_node(id)->start : NULL;
    lock_give(&extent_lock);
    return resized_block;
}
