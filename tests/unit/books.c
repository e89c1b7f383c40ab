// tests/unit/books.c - see books.h.
#include "books.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGEMAP_PRESENT ((uint64_t)1 << 63)

static const char name_prefix[] = "[anon:tarn ";

uint64_t books_tolerance(uint64_t bytes)
{
    return 64 * 1024 + bytes / 200;
}

uint64_t books_sum(const survey_t *survey)
{
    return survey->requested_bytes + survey->rounding_bytes + survey->holes_bytes + survey->tail_bytes +
           survey->retained_bytes + survey->pending_bytes + survey->metadata_bytes - survey->untouched_bytes;
}

// --- pagemap ---------------------------------------------------------------------------------------------------------

static unsigned present_in(const uint64_t *entries, size_t count)
{
    unsigned present = 0;
    for (size_t i = 0; i < count; i++)
        present += (entries[i] & PAGEMAP_PRESENT) != 0;
    return present;
}

static uint64_t resident_between(uintptr_t start, uintptr_t end)
{
    uint64_t entries[512], pages = 0;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE); // the kernel's, whatever a test makes of getpagesize
    int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    for (uintptr_t at = start; at < end;) {
        size_t count = (end - at) / page_bytes;
        count = count < 512 ? count : 512;
        if (pread(file, entries, count * 8, (off_t)(at / page_bytes * 8)) != (ssize_t)(count * 8)) {
            perror("/proc/self/pagemap");
            abort();
        }
        pages += present_in(entries, count);
        at += count * page_bytes;
    }
    close(file);
    return pages * page_bytes;
}

uint64_t books_resident(const void *start, const void *end)
{
    return resident_between((uintptr_t)start, (uintptr_t)end);
}

// --- smaps -----------------------------------------------------------------------------------------------------------

typedef struct mapping {
    uintptr_t start, end;
    bool ours; // by its name
    uint64_t rss_bytes;
} mapping_t;

// Calls `visit` for each mapping of the process.
static void smaps_walk(void (*visit)(const mapping_t *mapping, void *context), void *context)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    mapping_t mapping = {0};
    uint64_t kib;
    if (file == NULL) {
        perror("/proc/self/smaps");
        abort();
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &mapping.start, &mapping.end) == 2)
            mapping.ours = strstr(line, name_prefix) != NULL;
        else if (sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1) {
            mapping.rss_bytes = kib * 1024;
            visit(&mapping, context);
        }
    }
    fclose(file);
}

typedef struct ranges_sum {
    const survey_t *survey;
    uint64_t bytes;
} ranges_sum_t;

// The first range that ends behind `address`; NULL if there is none.
static const survey_range_t *range_behind(const survey_t *survey, uintptr_t address)
{
    const survey_range_t *first = NULL;
    for (unsigned i = 0; i < survey->range_count; i++) {
        const survey_range_t *range = &survey->ranges[i];
        if (range->end > address && (first == NULL || range->start < first->start))
            first = range;
    }
    return first;
}

// A mapping may reach beyond a range, for the kernel merges neighbours: what is resident outside does not count.
static void mapping_in_ranges(const mapping_t *mapping, void *context)
{
    ranges_sum_t *sum = context;
    uint64_t outside = 0;
    if (mapping->rss_bytes == 0)
        return;
    for (uintptr_t at = mapping->start; at < mapping->end;) {
        const survey_range_t *range = range_behind(sum->survey, at);
        uintptr_t next = range == NULL || range->start > mapping->end ? mapping->end : range->start;
        if (at == mapping->start && next == mapping->end)
            return; // all of it is outside
        if (next > at)
            outside += resident_between(at, next);
        at = next == mapping->end ? next : range->end;
    }
    sum->bytes += mapping->rss_bytes - outside;
}

uint64_t books_smaps_rss(const survey_t *survey)
{
    if (survey->range_count == SURVEY_RANGES_MAX) // many large blocks between guards, each a range: not all are told
        return survey->heap_rss_bytes;
    ranges_sum_t sum = {.survey = survey};
    smaps_walk(mapping_in_ranges, &sum);
    return sum.bytes;
}

typedef struct named_sum {
    uint64_t bytes;
    bool named;
} named_sum_t;

static void mapping_named(const mapping_t *mapping, void *context)
{
    named_sum_t *sum = context;
    sum->named |= mapping->ours;
    sum->bytes += mapping->ours ? mapping->rss_bytes : 0;
}

uint64_t books_named_rss(bool *named)
{
    named_sum_t sum = {0};
    smaps_walk(mapping_named, &sum);
    *named = sum.named;
    return sum.bytes;
}

// --- both ------------------------------------------------------------------------------------------------------------

static bool near(uint64_t a, uint64_t b, uint64_t tolerance)
{
    return (a > b ? a - b : b - a) <= tolerance;
}

bool books_agree(const survey_t *survey, char *why, size_t why_bytes)
{
    bool named;
    uint64_t rss = survey->heap_rss_bytes, sum = books_sum(survey), smaps = books_smaps_rss(survey);
    uint64_t by_name = books_named_rss(&named), tolerance = books_tolerance(smaps);
    if (near(sum, smaps, tolerance) && near(rss, smaps, tolerance) && (!named || near(by_name, smaps, tolerance)))
        return true;
    snprintf(why, why_bytes, "heap_rss_bytes %" PRIu64 ", its parts %" PRIu64 ", smaps %" PRIu64 ", by name %" PRIu64,
             rss, sum, smaps, named ? by_name : 0);
    return false;
}
