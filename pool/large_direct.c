// pool/large_direct.c - see large_direct.h.
#include "large_direct.h"

#include "misuse.h"
#include "os_linux.h"

#define DIRECT_BUCKETS 1024u
static const unsigned least_os_page_shift = 12; // a mapping begins with an OS page, so no lower bit says anything

static RARE_DATA extent_id_t direct[DIRECT_BUCKETS];
static size_t direct_count; // blocks in it; at 0 the table is not looked at, and so not resident

static extent_id_t *direct_bucket(const void *start)
{
    return &direct[((uintptr_t)start >> least_os_page_shift) % DIRECT_BUCKETS];
}

void large_direct_add(extent_id_t id)
{
    extent_id_t *bucket = direct_bucket(extent_node(id)->start);
    extent_node(id)->next = *bucket;
    *bucket = id;
    direct_count++;
}

void large_direct_remove(extent_id_t id)
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

extent_id_t large_direct_find(const void *block)
{
    extent_id_t id = direct_count == 0 ? 0 : *direct_bucket(block);
    while (id != 0 && extent_node(id)->start != (const char *)block)
        id = extent_node(id)->next;
    return id;
}

extent_id_t large_direct_get(size_t bytes, size_t alignment)
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
    large_direct_add(id);
    return id;
}

// --- between guards (level 2) -------------------------------------------------------------------------------------------

#define GUARDED_LEVEL 2
#define GUARDED_HELD 64u
#define GUARDED_ALIGNMENT_MOST ((size_t)1 << 30) // so that its OS pages can be counted in 32 bits
// Three mappings each, of the kernel's 65,530; above it, blocks lie side by side.
static const unsigned guarded_most = 10000;

static RARE_DATA extent_id_t guarded_held[GUARDED_HELD]; // a ring
static unsigned guarded_freed, guarded_count;

bool large_direct_guards(size_t alignment)
{
    return harden_level >= GUARDED_LEVEL && guarded_count < guarded_most && alignment <= GUARDED_ALIGNMENT_MOST;
}

extent_id_t large_direct_get_guarded(size_t bytes, size_t alignment)
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
    large_direct_add(id);
    guarded_count++;
    return id;
}

static RARE void guarded_unmap(extent_id_t id)
{
    extent_t *extent = extent_node(id);
    size_t lead = (size_t)extent->grains * os_page_bytes();
    large_direct_remove(id);
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

bool large_direct_shrink_guarded(const extent_t *extent, size_t bytes)
{
    size_t os_page = os_page_bytes();
    if (bytes >= extent->used_bytes)
        return bytes == extent->used_bytes;
    if (!os_withdraw(extent->start + bytes, os_page))
        return false;
    os_unmap(extent->start + bytes + os_page, extent->used_bytes - bytes);
    return true;
}

static RARE bool guarded_has(const char *address)
{
    for (extent_id_t id = large_direct_next(0); id != 0 && guarded_count != 0; id = large_direct_next(id))
        if ((size_t)(address - extent_node(id)->start) < extent_node(id)->used_bytes)
            return extent_node(id)->state == EXTENT_LIVE;
    return false;
}

bool large_direct_is_inside_guarded(const char *address)
{
    return guarded_count != 0 && guarded_has(address);
}

size_t large_direct_leave(extent_id_t id, char **start)
{
    const extent_t *extent = extent_node(id);
    size_t bytes = extent->used_bytes;
    *start = extent->start;
    if (unlikely(extent->grains != 0)) {
        guarded_free(id);
        return 0;
    }
    large_direct_remove(id);
    extent_node_drop(id);
    return bytes;
}

void large_direct_free(extent_id_t id)
{
    char *start;
    size_t bytes = large_direct_leave(id, &start);
    os_unmap(start, bytes);
}
