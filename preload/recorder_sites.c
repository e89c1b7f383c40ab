// preload/recorder_sites.c - see recorder_sites.h.
#include "recorder_sites.h"

#include <string.h>
#include <sys/mman.h>

#include "recorder_file.h"

#define NONE UINT32_MAX

// Sites by the hash of their stack and their class: open addressing, number + 1, at most half full. The first site of a stack
// is there a second time, under ANY_CLASS, so that one of another class finds its frames. (By the stack alone, a program that
// asks for all sizes in one place would have 40 records of sites looked at for each sample.) Mapped for all that there may be;
// used up to the mask, which doubles: few sites are on few OS pages. [recorder_lock]
#define SITE_INDEX_FIRST ((size_t)1024) // one page of 4 KiB

// Most programs ask for few sizes: all up to 16 KiB are on the first of the six pages.
#define SIZES_A_PAGE (4096u / sizeof(recording_size_t))
_Static_assert(RECORDING_SIZES_MAX <= 32 * SIZES_A_PAGE, "a bit for each page of the sizes");

static uint32_t *site_index;
static size_t site_index_mask, site_index_mapped, site_index_used; // entries
static bool begun;                 // there are the index, and record 0 of what a sample is counted in
static uint32_t size_pages_ready;  // a bit for each page of the sizes

static uint32_t sample_free_first; // a free record's `site` is the number of the next; NONE ends
static uint32_t sample_fresh;      // records from here on were never used
static uint64_t thin_random = 1;

static recording_site_t *site_at(uint32_t number)
{
    return recorder_record(RECORDING_SITES, number);
}

static recording_sample_t *sample_at(uint32_t number)
{
    return recorder_record(RECORDING_SAMPLES, number);
}

static bool size_page_reserve(uint32_t page)
{
    const recording_size_t *first = recorder_record(RECORDING_SIZES, page * SIZES_A_PAGE);
    if ((size_pages_ready >> page & 1) == 0 && recorder_populate(first, SIZES_A_PAGE * sizeof *first))
        size_pages_ready |= 1u << page;
    return (size_pages_ready >> page & 1) != 0;
}

static bool site_index_start(uint64_t capacity)
{
    size_t entries = SITE_INDEX_FIRST;
    while (entries < capacity * 4)
        entries *= 2;
    if (site_index == NULL || site_index_mapped != entries)
        site_index = mmap(NULL, entries * sizeof *site_index, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
    else
        memset(site_index, 0, (site_index_mask + 1) * sizeof *site_index);
    if (site_index == MAP_FAILED)
        site_index = NULL;
    site_index_mapped = entries;
    site_index_mask = SITE_INDEX_FIRST - 1;
    site_index_used = 0;
    return site_index != NULL;
}

void recorder_sites_start(void)
{
    begun = false;
    size_pages_ready = 0;
    sample_free_first = NONE;
    sample_fresh = 1; // 0 is "not sampled"
    recording_table_t *tables = recorder_header->tables;
    tables[RECORDING_SIZES].count = tables[RECORDING_SIZES].capacity;
    tables[RECORDING_SITES].count = 1;
}

bool recorder_sites_begin(void)
{
    if (!begun)
        begun = recorder_reserve(RECORDING_THREADS, 1) && recorder_reserve(RECORDING_SITES, 1) && size_page_reserve(0) &&
                site_index_start(recorder_header->tables[RECORDING_SITES].capacity);
    return begun;
}

// --- sites -----------------------------------------------------------------------------------------------------------

#define ANY_CLASS UINT32_MAX

static size_t site_index_place(uint64_t hash, uint32_t class)
{
    return ((hash ^ class * 0x9e3779b97f4a7c15u) >> 20) & site_index_mask;
}

static size_t site_index_next(size_t at)
{
    return (at + 1) & site_index_mask;
}

static uint64_t stack_hash(const call_stack_t *stack)
{
    uint64_t hash = stack->depth;
    for (uint32_t i = 0; i < stack->depth; i++)
        hash = (hash ^ stack->frame[i]) * 0x9e3779b97f4a7c15u ^ hash >> 29;
    return hash;
}

static bool stack_is(const recording_site_t *site, uint64_t hash, const call_stack_t *stack)
{
    return site->stack_hash == hash && site->depth == stack->depth &&
           memcmp(recorder_record(RECORDING_FRAMES, site->frames_first), stack->frame,
                  stack->depth * sizeof *stack->frame) == 0;
}

// False: no room.
static bool frames_write(const call_stack_t *stack, uint64_t *first)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_FRAMES];
    *first = table->count;
    if (!recorder_reserve(RECORDING_FRAMES, *first + stack->depth))
        return false;
    memcpy(recorder_record(RECORDING_FRAMES, *first), stack->frame, stack->depth * sizeof *stack->frame);
    __atomic_store_n(&table->count, *first + stack->depth, __ATOMIC_RELEASE);
    return true;
}

// twin: a site with the same stack in another class, or 0.
static uint32_t site_add(const call_stack_t *stack, uint64_t hash, uint32_t class, uint32_t twin, uint64_t now_ns)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_SITES];
    uint64_t number = table->count, first = twin != 0 ? site_at(twin)->frames_first : 0;
    if (!recorder_reserve(RECORDING_SITES, number + 1) || (twin == 0 && !frames_write(stack, &first))) {
        recorder_header->flags |= RECORDING_FULL_SITES;
        return 0;
    }
    *site_at((uint32_t)number) = (recording_site_t){
        .stack_hash = hash, .frames_first = first, .depth = stack->depth, .class = class, .first_ns = now_ns,
        .flags = stack->cut ? RECORDING_SITE_CUT : 0, .peak_epoch = recorder_header->peak_epoch};
    __atomic_store_n(&table->count, number + 1, __ATOMIC_RELEASE);
    return (uint32_t)number;
}

static void site_index_put(uint32_t number, uint32_t class)
{
    size_t at = site_index_place(site_at(number)->stack_hash, class);
    while (site_index[at] != 0)
        at = site_index_next(at);
    site_index[at] = number + 1;
    site_index_used++;
}

// Sites of one stack share its frames.
static bool has_twin(const recording_site_t *site)
{
    for (size_t at = site_index_place(site->stack_hash, ANY_CLASS); site_index[at] != 0; at = site_index_next(at)) {
        const recording_site_t *other = site_at(site_index[at] - 1);
        if (other->stack_hash == site->stack_hash && other->frames_first == site->frames_first)
            return true;
    }
    return false;
}

static void site_index_add(uint32_t number)
{
    if (!has_twin(site_at(number)))
        site_index_put(number, ANY_CLASS);
    site_index_put(number, site_at(number)->class);
}

// One that is too small begins anew, twice as large: all sites are in it but the first. (What it grows into is clear, but in
// the child of a fork that came in the midst of this.)
static void site_index_note(uint32_t number)
{
    size_t entries = site_index_mask + 1;
    if ((site_index_used + 2) * 2 <= entries || entries == site_index_mapped) {
        site_index_add(number);
        return;
    }
    memset(site_index, 0, 2 * entries * sizeof *site_index);
    site_index_mask = 2 * entries - 1;
    site_index_used = 0;
    for (uint32_t i = 1; i <= number; i++)
        site_index_add(i);
}

// 0: there is none.
static uint32_t site_find(const call_stack_t *stack, uint64_t hash, uint32_t class)
{
    for (size_t at = site_index_place(hash, class); site_index[at] != 0; at = site_index_next(at)) {
        const recording_site_t *site = site_at(site_index[at] - 1);
        if (stack_is(site, hash, stack) && (site->class == class || class == ANY_CLASS))
            return site_index[at] - 1;
    }
    return 0;
}

static uint32_t site_of(const call_stack_t *stack, uint32_t class, uint64_t now_ns)
{
    uint64_t hash = stack_hash(stack);
    uint32_t number = site_find(stack, hash, class);
    if (number != 0)
        return number;
    number = site_add(stack, hash, class, site_find(stack, hash, ANY_CLASS), now_ns);
    if (number != 0)
        site_index_note(number);
    return number;
}

// --- counters --------------------------------------------------------------------------------------------------------

static recording_counts_t counts_of(const recording_sample_t *sample)
{
    return (recording_counts_t){.blocks = sample->weight,
                                .bytes = recording_weighted(sample->weight, sample->block_bytes),
                                .requested_bytes = recording_weighted(sample->weight, sample->requested_bytes)};
}

static void counts_add(recording_counts_t *sum, recording_counts_t counts)
{
    sum->blocks += counts.blocks;
    sum->bytes += counts.bytes;
    sum->requested_bytes += counts.requested_bytes;
}

static void counts_subtract(recording_counts_t *sum, recording_counts_t counts)
{
    sum->blocks -= counts.blocks;
    sum->bytes -= counts.bytes;
    sum->requested_bytes -= counts.requested_bytes;
}

// The site's part in the last peak is what it has up to its first change after it.
static void peak_keep(recording_site_t *site)
{
    if (site->peak_epoch == recorder_header->peak_epoch)
        return;
    site->peak = site->live;
    site->peak_epoch = recorder_header->peak_epoch;
}

static void peak_look(uint64_t now_ns)
{
    if (recorder_header->live_weighted_bytes <= recorder_header->peak_weighted_bytes)
        return;
    recorder_header->peak_weighted_bytes = recorder_header->live_weighted_bytes;
    recorder_header->peak_ns = now_ns;
    recorder_header->peak_epoch++;
}

// A size whose page the disk has no room for counts as the largest of the first page. It always does: a disk that was
// full once is not asked again.
static recording_size_t *size_of(const recording_sample_t *sample)
{
    uint32_t index = recording_size_index(sample->requested_bytes);
    return recorder_record(RECORDING_SIZES, size_page_reserve(index / SIZES_A_PAGE) ? index : SIZES_A_PAGE - 1);
}

static void live_add(recording_site_t *site, const recording_sample_t *sample)
{
    recording_counts_t counts = counts_of(sample);
    peak_keep(site);
    counts_add(&site->live, counts);
    site->live_samples++;
    recorder_header->live_samples++;
    recorder_header->live_weighted_bytes += counts.bytes;
    size_of(sample)->live_blocks += counts.blocks;
    size_of(sample)->live_requested_bytes += counts.requested_bytes;
}

static void live_subtract(recording_site_t *site, const recording_sample_t *sample)
{
    recording_counts_t counts = counts_of(sample);
    peak_keep(site);
    counts_subtract(&site->live, counts);
    site->live_samples--;
    recorder_header->live_samples--;
    recorder_header->live_weighted_bytes -= counts.bytes;
    size_of(sample)->live_blocks -= counts.blocks;
    size_of(sample)->live_requested_bytes -= counts.requested_bytes;
}

// --- samples ---------------------------------------------------------------------------------------------------------

static void sample_drop(uint32_t number)
{
    recording_sample_t *sample = sample_at(number);
    __atomic_store_n(&sample->state, RECORDING_SAMPLE_FREE, __ATOMIC_RELEASE);
    sample->site = sample_free_first;
    sample_free_first = number;
}

// A live sample of a denser rate stays with the chance that makes it one of the new rate.
static void sample_thin(uint32_t number, size_t rate_bytes)
{
    recording_sample_t *sample = sample_at(number);
    uint64_t weight = sample_weight(sample->block_bytes, rate_bytes);
    double chance = (double)sample->weight / (double)weight;
    bool stays = (double)sample_random(&thin_random) * 0x1p-64 < chance;
    if (chance >= 1)
        return;
    live_subtract(site_at(sample->site), sample);
    if (stays) {
        sample->weight = weight;
        live_add(site_at(sample->site), sample);
    } else {
        sample_forget((const void *)(uintptr_t)sample->address);
        sample_drop(number);
    }
}

// The table is full: from now on half as many are taken, and of those that live half stay.
static void thin(void)
{
    size_t rate_bytes = recorder_header->sample_bytes_now * 2;
    recorder_header->flags |= RECORDING_FULL_SAMPLES;
    recorder_header->sample_bytes_now = rate_bytes;
    sample_rate_set(rate_bytes);
    for (uint32_t number = 1; number < sample_fresh; number++)
        if (sample_at(number)->state == RECORDING_SAMPLE_LIVE)
            sample_thin(number, rate_bytes);
}

static uint32_t sample_take_free(void)
{
    uint32_t number = sample_free_first;
    if (number != NONE)
        sample_free_first = sample_at(number)->site;
    return number;
}

// NONE: no room.
static uint32_t sample_place(void)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_SAMPLES];
    uint32_t number = sample_take_free();
    if (number != NONE)
        return number;
    if (recorder_reserve(RECORDING_SAMPLES, (uint64_t)sample_fresh + 1)) {
        __atomic_store_n(&table->count, (uint64_t)sample_fresh + 1, __ATOMIC_RELEASE);
        return sample_fresh++;
    }
    if (sample_fresh > 1)
        thin();
    return sample_take_free();
}

static void sample_write(recording_sample_t *to, const sample_t *sample, const birth_t *birth, uint32_t site)
{
    recording_header_t *header = recorder_header;
    to->birth_number = ++header->sampled_total;
    to->address = (uintptr_t)sample->block;
    to->requested_bytes = sample->requested_bytes;
    to->block_bytes = sample->block_bytes;
    to->weight = sample->weight;
    to->birth_clock_bytes = header->clock_bytes;
    to->birth_ns = birth->now_ns;
    to->site = site;
    to->thread = birth->thread;
    to->tid = birth->tid;
    to->page_number = to->page_holes_bytes = to->page_live_blocks = 0;
    __atomic_store_n(&to->state, RECORDING_SAMPLE_LIVE, __ATOMIC_RELEASE);
}

uint32_t recorder_sample_birth(const sample_t *sample, const call_stack_t *stack, const birth_t *birth)
{
    uint32_t number = sample_place();
    if (number == NONE) {
        recorder_header->sampled_dropped++;
        return 0;
    }
    uint32_t site_number = site_of(stack, sample->class, birth->now_ns);
    recording_sample_t *to = sample_at(number);
    recording_site_t *site = site_at(site_number);
    recording_counts_t counts;
    recorder_header->clock_bytes += recording_weighted(sample->weight, sample->block_bytes);
    sample_write(to, sample, birth, site_number);
    counts = counts_of(to);
    counts_add(&site->allocated, counts);
    site->allocated_samples++;
    site->last_ns = birth->now_ns;
    live_add(site, to);
    size_of(to)->allocated_blocks += counts.blocks;
    size_of(to)->allocated_requested_bytes += counts.requested_bytes;
    peak_look(birth->now_ns);
    return number;
}

// NULL: its place is another's by now (it was thinned while its block was being freed).
static recording_sample_t *sample_named(uint32_t number, const void *block)
{
    recording_sample_t *sample = sample_at(number);
    bool is_it = sample->state == RECORDING_SAMPLE_LIVE && sample->address == (uintptr_t)block;
    return is_it ? sample : NULL;
}

static recording_counts_t *generation_of(recording_site_t *site, uint64_t age_bytes)
{
    if (age_bytes < recorder_header->young_bytes)
        return &site->died_young;
    return age_bytes < recorder_header->old_bytes ? &site->died_middle : &site->died_old;
}

void recorder_sample_death(uint32_t number, const void *block, uint64_t now_ns)
{
    recording_sample_t *sample = sample_named(number, block);
    if (sample == NULL)
        return;
    recording_site_t *site = site_at(sample->site);
    __atomic_store_n(&sample->state, RECORDING_SAMPLE_FREE, __ATOMIC_RELEASE);
    live_subtract(site, sample);
    counts_add(&site->freed, counts_of(sample));
    counts_add(generation_of(site, recorder_header->clock_bytes - sample->birth_clock_bytes), counts_of(sample));
    site->freed_samples++;
    site->last_ns = now_ns;
    sample_drop(number);
}

// Still the block that it was: what it gained is allocated, its chance of having been sampled is another.
void recorder_sample_resize(uint32_t number, const void *old_block, const sample_t *sample, uint64_t now_ns)
{
    recording_sample_t *to = sample_named(number, old_block);
    if (to == NULL)
        return;
    recording_site_t *site = site_at(to->site);
    live_subtract(site, to);
    recorder_header->clock_bytes -= counts_of(to).bytes;
    counts_subtract(&site->allocated, counts_of(to));
    to->address = (uintptr_t)sample->block;
    to->requested_bytes = sample->requested_bytes;
    to->block_bytes = sample->block_bytes;
    to->weight = sample->weight;
    counts_add(&site->allocated, counts_of(to));
    recorder_header->clock_bytes += counts_of(to).bytes;
    live_add(site, to);
    site->last_ns = now_ns;
    peak_look(now_ns);
}

// --- messages ----------------------------------------------------------------------------------------------------------

uint32_t recorder_sample_stack(uint32_t number, uintptr_t *address, uint32_t most)
{
    const recording_table_t *tables = recorder_header->tables;
    uint32_t site = sample_at(number)->site;
    if (site == 0 || site >= __atomic_load_n(&tables[RECORDING_SITES].count, __ATOMIC_ACQUIRE))
        return 0;
    uint32_t depth = site_at(site)->depth < most ? site_at(site)->depth : most;
    for (uint32_t i = 0; i < depth; i++) {
        const uint64_t *frame = recorder_record(RECORDING_FRAMES, site_at(site)->frames_first + i);
        address[i] = (uintptr_t)RECORDING_FRAME_ADDRESS(*frame);
    }
    return depth;
}
