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

typedef struct meta {
    survey_t *out;
    unsigned count;
    os_range_t range[META_RANGES];
} meta_t;

static void meta_count(meta_t *meta)
{
    size_t resident = os_resident_bytes(meta->range, meta->count);
    meta->out->metadata_bytes += resident;
    meta->out->heap_rss_bytes += resident;
    meta->count = 0;
}

// Each begins a mapping of its own.
static void meta_add(const char *start, const char *end, void *context)
{
    meta_t *meta = context;
    survey_range_add(meta->out, start, end, "tarn metadata");
    meta->range[meta->count++] = (os_range_t){(uintptr_t)start, (uintptr_t)end};
    if (meta->count == META_RANGES)
        meta_count(meta);
}

void survey_metadata(survey_t *out)
{
    meta_t meta;
    meta.out = out;
    meta.count = 0;
    survey_tables(meta_add, &meta);
    meta_count(&meta);
}

typedef struct tables {
    void (*visit)(const char *start, const char *end, void *context);
    void *context;
} tables_t;

static void table_visit(const tables_t *tables, const char *start, const char *end)
{
    if (start != NULL && start < end)
        tables->visit(start, (const char *)align_up((uintptr_t)end, os_page_bytes()), tables->context);
}

void survey_tables(void (*visit)(const char *start, const char *end, void *context), void *context)
{
    const tables_t tables = {visit, context};
    char *start, *end;
    for (unsigned i = 0; i < zone_count(); i++) {
        zone_t *zone = zone_get(i);
        uint32_t described = atomic_load_explicit(&zone->described, memory_order_acquire);
        start = bitset_words(&zone->dirty);
        end = (char *)align_up((uintptr_t)&zone->pages[described], os_page_bytes());
        table_visit(&tables, start, end);
    }
    for (unsigned i = 0; i < SMALL_ZONES; i++) {
        zone_front_bounds(i, &start, &end);
        table_visit(&tables, start, end);
    }
    for (unsigned i = 0; i < registry_arena.chunks; i++)
        table_visit(&tables, registry_arena.chunk[i].start,
                   registry_arena.chunk[i].start + registry_arena.chunk[i].bytes);
    for (unsigned i = 0; i < mosaic_arena.chunks; i++)
        table_visit(&tables, mosaic_arena.chunk[i].start, mosaic_arena.chunk[i].start + mosaic_arena.chunk[i].bytes);
    extent_table_bounds(&start, &end);
    table_visit(&tables, start, end);
    extent_node_bounds(&start, &end);
    table_visit(&tables, start, end);
    for (unsigned i = 0; heap_requested_exact && requested_bounds(i, &start, &end); i++)
        table_visit(&tables, start, end);
    for (unsigned i = 0; i < atomic_load_explicit(&sample_table_count, memory_order_acquire); i++) {
        sample_bounds(i, &start, &end);
        table_visit(&tables, start, end);
    }
    for (unsigned i = 0; block_bits_bounds(i, &start, &end); i++)
        table_visit(&tables, start, end);
    trap_table_bounds(&start, &end);
    table_visit(&tables, start, end);
    reserve_bounds(&start, &end);
    table_visit(&tables, start, end);
}
