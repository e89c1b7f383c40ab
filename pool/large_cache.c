// pool/large_cache.c - see large_cache.h.
#include "large_cache.h"

#include "budget.h"

// Cached extents that are looked at for a fit, newest first.
static const unsigned cache_tries = 32;

static extent_id_t cache_newest, cache_oldest;

void large_cache_add(extent_id_t id)
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

void large_cache_remove(extent_id_t id)
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

extent_id_t large_cache_oldest(void)
{
    return cache_oldest;
}

static bool cache_fits(const extent_t *extent, size_t grains, size_t most_grains, size_t alignment)
{
    return extent->grains >= grains && extent->grains <= most_grains &&
           ((uintptr_t)extent->start & (alignment - 1)) == 0;
}

extent_id_t large_cache_find(size_t grains, size_t most_grains, size_t alignment)
{
    extent_id_t best = 0, id = cache_newest;
    for (unsigned tries = 0; id != 0 && tries < cache_tries; tries++, id = extent_node(id)->next)
        if (cache_fits(extent_node(id), grains, most_grains, alignment) &&
            (best == 0 || extent_node(id)->grains < extent_node(best)->grains))
            best = id;
    return best;
}
