// preload/recorder_snapshot.c - see recorder_snapshot.h.
//
// Pinned bytes. A page's holes are shared among its live blocks, and a sampled one stands for `weight` of them. Summed
// over a class, these charges estimate its holes without bias, but with the error of few samples; so with enough of
// them they are scaled to the class's holes, which are known exactly. With fewer, they are only if they are too high,
// and what is left stays without a name.
#include "recorder_snapshot.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "../pool/sample.h"
#include "kernel.h"
#include "recorder.h"
#include "recorder_file.h"

#define SNAPSHOTS_MOST 256
#define PAGE_BYTES ((size_t)4096) // of the file: a snapshot begins on one
#define CELLS_A_STEP 170u // 4 KiB: how the heap map grows
#define CLASSES (SURVEY_CLASSES_MAX + 1)

// Then the standard error of a charge is a third.
#define SURVIVORS_ENOUGH 9u

static _Atomic int owner; // thread id; 0: free. [atomic] acquire, release

// All [owner].
static recording_snapshot_t *snapshot;       // the one being written
static recording_cell_t *cells;
static uint32_t cells_ready, cells_used;     // writable; written
static uint64_t cells_seen, cell_pages;      // pages that the survey showed; one in so many gets a cell
static uint64_t cells_seen_last;
static uint16_t order[SNAPSHOTS_MOST];       // places in use, oldest first
static bool has_classes[SNAPSHOTS_MOST];     // of a place: not its head alone is writable
static uint32_t order_count;
static uint64_t number_last;
static uint64_t peak_rss_bytes, worst_holes_bytes;

static double charge_sum[CLASSES];
static uint32_t survivors[CLASSES];

// --- places ----------------------------------------------------------------------------------------------------------

static recording_snapshot_t *place_at(uint32_t index)
{
    return recorder_record(RECORDING_SNAPSHOTS, index);
}

static bool is_kept(const recording_snapshot_t *one)
{
    const recording_header_t *header = recorder_header;
    return one->number_begin == header->snapshot_peak || one->number_begin == header->snapshot_worst ||
           one->number_begin == 1;
}

// Of the older ones, the one whose neighbours are nearest to each other. Those without classes are few, and the start's.
static uint32_t victim(bool with_classes)
{
    uint32_t best = 1;
    uint64_t best_gap_ns = UINT64_MAX;
    for (uint32_t i = 1; i + 1 < order_count; i++) {
        uint64_t gap_ns = place_at(order[i + 1])->time_ns - place_at(order[i - 1])->time_ns;
        if (!is_kept(place_at(order[i])) && gap_ns < best_gap_ns && (has_classes[order[i]] || !with_classes)) {
            best = i;
            best_gap_ns = gap_ns;
        }
    }
    return best;
}

static uint16_t place_free(uint32_t index)
{
    uint16_t place = order[index];
    memmove(&order[index], &order[index + 1], (--order_count - index) * sizeof *order);
    recorder_header->flags |= RECORDING_FULL_SNAPSHOTS;
    recorder_header->snapshot_dropped++;
    return place;
}

// Makes the head writable, and the classes if there will be any. False: the disk is full.
static bool place_reserve(uint16_t place, bool with_classes)
{
    size_t classes = with_classes ? recorder_header->snapshot_classes : 0;
    if (!recorder_populate(place_at(place), sizeof(recording_snapshot_t) + classes * sizeof(recording_class_t)))
        return false;
    has_classes[place] = with_classes;
    return true;
}

// Before the pool has started a snapshot is its head alone. NULL: the disk is full.
static recording_snapshot_t *place_get(bool with_classes)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_SNAPSHOTS];
    uint64_t most = table->capacity < SNAPSHOTS_MOST ? table->capacity : SNAPSHOTS_MOST;
    uint16_t place = (uint16_t)order_count;
    if (order_count == most || !place_reserve(place, with_classes)) {
        if (order_count < 4)
            return NULL;
        uint32_t index = victim(with_classes);
        if (with_classes && !has_classes[order[index]] && !place_reserve(order[index], true))
            return NULL;
        place = place_free(index);
    }
    order[order_count++] = place;
    if (table->count < order_count)
        __atomic_store_n(&table->count, order_count, __ATOMIC_RELEASE);
    return place_at(place);
}

// --- begin -----------------------------------------------------------------------------------------------------------

static bool owner_take(unsigned patience_ms)
{
    int self = kernel_gettid();
    for (unsigned waited_ms = 0;; waited_ms++) {
        int now = 0;
        if (atomic_compare_exchange_strong_explicit(&owner, &now, self, memory_order_acquire, memory_order_relaxed))
            return true;
        if (now == self || waited_ms >= patience_ms)
            return now == self && patience_ms != 0; // the end came in the midst of one of ours
        kernel_sleep_ms(1);
    }
}

static void owner_give(void)
{
    atomic_store_explicit(&owner, 0, memory_order_release);
}

// The first cells are on the page that the classes end on.
static void cells_begin(bool with_classes)
{
    size_t at = sizeof *snapshot + recorder_header->snapshot_classes * sizeof(recording_class_t);
    size_t fit = with_classes ? (0 - at) % PAGE_BYTES / sizeof *cells : 0;
    cells = (recording_cell_t *)((char *)snapshot + at);
    cells_ready = fit < recorder_header->snapshot_cells ? (uint32_t)fit : recorder_header->snapshot_cells;
    cells_used = 0;
    cells_seen = 0;
    for (cell_pages = 1; cells_seen_last / cell_pages > recorder_header->snapshot_cells;)
        cell_pages *= 2;
}

bool recorder_snapshot_begin(recording_reason_t reason, unsigned patience_ms)
{
    if (!owner_take(patience_ms))
        return false;
    snapshot = place_get(survey_has_classes());
    if (snapshot == NULL) {
        owner_give();
        return false;
    }
    __atomic_store_n(&snapshot->number_end, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&snapshot->number_begin, number_last + 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_RELEASE); // nothing of the new one before it; pairs with a reader's last look
    snapshot->reason = reason;
    cells_begin(has_classes[order[order_count - 1]]);
    return true;
}

// --- the heap map ----------------------------------------------------------------------------------------------------

static bool cell_room(void)
{
    uint32_t most = recorder_header->snapshot_cells;
    if (cells_used == most) {
        for (uint32_t i = 0; i < most / 2; i++)
            cells[i] = cells[2 * i];
        cells_used = most / 2;
        cell_pages *= 2;
    }
    if (cells_used < cells_ready)
        return true;
    uint32_t step = most - cells_ready < CELLS_A_STEP ? most - cells_ready : CELLS_A_STEP;
    if (!recorder_populate(&cells[cells_ready], step * sizeof *cells))
        return false;
    cells_ready += step;
    return true;
}

static uint32_t cell_units(uint64_t bytes)
{
    uint64_t units = (bytes + RECORDING_CELL_UNIT - 1) / RECORDING_CELL_UNIT;
    return units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

static void cell_write(const survey_page_t *page)
{
    static const uint16_t flags[] = {[SURVEY_PAGE] = 0,
                                     [SURVEY_FREE_PAGE] = RECORDING_CELL_FREE,
                                     [SURVEY_LARGE] = RECORDING_CELL_LARGE,
                                     [SURVEY_LARGE_FREE] = RECORDING_CELL_LARGE | RECORDING_CELL_FREE};
    cells[cells_used++] = (recording_cell_t){
        .address = page->start, .length = cell_units(page->bytes), .live = cell_units(page->live_bytes),
        .resident = cell_units(page->resident_bytes), .class = page->class,
        .flags = (uint16_t)(flags[page->kind] | (page->sampled ? RECORDING_CELL_SAMPLED : 0))};
}

// What the page is to a sampled block in it.
static void survivor_note(uint32_t number, uintptr_t address, const survey_page_t *page)
{
    recording_sample_t *sample = recorder_record(RECORDING_SAMPLES, number);
    if (sample->state != RECORDING_SAMPLE_LIVE || sample->address != address)
        return;
    sample->page_number = snapshot->number_begin;
    sample->page_holes_bytes = page->holes_bytes;
    sample->page_live_blocks = page->live_blocks;
}

static void survivors_note(const survey_page_t *page)
{
    uintptr_t end = page->start + page->bytes;
    if (!recorder_lock_take())
        return;
    for (uintptr_t block = page->start; block + page->block_bytes <= end; block += page->block_bytes) {
        uint32_t number = sample_may_be((const void *)block) ? sample_find((const void *)block) : 0; // mostly without a call
        if (number != 0)
            survivor_note(number, block, page);
    }
    recorder_lock_give();
}

static RARE void page_visit(void *unused, const survey_page_t *page)
{
    (void)unused;
    if (page->sampled)
        survivors_note(page);
    if (page->live_blocks == 0 && page->resident_bytes == 0)
        return; // addresses alone
    if (cells_seen++ % cell_pages == 0 && cell_room())
        cell_write(page);
}

const survey_visitor_t *recorder_snapshot_visitor(void)
{
    static const survey_visitor_t visitor = {page_visit, NULL};
    return &visitor;
}

// --- pinned bytes ----------------------------------------------------------------------------------------------------

static bool is_survivor(const recording_sample_t *sample)
{
    return sample->state == RECORDING_SAMPLE_LIVE && sample->page_number == snapshot->number_begin &&
           sample->page_live_blocks != 0;
}

static double charge_of(const recording_sample_t *sample)
{
    return (double)sample->weight / RECORDING_BLOCK * (double)sample->page_holes_bytes / sample->page_live_blocks;
}

static uint32_t class_of(const recording_sample_t *sample)
{
    const recording_site_t *site = recorder_record(RECORDING_SITES, sample->site);
    return site->class < CLASSES ? site->class : 0; // site 0 has none
}

static void charges_sum(uint64_t count)
{
    memset(charge_sum, 0, sizeof charge_sum);
    memset(survivors, 0, sizeof survivors);
    for (uint64_t i = 1; i < count; i++) {
        const recording_sample_t *sample = recorder_record(RECORDING_SAMPLES, i);
        if (!is_survivor(sample))
            continue;
        charge_sum[class_of(sample)] += charge_of(sample);
        survivors[class_of(sample)]++;
    }
}

// What a class's charges are multiplied with.
static double scale_of(const sheet_t *sheet, uint32_t class)
{
    if (class == 0 || charge_sum[class] == 0)
        return 0;
    double scale = (double)sheet->survey.classes[class - 1].holes_bytes / charge_sum[class];
    return scale < 1 || survivors[class] >= SURVIVORS_ENOUGH ? scale : 1;
}

static void pinned_clear(uint32_t place)
{
    const recording_table_t *tables = recorder_header->tables;
    // Before the first sample the first site, too, is a hole of the file, and clear.
    uint64_t sites = tables[RECORDING_SAMPLES].count == 0 ? 0 : tables[RECORDING_SITES].count;
    for (uint64_t i = 0; i < sites; i++) {
        recording_site_t *site = recorder_record(RECORDING_SITES, i);
        site->pinned_bytes[place] = site->pinned_samples[place] = 0;
    }
}

// Returns what was charged.
static uint64_t pinned_charge(const sheet_t *sheet, uint32_t place, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 1; i < count; i++) {
        const recording_sample_t *sample = recorder_record(RECORDING_SAMPLES, i);
        if (!is_survivor(sample))
            continue;
        recording_site_t *site = recorder_record(RECORDING_SITES, sample->site);
        uint64_t bytes = (uint64_t)(charge_of(sample) * scale_of(sheet, class_of(sample)));
        site->pinned_bytes[place] += bytes;
        site->pinned_samples[place]++;
        sum += bytes;
    }
    return sum;
}

// A place that is neither the last snapshot's nor the worst's.
static uint32_t pinned_place(void)
{
    uint32_t place = 0;
    while (place == recorder_header->pinned_last || place == recorder_header->pinned_worst)
        place++;
    return place;
}

static void pinned_write(const sheet_t *sheet)
{
    recording_header_t *header = recorder_header;
    uint32_t place = pinned_place();
    uint64_t count = header->tables[RECORDING_SAMPLES].count, holes = sheet->survey.holes_bytes;
    __atomic_store_n(&header->pinned_number[place], 0, __ATOMIC_SEQ_CST);
    pinned_clear(place);
    charges_sum(count);
    uint64_t charged = pinned_charge(sheet, place, count);
    header->pinned_unattributed_bytes[place] = charged < holes ? holes - charged : 0;
    __atomic_store_n(&header->pinned_number[place], snapshot->number_begin, __ATOMIC_RELEASE);
    __atomic_store_n(&header->pinned_last, place, __ATOMIC_RELEASE);
    if (snapshot->number_begin == header->snapshot_worst)
        __atomic_store_n(&header->pinned_worst, place, __ATOMIC_RELEASE);
}

// --- the sheet -------------------------------------------------------------------------------------------------------

static uint64_t process_cpu_ns(void)
{
    struct timespec now = {0};
    kernel_clock(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void process_write(const sheet_t *sheet)
{
    snapshot->cpu_ns = process_cpu_ns();
    snapshot->clock_bytes = recorder_header->clock_bytes;
    snapshot->rss_bytes = sheet->rss_bytes;
    snapshot->peak_rss_bytes = sheet->peak_rss_bytes;
    snapshot->other_rss_bytes = sheet->other_rss_bytes;
    snapshot->process_known = sheet->process_known;
    snapshot->threads = sheet->threads;
    snapshot->live_samples = recorder_header->live_samples;
    snapshot->live_weighted_bytes = recorder_header->live_weighted_bytes;
}

static void heap_write(const survey_t *survey)
{
    snapshot->heap_rss_bytes = survey->heap_rss_bytes;
    snapshot->requested_bytes = survey->requested_bytes;
    snapshot->rounding_bytes = survey->rounding_bytes;
    snapshot->holes_bytes = survey->holes_bytes;
    snapshot->tail_bytes = survey->tail_bytes;
    snapshot->retained_bytes = survey->retained_bytes;
    snapshot->pending_bytes = survey->pending_bytes;
    snapshot->metadata_bytes = survey->metadata_bytes;
    snapshot->untouched_bytes = survey->untouched_bytes;
    snapshot->live_bytes = survey->live_bytes;
    snapshot->live_blocks = survey->live_blocks;
    snapshot->allocated_total = survey->allocated_total;
    snapshot->freed_total = survey->freed_total;
    snapshot->requested_error_bytes = (uint64_t)survey->requested_error;
    snapshot->requested_exact = survey->requested_exact;
    snapshot->large_blocks = survey->large_blocks;
    snapshot->large_bytes = survey->large_bytes;
    snapshot->large_allocated_total = survey->large_allocated_total;
    snapshot->large_cached_bytes = survey->large_cached_bytes;
    snapshot->mapped_bytes = survey->mapped_bytes;
    snapshot->mapped_peak_bytes = survey->mapped_peak_bytes;
    snapshot->purged_total_bytes = survey->purged_total_bytes;
    snapshot->budget_bytes = survey->budget_bytes;
    snapshot->heaps = survey->heaps;
    snapshot->heaps_orphaned = survey->heaps_orphaned;
}

static void classes_write(const survey_t *survey)
{
    recording_class_t *to = (recording_class_t *)(snapshot + 1);
    for (uint32_t i = 0; i < survey->class_count; i++) {
        const survey_class_t *from = &survey->classes[i];
        to[i] = (recording_class_t){.block_bytes = survey_block_bytes(i),
                                    .page_bytes = survey_page_bytes(i),
                                    .pages = from->pages,
                                    .live_blocks = from->live_blocks,
                                    .allocated_total = from->allocated_total,
                                    .requested_bytes = from->requested_bytes,
                                    .requested_error_bytes = (uint64_t)from->requested_error,
                                    .rounding_bytes = from->rounding_bytes,
                                    .holes_bytes = from->holes_bytes,
                                    .tail_bytes = from->tail_bytes,
                                    .pending_bytes = from->pending_bytes,
                                    .untouched_bytes = from->untouched_bytes};
    }
    snapshot->class_count = survey->class_count;
    snapshot->cell_count = cells_used;
    snapshot->cell_pages = cell_pages;
    cells_seen_last = cells_seen;
}

// Before the snapshot counts, what is said of it in the header; a reader that comes too early finds no such number.
static void highs_note(const sheet_t *sheet)
{
    if (sheet->rss_bytes >= peak_rss_bytes) {
        peak_rss_bytes = sheet->rss_bytes;
        recorder_header->snapshot_peak = snapshot->number_begin;
    }
    if (sheet->survey.holes_bytes >= worst_holes_bytes) {
        worst_holes_bytes = sheet->survey.holes_bytes;
        recorder_header->snapshot_worst = snapshot->number_begin;
    }
}

// False: the pool has started since recorder_snapshot_begin looked, and the disk has no room for its classes.
static bool classes_fit(const survey_t *survey)
{
    uint16_t place = order[order_count - 1];
    return survey->class_count == 0 || has_classes[place] || place_reserve(place, true);
}

void recorder_snapshot_finish(const sheet_t *sheet, uint64_t now_ns)
{
    snapshot->time_ns = now_ns;
    if (!classes_fit(&sheet->survey)) {
        snapshot->number_begin = 0;
        owner_give();
        return;
    }
    process_write(sheet);
    heap_write(&sheet->survey);
    classes_write(&sheet->survey);
    number_last = snapshot->number_begin;
    __atomic_store_n(&snapshot->number_end, number_last, __ATOMIC_RELEASE);
    __atomic_store_n(&recorder_header->snapshot_number, number_last, __ATOMIC_RELEASE);
    highs_note(sheet);
    if (recorder_header->profile && recorder_lock_take()) {
        pinned_write(sheet);
        recorder_lock_give();
    }
    owner_give();
}

void recorder_snapshot_reset(void)
{
    order_count = 0;
    cells_seen_last = number_last = peak_rss_bytes = worst_holes_bytes = 0;
    owner_give();
}
