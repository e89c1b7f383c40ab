// tools/report_json.c - see report_json.h. A field that changes its meaning, or goes, is a new SCHEMA; a new one is
// not.
#include "report_json.h"

#include "amount.h"
#include "blame.h"
#include "json_text.h"
#include "lookup.h"
#include "memory.h"
#include "verdict.h"
#include "what_if.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA 1

// The heap maps of all snapshots together have at most so many pages (some 4 MB of text); else only those of the
// moments have theirs.
#define MAP_PAGES_MAX 250000

static void set_number(json_t *object, const char *name, uint64_t number)
{
    json_object_set_new(object, name, json_number(number));
}

static void set_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, json_text(text));
}

// --- the process -----------------------------------------------------------------------------------------------------

static json_t *command_json(const profile_t *profile)
{
    json_t *words = json_array();
    for (uint32_t i = 0; i < profile->command_count; i++)
        json_array_append_new(words, json_text(profile->command[i]));
    return words;
}

static json_t *cause_json(const profile_t *profile, const verdict_t *verdict)
{
    json_t *cause = json_object();
    set_text(cause, "kind", verdict->name);
    set_text(cause, "name", verdict->field);
    set_number(cause, "bytes", verdict->bytes);
    set_number(cause, "of_bytes", verdict->of_bytes);
    set_number(cause, "snapshot", profile->at[verdict->moment]);
    json_object_set_new(cause, "stack", verdict->blames ? json_number(verdict->stack) : json_null());
    set_text(cause, "site", verdict->blames ? profile->sites[verdict->site].text : NULL);
    if (!verdict->blames)
        return cause;
    set_text(cause, "metric", profile_metric_name(verdict->metric));
    set_number(cause, "metric_total", profile_total(profile, verdict->moment, verdict->metric));
    set_number(cause, "stack_bytes", verdict->stack_bytes);
    set_number(cause, "site_bytes", verdict->site_bytes);
    return cause;
}

static json_t *provenance_json(const profile_t *profile)
{
    json_t *provenance = json_object();
    set_text(provenance, "kernel", profile->kernel);
    set_number(provenance, "os_page_bytes", profile->os_page_bytes);
    set_number(provenance, "waste_percent", profile->waste_percent);
    return provenance;
}

static json_t *texts_json(const char *const *texts, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(array, json_text(texts[i]));
    return array;
}

static void set_process(json_t *object, const profile_t *profile)
{
    set_text(object, "recording", profile->recording);
    set_text(object, "program", profile->program);
    set_number(object, "pid", profile->pid);
    set_number(object, "parent_pid", profile->parent_pid);
    set_text(object, "ended_by", profile->ended_by);
    if (profile->became != NULL)
        set_text(object, "became", profile->became);
    json_object_set_new(object, "end_value", json_integer(profile->end_value));
}

static void set_head(json_t *report, const profile_t *profile)
{
    verdict_t verdict = verdict_of(profile);
    set_number(report, "schema", SCHEMA);
    set_text(report, "kind", "report");
    set_text(report, "tool_version", TARN_VERSION);
    set_text(report, "tarn_version", profile->tarn_version);
    set_process(report, profile);
    json_object_set_new(report, "command", command_json(profile));
    json_object_set_new(report, "forked", json_boolean(profile->forked));
    set_number(report, "started_unix_ms", profile->started_unix_ms);
    set_number(report, "duration_ms", profile->duration_ms);
    set_text(report, "verdict", verdict.text);
    json_object_set_new(report, "cause", cause_json(profile, &verdict));
    json_object_set_new(report, "warnings", texts_json(profile->warnings, profile->warning_count));
    set_number(report, "sample_bytes", profile->sample_bytes);
    json_object_set_new(report, "provenance", provenance_json(profile));
}

static json_t *processes_json(profile_t *const *profiles, size_t count)
{
    static const char *const fields[] = {"peak_rss_bytes", "rss_bytes",      "heap_rss_bytes", "live_bytes",
                                         "holes_bytes",    "rounding_bytes", "retained_bytes"};
    json_t *rows = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *row = json_object();
        const balance_t *last = &profile_snapshot(profiles[i], MOMENT_LAST)->balance;
        set_process(row, profiles[i]);
        for (size_t j = 0; j < sizeof fields / sizeof fields[0]; j++)
            set_number(row, fields[j], balance_value(last, balance_field(fields[j])));
        set_text(row, "verdict", verdict_of(profiles[i]).text);
        json_array_append_new(rows, row);
    }
    return rows;
}

// --- snapshots -------------------------------------------------------------------------------------------------------

static json_t *class_json(const profile_class_t *class)
{
    json_t *object = json_object();
    set_number(object, "block_bytes", class->block_bytes);
    set_number(object, "page_bytes", class->page_bytes);
    set_number(object, "pages", class->pages);
    set_number(object, "live_blocks", class->live_blocks);
    set_number(object, "allocated_total", class->allocated_total);
    set_number(object, "requested_bytes", class->requested_bytes);
    set_number(object, "requested_error_bytes", class->requested_error_bytes);
    set_number(object, "rounding_bytes", class->rounding_bytes);
    set_number(object, "holes_bytes", class->holes_bytes);
    set_number(object, "tail_bytes", class->tail_bytes);
    set_number(object, "pending_bytes", class->pending_bytes);
    set_number(object, "untouched_bytes", class->untouched_bytes);
    double pages_bytes = (double)class->pages * (double)class->page_bytes;
    double filled = (double)class->live_blocks * (double)class->block_bytes;
    set_number(object, "occupancy_percent", pages_bytes > 0 ? amount_whole(filled * 100 / pages_bytes + 0.5) : 0);
    return object;
}

// The samples by address, for the heap map.
typedef struct by_address {
    const profile_sample_t *samples;
    uint32_t *order;
    uint32_t count;
} by_address_t;

static int addresses_compare(const void *left, const void *right, void *context)
{
    const profile_sample_t *samples = context;
    uint64_t first = samples[*(const uint32_t *)left].address, second = samples[*(const uint32_t *)right].address;
    return (first > second) - (first < second);
}

static by_address_t by_address(const profile_t *profile)
{
    by_address_t index = {profile->samples, memory_get(profile->sample_count, sizeof(uint32_t)), profile->sample_count};
    for (uint32_t i = 0; i < index.count; i++)
        index.order[i] = i;
    qsort_r(index.order, index.count, sizeof(uint32_t), addresses_compare, profile->samples);
    return index;
}

static uint32_t first_from(const by_address_t *index, uint64_t address)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->samples[index->order[middle]].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// A block that lives now and was born by the time of the snapshot was there.
static json_t *page_samples_json(const by_address_t *index, const profile_page_t *page, uint64_t time_ms)
{
    json_t *array = NULL;
    for (uint32_t i = first_from(index, page->address); i < index->count; i++) {
        const profile_sample_t *sample = &index->samples[index->order[i]];
        if (sample->address - page->address >= page->page_bytes)
            break;
        if (sample->birth_ms > time_ms)
            continue;
        if (array == NULL)
            array = json_array();
        json_array_append_new(array, json_number(index->order[i]));
    }
    return array;
}

static json_t *page_json(const by_address_t *index, const profile_page_t *page, uint64_t live, uint64_t time_ms)
{
    json_t *array = json_array();
    json_array_append_new(array, json_number(live));
    json_array_append_new(array, json_number(page->resident_bytes));
    json_t *samples = page_samples_json(index, page, time_ms);
    if (samples != NULL)
        json_array_append_new(array, samples);
    return array;
}

// Rows by kind, the classes one by one: row 0 .. class_count - 1, then large blocks, then kept pages.
static uint32_t row_of(const profile_snapshot_t *snapshot, const profile_page_t *page)
{
    return page->kind == PAGE_OF_CLASS ? page->class_index : snapshot->class_count + (page->kind == PAGE_FREE);
}

static json_t *row_json(const profile_snapshot_t *snapshot, uint32_t row)
{
    json_t *object = json_object();
    bool is_class = row < snapshot->class_count;
    set_text(object, "kind", is_class ? "class" : row == snapshot->class_count ? "large" : "free");
    set_number(object, "block_bytes", is_class ? snapshot->classes[row].block_bytes : 0);
    set_number(object, "page_bytes", is_class ? snapshot->classes[row].page_bytes : 0);
    set_number(object, "pages_a_cell", snapshot->pages_a_cell);
    json_object_set_new(object, "pages", json_array());
    return object;
}

static json_t *map_json(const profile_snapshot_t *snapshot, const by_address_t *index)
{
    json_t *rows = json_array();
    json_t **row_objects = memory_get(snapshot->class_count + 2, sizeof *row_objects);
    for (uint32_t i = 0; i < snapshot->page_count; i++) {
        const profile_page_t *page = &snapshot->pages[i];
        uint32_t row = row_of(snapshot, page);
        if (row_objects[row] == NULL)
            row_objects[row] = row_json(snapshot, row);
        uint64_t block = row < snapshot->class_count ? snapshot->classes[row].block_bytes : 0;
        uint64_t live = page->kind == PAGE_FREE ? 0 : block == 0 ? 1 : (page->live_bytes + block / 2) / block;
        json_t *pages = json_object_get(row_objects[row], "pages");
        json_array_append_new(pages, page_json(index, page, live, snapshot->time_ms));
        if (row >= snapshot->class_count) { // these differ in size
            json_t *sizes = json_object_get(row_objects[row], "sizes");
            if (sizes == NULL)
                json_object_set_new(row_objects[row], "sizes", sizes = json_array());
            json_array_append_new(sizes, json_number(page->page_bytes));
        }
    }
    for (uint32_t row = 0; row < snapshot->class_count + 2; row++)
        if (row_objects[row] != NULL)
            json_array_append_new(rows, row_objects[row]);
    free(row_objects);
    return rows;
}

static json_t *snapshot_json(const profile_snapshot_t *snapshot, const by_address_t *index, bool with_map)
{
    json_t *object = json_object();
    set_number(object, "number", snapshot->number);
    set_number(object, "time_ms", snapshot->time_ms);
    set_number(object, "cpu_ms", snapshot->cpu_ms);
    set_text(object, "reason", snapshot->reason);
    json_object_set_new(object, "process_known", json_boolean(snapshot->process_known));
    json_object_set_new(object, "requested_exact", json_boolean(snapshot->requested_exact));
    json_set_balance(object, &snapshot->balance);
    set_text(object, "verdict", verdict_of_snapshot(snapshot).text);
    json_t *classes = json_array();
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        json_array_append_new(classes, class_json(&snapshot->classes[i]));
    json_object_set_new(object, "classes", classes);
    if (with_map && snapshot->page_count != 0)
        json_object_set_new(object, "map", map_json(snapshot, index));
    return object;
}

static bool is_moment(const profile_t *profile, uint32_t snapshot)
{
    bool is = snapshot == profile->peak_rss;
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        is = is || profile->at[moment] == snapshot;
    return is;
}

static void set_snapshots(json_t *report, const profile_t *profile)
{
    by_address_t index = by_address(profile);
    json_t *snapshots = json_array();
    uint64_t pages = 0;
    for (uint32_t i = 0; i < profile->snapshot_count; i++)
        pages += profile->snapshots[i].page_count;
    for (uint32_t i = 0; i < profile->snapshot_count; i++) {
        bool with_map = pages <= MAP_PAGES_MAX || is_moment(profile, i);
        json_array_append_new(snapshots, snapshot_json(&profile->snapshots[i], &index, with_map));
    }
    set_number(report, "last", profile->at[MOMENT_LAST]);
    set_number(report, "peak", profile->peak_rss);
    set_number(report, "peak_live", profile->at[MOMENT_PEAK]);
    set_number(report, "worst", profile->at[MOMENT_WORST]);
    json_object_set_new(report, "snapshots", snapshots);
    free(index.order);
}

// --- modules, frames, threads ----------------------------------------------------------------------------------------

static json_t *module_json(const profile_module_t *module)
{
    static const char *const sources[] = {
        [SYMBOLS_NONE] = "none", [SYMBOLS_CHANGED] = "changed", [SYMBOLS_TABLE] = "table", [SYMBOLS_DEBUG] = "debug"};
    char hex[2 * sizeof module->build_id + 1] = "";
    for (uint32_t i = 0; i < module->build_id_bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", module->build_id[i]);
    json_t *object = json_object();
    set_text(object, "path", module->path);
    set_text(object, "build_id", hex);
    set_text(object, "symbols", module->used ? sources[module->source] : NULL);
    return object;
}

static json_t *frame_json(const profile_frame_t *frame)
{
    json_t *object = json_object();
    set_text(object, "function", frame->function);
    if (frame->file != NULL)
        set_text(object, "file", frame->file);
    if (frame->line != 0)
        set_number(object, "line", frame->line);
    json_object_set_new(object, "module", frame->module < 0 ? json_null() : json_integer(frame->module));
    json_object_set_new(object, "inlined", json_boolean(frame->inlined));
    return object;
}

static void set_names(json_t *report, const profile_t *profile)
{
    json_t *modules = json_array(), *frames = json_array(), *threads = json_array();
    for (uint32_t i = 0; i < profile->module_count; i++)
        json_array_append_new(modules, module_json(&profile->modules[i]));
    for (uint32_t i = 0; i < profile->frame_count; i++)
        json_array_append_new(frames, frame_json(&profile->frames[i]));
    for (uint32_t i = 0; i < profile->thread_count; i++) {
        json_t *thread = json_object();
        set_number(thread, "id", profile->threads[i].id);
        set_text(thread, "name", profile->threads[i].name);
        set_number(thread, "samples", profile->threads[i].samples);
        json_array_append_new(threads, thread);
    }
    json_object_set_new(report, "modules", modules);
    json_object_set_new(report, "frames", frames);
    json_object_set_new(report, "threads", threads);
}

// --- stacks ----------------------------------------------------------------------------------------------------------

static void set_metrics(json_t *object, const uint64_t metrics[PROFILE_MOMENTS][PROFILE_METRICS])
{
    static const char *const prefixes[PROFILE_MOMENTS] = {
        [MOMENT_LAST] = "", [MOMENT_PEAK] = "peak_", [MOMENT_WORST] = "worst_"};
    char name[64];
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++) {
            snprintf(name, sizeof name, "%s%s", prefixes[moment], profile_metric_name(metric));
            if (profile_knows(moment, metric))
                set_number(object, name, metrics[moment][metric]);
        }
}

static void set_generations(json_t *object, const uint64_t *freed, const uint64_t *kept)
{
    uint64_t all = freed[GENERATION_YOUNG] + freed[GENERATION_MIDDLE] + freed[GENERATION_OLD];
    set_number(object, "young_blocks", freed[GENERATION_YOUNG] + kept[GENERATION_YOUNG]);
    set_number(object, "middle_blocks", freed[GENERATION_MIDDLE] + kept[GENERATION_MIDDLE]);
    set_number(object, "old_blocks", freed[GENERATION_OLD] + kept[GENERATION_OLD]);
    set_number(object, "freed_blocks", all);
    set_number(object, "died_young_percent",
               all == 0 ? 0 : amount_whole((double)freed[GENERATION_YOUNG] * 100 / (double)all + 0.5));
}

static json_t *neighbours_json(const profile_stack_t *stack)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < stack->neighbour_count; i++) {
        json_t *pair = json_array();
        json_array_append_new(pair, json_number(stack->neighbours[i].stack));
        json_array_append_new(pair, json_number(stack->neighbours[i].bytes));
        json_array_append_new(array, pair);
    }
    return array;
}

static json_t *stack_json(const profile_t *profile, const profile_stack_t *stack)
{
    json_t *object = json_object(), *frames = json_array();
    for (uint32_t i = 0; i < stack->location_count; i++) {
        const profile_location_t *location = &profile->locations[stack->locations[i]];
        for (uint32_t j = 0; j < location->frame_count; j++)
            json_array_append_new(frames, json_number(location->frame_first + j));
    }
    json_object_set_new(object, "frames", frames);
    set_text(object, "site", profile->sites[stack->site].text);
    set_number(object, "site_index", stack->site);
    if (stack->thread >= 0)
        json_object_set_new(object, "thread", json_integer(stack->thread));
    set_number(object, "allocated_blocks", stack->allocated_blocks);
    set_number(object, "allocated_bytes", stack->allocated_bytes);
    set_metrics(object, stack->metrics);
    set_generations(object, stack->freed, stack->kept);
    set_number(object, "samples", stack->allocated_samples);
    set_number(object, "live_samples", stack->live_samples);
    set_number(object, "live_error_bytes", amount_whole(stack->live_error_bytes));
    json_object_set_new(object, "cut", json_boolean(stack->cut));
    if (stack->neighbour_count != 0)
        json_object_set_new(object, "neighbours", neighbours_json(stack));
    return object;
}

static json_t *site_json(const profile_site_t *site)
{
    json_t *object = json_object();
    set_text(object, "site", site->text);
    set_number(object, "stacks", site->stack_count);
    set_number(object, "live_samples", site->live_samples);
    set_number(object, "allocated_blocks", site->allocated_blocks);
    set_number(object, "allocated_bytes", site->allocated_bytes);
    set_metrics(object, site->metrics);
    set_generations(object, site->freed, site->kept);
    return object;
}

static json_t *samples_json(const profile_t *profile)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < profile->sample_count; i++) {
        const profile_sample_t *sample = &profile->samples[i];
        json_array_append_new(array, json_pack("[I,I,I,i,I]", (json_int_t)sample->stack,
                                               (json_int_t)sample->requested_bytes, (json_int_t)sample->age_bytes,
                                               (int)sample->generation, (json_int_t)sample->thread));
    }
    return array;
}

static void set_stacks(json_t *report, const profile_t *profile)
{
    json_t *stacks = json_array(), *sites = json_array();
    for (uint32_t i = 0; i < profile->stack_count; i++)
        json_array_append_new(stacks, stack_json(profile, &profile->stacks[i]));
    for (uint32_t i = 0; i < profile->site_count; i++)
        json_array_append_new(sites, site_json(&profile->sites[i]));
    json_object_set_new(report, "stacks", stacks);
    json_object_set_new(report, "sites", sites);
    json_object_set_new(report, "samples", samples_json(profile));
}

// --- sizes -----------------------------------------------------------------------------------------------------------

static json_t *request_sizes_json(const profile_t *profile)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < profile->request_size_count; i++) {
        const profile_request_size_t *size = &profile->request_sizes[i];
        json_t *object = json_object();
        set_number(object, "from_bytes", size->from_bytes);
        set_number(object, "to_bytes", size->to_bytes);
        set_number(object, "block_bytes", size->block_bytes);
        set_number(object, "live_blocks", size->live_blocks);
        set_number(object, "live_bytes", size->live_bytes);
        set_number(object, "allocated_blocks", size->allocated_blocks);
        set_number(object, "allocated_bytes", size->allocated_bytes);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *what_if_json(const profile_t *profile)
{
    what_if_t found[WHAT_IF_MAX];
    json_t *array = json_array();
    unsigned count = what_if_find(profile, found);
    for (unsigned i = 0; i < count; i++) {
        json_t *object = json_object();
        set_number(object, "from_bytes", found[i].from_bytes);
        set_number(object, "to_bytes", found[i].to_bytes);
        set_number(object, "classes_now", found[i].classes_now);
        set_number(object, "classes", found[i].classes);
        json_object_set_new(object, "saved_bytes", json_integer(found[i].saved_bytes));
        json_array_append_new(array, object);
    }
    return array;
}

char *report_json(profile_t *const *profiles, size_t count, size_t *length)
{
    const profile_t *profile = profiles[0];
    json_t *report = json_object();
    set_head(report, profile);
    json_object_set_new(report, "processes", processes_json(profiles, count));
    set_snapshots(report, profile);
    set_names(report, profile);
    set_stacks(report, profile);
    json_object_set_new(report, "request_sizes", request_sizes_json(profile));
    json_object_set_new(report, "what_if", what_if_json(profile));
    return json_print(report, length);
}
