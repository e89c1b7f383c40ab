// pool/survey_ranges.c - see survey_ranges.h.
#include "survey_ranges.h"

#include "block_bits.h"
#include "extent.h"
#include "heap.h"
#include "mosaic.h"
#include "os_linux.h"
#include "registry.h"
#include "requested.h"
#include "reserve.h"
#include "sample.h"
#include "trap.h"
#include "zone.h"

void survey_range_add(survey_t *out, const void *start, const void *end, const char *name)
{
    if (start != NULL && start < end && out->range_count < SURVEY_RANGES_MAX)
        out->ranges[out->range_count++] = (survey_range_t){(uintptr_t)start, (uintptr_t)end, name};
}

// --- metadata --------------------------------------------------------------------------------------------------------

#define META_RANGES 16u // that the kernel is asked about at once; most heaps have less

typedef struct meta_ranges {
    unsigned count;
    os_range_t range[META_RANGES];
} meta_ranges_t;

static void meta_count(survey_t *out, meta_ranges_t *ranges)
{
    size_t resident = os_resident_bytes(ranges->range, ranges->count);
    out->metadata_bytes += resident;
    out->heap_rss_bytes += resident;
    ranges->count = 0;
}

// Each begins a mapping of its own.
static void meta_range(survey_t *out, meta_ranges_t *ranges, char *start, char *end)
{
    if (start == NULL || start >= end)
        return;
    survey_range_add(out, start, end, "tarn metadata");
    ranges->range[ranges->count++] = (os_range_t){(uintptr_t)start, align_up((uintptr_t)end, os_page_bytes())};
    if (ranges->count == META_RANGES)
        meta_count(out, ranges);
}

static void meta_list(survey_t *out, meta_ranges_t *ranges)
{
    char *start, *end;
    for (unsigned i = 0; i < zone_count(); i++) {
        zone_t *zone = zone_get(i);
        uint32_t described = atomic_load_explicit(&zone->described, memory_order_acquire);
        start = (char *)zone->dirty.level[0];
        end = (char *)align_up((uintptr_t)&zone->pages[described], os_page_bytes());
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; i < SMALL_ZONES; i++) {
        zone_front_bounds(i, &start, &end);
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; i < registry_arena.chunks; i++)
        meta_range(out, ranges, registry_arena.chunk[i].start,
                   registry_arena.chunk[i].start + registry_arena.chunk[i].bytes);
    for (unsigned i = 0; i < mosaic_arena.chunks; i++)
        meta_range(out, ranges, mosaic_arena.chunk[i].start, mosaic_arena.chunk[i].start + mosaic_arena.chunk[i].bytes);
    extent_table_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    extent_node_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    for (unsigned i = 0; heap_requested_exact && requested_bounds(i, &start, &end); i++)
        meta_range(out, ranges, start, end);
    for (unsigned i = 0; i < atomic_load_explicit(&sample_table_count, memory_order_acquire); i++) {
        sample_bounds(i, &start, &end);
        meta_range(out, ranges, start, end);
    }
    for (unsigned i = 0; block_bits_bounds(i, &start, &end); i++)
        meta_range(out, ranges, start, end);
    trap_table_bounds(&start, &end);
    meta_range(out, ranges, start, end);
    reserve_bounds(&start, &end);
    meta_range(out, ranges, start, end);
}

void survey_metadata(survey_t *out)
{
    meta_ranges_t ranges;
    ranges.count = 0;
    meta_list(out, &ranges);
    meta_count(out, &ranges);
}
