// pool/large_live.c - see large_live.h.
#include "large_live.h"

#include "budget.h"
#include "large_direct.h"
#include "os_linux.h"

large_counts_t large_live_counts;
unsigned large_live_moved;

size_t large_live_grains(size_t bytes)
{
    return (bytes + os_page_bytes() + LARGE_GRAIN_BYTES - 1) >> LARGE_GRAIN_SHIFT;
}

static extent_id_t find(const void *block)
{
    extent_id_t id = extent_in_range(block) ? extent_at(block) : 0;
    if (likely(id != 0 && extent_node(id)->state == EXTENT_LIVE))
        return id;
    extent_id_t alone = large_direct_find(block); // also inside the range: the kernel may have put it into a lost extent
    return alone != 0 ? alone : id;
}

static large_result_t not_found(const void *block)
{
    if (!extent_in_range(block))
        return large_direct_is_inside_guarded(block) ? LARGE_INTERIOR : LARGE_FOREIGN;
    extent_id_t id = extent_around(block);
    return id != 0 && extent_node(id)->state == EXTENT_LIVE ? LARGE_INTERIOR : LARGE_FREED;
}

extent_id_t large_live_find(const void *block, large_result_t *why)
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

void large_live_begin(extent_t *extent, size_t bytes, size_t size_bytes)
{
    extent_state_set(extent, EXTENT_LIVE);
    extent->used_bytes = bytes;
    extent->requested_bytes = size_bytes;
    large_live_counts.live_blocks++;
    large_live_counts.allocated_total++;
    large_live_counts.live_bytes += bytes;
    large_live_counts.requested_bytes += size_bytes;
}

void large_live_end(extent_t *extent)
{
    extent_state_set(extent, EXTENT_BUSY);
    large_live_counts.live_blocks--;
    large_live_counts.live_bytes -= extent->used_bytes;
    large_live_counts.requested_bytes -= extent->requested_bytes;
    budget_unuse(extent->used_bytes);
}

void large_live_resized(extent_t *extent, size_t bytes, size_t size_bytes)
{
    large_live_counts.live_bytes += bytes - extent->used_bytes;
    large_live_counts.requested_bytes += size_bytes - extent->requested_bytes;
    if (bytes < extent->used_bytes)
        budget_unuse(extent->used_bytes - bytes);
    extent->used_bytes = bytes;
    extent->requested_bytes = size_bytes;
}

void large_live_trim(extent_t *extent, size_t dirty_bytes, size_t bytes)
{
    if (dirty_bytes > bytes && !os_purge(extent->start + bytes, dirty_bytes - bytes))
        extent->stained = true;
}

// The reserved range is not held against the kernel's overcommit limit, so a request that could never be filled would be
// granted; programs rely on its being refused. Only requests that big are worth the two system calls.
static const unsigned hopeless_shift = 2; // a quarter of the machine's memory

bool large_live_is_hopeless(size_t bytes)
{
    return bytes > os_memory_bytes() >> hopeless_shift && !os_would_grant(bytes);
}

static void count(large_counts_t *counts, const extent_t *extent)
{
    if (extent->state != EXTENT_LIVE && extent->state != EXTENT_WARM)
        return;
    counts->live_blocks++;
    counts->live_bytes += extent->used_bytes;
    counts->requested_bytes += extent->requested_bytes;
}

const char *large_live_check(void)
{
    large_counts_t counts = {0};
    unsigned moved = 0;
    for (extent_id_t id = extent_first(); id != 0; id = extent_behind(id)) {
        if (extent_node(id)->state == EXTENT_BUSY)
            return NULL; // a child of fork: who works on it is not there
        count(&counts, extent_node(id));
        moved += extent_node(id)->moved;
    }
    for (extent_id_t id = large_direct_next(0); id != 0; id = large_direct_next(id))
        count(&counts, extent_node(id));
    if (counts.live_blocks != large_live_counts.live_blocks || counts.live_bytes != large_live_counts.live_bytes ||
        counts.requested_bytes != large_live_counts.requested_bytes)
        return "the counts of large blocks are not those of the ones that live";
    return moved == large_live_moved ? NULL : "the count of moved extents is not that of the moved ones";
}
