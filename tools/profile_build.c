// tools/profile_build.c - the process, its snapshots, threads and sizes; see profile_build.h.
#include "profile_build.h"

#include "memory.h"
#include "strings.h"
#include "successor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u

void profile_warn(profile_t *profile, char *text)
{
    profile->warnings = memory_push(profile->warnings, profile->warning_count, sizeof(char *));
    profile->warnings[profile->warning_count++] = strings_keep(text);
    free(text);
}

// --- the process -----------------------------------------------------------------------------------------------------

static const char *signal_name(int number)
{
    const char *name = sigabbrev_np(number);
    char text[32];
    if (name == NULL)
        snprintf(text, sizeof text, "signal %d", number); // a real-time one
    else
        snprintf(text, sizeof text, "SIG%s", name);
    return strings_keep(text);
}

static const char *ended_by(const recording_t *recording)
{
    switch (recording->header.end) {
    case RECORDING_EXIT:
        return "exit";
    case RECORDING_UNDERSCORE_EXIT:
        return "_exit";
    case RECORDING_QUICK_EXIT:
        return "quick_exit";
    case RECORDING_SIGNAL:
        return signal_name(recording->header.end_value);
    default:
        return recording->running ? "running" : "unknown"; // SIGKILL and an exec leave no word
    }
}

// What a process without an end in its recording went on as, to be freed; NULL: not known.
static char *became_read(const recording_t *recording)
{
    const recording_header_t *header = &recording->header;
    char *became = header->end == RECORDING_RUNNING ? successor_program(recording->path, header) : NULL;
    if (became == NULL && recording->running)
        became = successor_unrecorded(recording->path, (pid_t)header->pid);
    return became;
}

static void end_read(profile_t *profile, const recording_t *recording)
{
    char *became = became_read(recording);
    profile->ended_by = became != NULL ? "exec" : ended_by(recording);
    profile->became = became != NULL ? strings_keep(became) : NULL;
    profile->end_value = recording->header.end_value;
    free(became);
}

// A program that writes a title over its arguments (PostgreSQL, nginx) fills the rest of them with zeros: these are no
// words. One empty word at the end may be meant.
static void title_padding_drop(profile_t *profile)
{
    uint32_t count = profile->command_count;
    while (count > 1 && *profile->command[count - 1] == '\0')
        count--;
    if (profile->command_count - count > 1)
        profile->command_count = count;
}

static void command_read(profile_t *profile, const recording_t *recording)
{
    const char *bytes;
    size_t length = recording_text_bytes(recording, recording->header.command_line, &bytes);
    for (size_t word = 0; word < length; word += strnlen(bytes + word, length - word) + 1) {
        profile->command = memory_push(profile->command, profile->command_count, sizeof(char *));
        profile->command[profile->command_count++] = strings_keep_part(bytes + word, length - word);
    }
    title_padding_drop(profile);
}

static void process_read(profile_t *profile, const recording_t *recording)
{
    const recording_header_t *header = &recording->header;
    profile->recording = recording->path;
    profile->program = recording_field(header->program, sizeof header->program);
    profile->executable = recording_text(recording, header->executable);
    profile->tarn_version = recording_field(header->writer_version, sizeof header->writer_version);
    profile->kernel = recording_field(header->kernel, sizeof header->kernel);
    end_read(profile, recording);
    profile->pid = header->pid;
    profile->parent_pid = header->parent_pid;
    profile->forked = header->forked != 0;
    profile->sparse = (header->flags & RECORDING_SPARSE) != 0;
    profile->started_unix_ms = header->start_realtime_ns / NS_PER_MS;
    profile->duration_ms = header->last_ns / NS_PER_MS;
    profile->os_page_bytes = header->page_bytes;
    profile->waste_percent = header->waste_percent;
    profile->sample_bytes = header->profile != 0 ? header->sample_bytes : 0;
    profile->clock_bytes = header->clock_bytes;
    profile->weighted_bytes = header->live_weighted_bytes;
    profile->live_samples = header->live_samples;
    command_read(profile, recording);
}

static void warn_of_flags(profile_t *profile, const recording_header_t *header)
{
    if (header->flags & RECORDING_FULL_SAMPLES)
        profile_warn(profile, memory_format("the recording was full: samples were thinned, to one in %lu KiB at last",
                                            header->sample_bytes_now / 1024));
    if (header->flags & RECORDING_SPARSE)
        profile_warn(profile, memory_format("to save time, call stacks were sampled more rarely than each %lu KiB; "
                                            "with --sample=%luKiB they are not",
                                            header->sample_bytes / 1024, header->sample_bytes / 1024));
    if (header->flags & RECORDING_BROKEN_OFF)
        profile_warn(profile, memory_format("the profile ended before the program: call sites are as of then"));
    if (header->flags & RECORDING_FULL_SITES)
        profile_warn(profile, memory_format("the recording was full: later call stacks are in [unattributed]"));
    if (header->flags & RECORDING_FULL_SNAPSHOTS)
        profile_warn(profile, memory_format("%lu older snapshots were dropped for want of room",
                                            header->snapshot_dropped));
    if (header->flags & RECORDING_FULL_DISK)
        profile_warn(profile, memory_format("the disk was full: the recording stopped growing"));
    if (header->flags & RECORDING_FULL_TEXT)
        profile_warn(profile, memory_format("names of modules or threads were left out or cut for want of room"));
    if (header->forked)
        profile_warn(profile, memory_format("a child of a fork: what it took over from its parent is [unattributed]"));
}

// --- snapshots -------------------------------------------------------------------------------------------------------

static const char *reason_name(uint64_t reason)
{
    static const char *const names[] = {
        [RECORDING_AT_HIGH] = "high",       [RECORDING_AT_CHANGE] = "change", [RECORDING_AT_TIME] = "time",
        [RECORDING_AT_REQUEST] = "request", [RECORDING_AT_END] = "end",       [RECORDING_AT_START] = "start",
    };
    return reason < sizeof names / sizeof names[0] && names[reason] != NULL ? names[reason] : "other";
}

static balance_t balance_read(const recording_snapshot_t *from)
{
    return (balance_t){
        .rss_bytes = from->rss_bytes,
        .peak_rss_bytes = from->peak_rss_bytes,
        .other_rss_bytes = from->other_rss_bytes,
        .heap_rss_bytes = from->heap_rss_bytes,
        .requested_bytes = from->requested_bytes,
        .requested_error_bytes = from->requested_error_bytes,
        .rounding_bytes = from->rounding_bytes,
        .holes_bytes = from->holes_bytes,
        .tail_bytes = from->tail_bytes,
        .retained_bytes = from->retained_bytes,
        .pending_bytes = from->pending_bytes,
        .metadata_bytes = from->metadata_bytes,
        .untouched_bytes = from->untouched_bytes,
        .live_bytes = from->live_bytes,
        .live_blocks = from->live_blocks,
        .allocated_total = from->allocated_total,
        .freed_total = from->freed_total,
        .large_blocks = from->large_blocks,
        .large_bytes = from->large_bytes,
        .large_allocated_total = from->large_allocated_total,
        .large_cached_bytes = from->large_cached_bytes,
        .mapped_bytes = from->mapped_bytes,
        .mapped_peak_bytes = from->mapped_peak_bytes,
        .purged_total_bytes = from->purged_total_bytes,
        .budget_bytes = from->budget_bytes,
        .threads = from->threads,
        .heaps = from->heaps,
        .heaps_orphaned = from->heaps_orphaned,
    };
}

static profile_class_t class_read(const recording_class_t *from)
{
    return (profile_class_t){
        .block_bytes = from->block_bytes,
        .page_bytes = from->page_bytes,
        .pages = from->pages,
        .live_blocks = from->live_blocks,
        .allocated_total = from->allocated_total,
        .requested_bytes = from->requested_bytes,
        .requested_error_bytes = from->requested_error_bytes,
        .rounding_bytes = from->rounding_bytes,
        .holes_bytes = from->holes_bytes,
        .tail_bytes = from->tail_bytes,
        .pending_bytes = from->pending_bytes,
        .untouched_bytes = from->untouched_bytes,
    };
}

static int pages_compare(const void *left, const void *right)
{
    const profile_page_t *first = left, *second = right;
    return (first->address > second->address) - (first->address < second->address);
}

static profile_page_t page_read(const recording_cell_t *cell, uint32_t class_count)
{
    profile_page_kind_t kind = cell->flags & RECORDING_CELL_LARGE                        ? PAGE_LARGE
                               : cell->class == 0 || cell->class > class_count ? PAGE_FREE : PAGE_OF_CLASS;
    return (profile_page_t){
        .kind = kind,
        .class_index = kind == PAGE_OF_CLASS ? cell->class - 1u : 0,
        .address = cell->address,
        .page_bytes = (uint64_t)cell->length * RECORDING_CELL_UNIT,
        .live_bytes = (uint64_t)cell->live * RECORDING_CELL_UNIT,
        .resident_bytes = (uint64_t)cell->resident * RECORDING_CELL_UNIT,
    };
}

static void pages_read(profile_snapshot_t *to, const recording_t *recording, const recording_snapshot_t *from)
{
    const recording_cell_t *cells = recording_cells(recording, from, &to->page_count);
    to->pages = memory_get(to->page_count, sizeof *to->pages);
    for (uint32_t i = 0; i < to->page_count; i++)
        to->pages[i] = page_read(&cells[i], to->class_count);
    qsort(to->pages, to->page_count, sizeof *to->pages, pages_compare);
}

static void snapshot_read(profile_snapshot_t *to, const recording_t *recording, const recording_snapshot_t *from)
{
    to->number = from->number_begin;
    to->time_ms = from->time_ns / NS_PER_MS;
    to->cpu_ms = from->cpu_ns / NS_PER_MS;
    to->reason = reason_name(from->reason);
    to->process_known = from->process_known != 0;
    to->requested_exact = from->requested_exact != 0;
    to->weighted_bytes = from->live_weighted_bytes;
    to->live_samples = from->live_samples;
    to->pages_a_cell = from->cell_pages;
    to->balance = balance_read(from);
    const recording_class_t *classes = recording_classes(recording, from, &to->class_count);
    to->classes = memory_get(to->class_count, sizeof *to->classes);
    for (uint32_t i = 0; i < to->class_count; i++)
        to->classes[i] = class_read(&classes[i]);
    pages_read(to, recording, from);
}

// Which snapshot the peak is: with a profile the one at which the stacks' peak figures were taken, or next to it.
static void moments_find(profile_t *profile)
{
    uint32_t last = profile->snapshot_count - 1, peak = last, worst = last, peak_rss = last;
    for (uint32_t i = last; i-- > 0;) {
        const profile_snapshot_t *each = &profile->snapshots[i];
        bool higher = profile->sample_bytes != 0 && each->weighted_bytes != profile->snapshots[peak].weighted_bytes
                          ? each->weighted_bytes > profile->snapshots[peak].weighted_bytes
                          : each->balance.live_bytes > profile->snapshots[peak].balance.live_bytes;
        peak = higher ? i : peak;
        worst = each->balance.holes_bytes > profile->snapshots[worst].balance.holes_bytes ? i : worst;
        peak_rss = each->balance.rss_bytes > profile->snapshots[peak_rss].balance.rss_bytes ? i : peak_rss;
    }
    profile->at[MOMENT_LAST] = last;
    profile->at[MOMENT_PEAK] = peak;
    profile->at[MOMENT_WORST] = worst;
    profile->peak_rss = peak_rss;
}

// Whose sheet does not add up is not shown: in a file that is being written it is half of one and half of the next,
// else it is damage, or somebody's invention. Returns how many those are.
static uint32_t snapshots_read(profile_t *profile, const recording_t *recording)
{
    uint32_t complete;
    const recording_snapshot_t **snapshots = recording_snapshots(recording, &complete);
    profile->snapshots = memory_get(complete, sizeof *profile->snapshots);
    for (uint32_t i = 0; i < complete; i++) {
        balance_t balance = balance_read(snapshots[i]);
        if (balance_adds_up(&balance))
            snapshot_read(&profile->snapshots[profile->snapshot_count++], recording, snapshots[i]);
    }
    free(snapshots);
    return complete - profile->snapshot_count;
}

static char *snapshots_fault(const profile_t *profile, const recording_t *recording, uint32_t wrong)
{
    if (wrong != 0 && !recording->running)
        return memory_format("%s: the recording is damaged: a balance sheet in it does not add up", recording->path);
    if (profile->snapshot_count == 0)
        return memory_format(recording->running ? "%s has no snapshot yet"
                                                : "%s has no snapshot: its process ended before the first",
                             recording->path);
    return NULL;
}

// --- threads, sizes --------------------------------------------------------------------------------------------------

static void threads_read(profile_t *profile, const recording_t *recording)
{
    uint64_t count = recording_count(recording, RECORDING_THREADS);
    profile->threads = memory_get(count, sizeof *profile->threads);
    profile->thread_count = (uint32_t)count;
    for (uint32_t i = 0; i < profile->thread_count; i++) {
        const recording_thread_t *from = recording_row(recording, RECORDING_THREADS, i);
        profile->threads[i].id = from->first_tid;
        profile->threads[i].samples = from->samples;
        profile->threads[i].name = recording_field(from->name, sizeof from->name);
    }
}

static uint64_t block_bytes_for(const profile_snapshot_t *snapshot, uint64_t requested_bytes)
{
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        if (snapshot->classes[i].block_bytes >= requested_bytes)
            return snapshot->classes[i].block_bytes;
    return 0; // a large block: whole OS pages
}

static int sizes_compare(const void *left, const void *right)
{
    const profile_request_size_t *first = left, *second = right;
    return (first->live_bytes < second->live_bytes) - (first->live_bytes > second->live_bytes);
}

static void sizes_read(profile_t *profile, const recording_t *recording)
{
    uint64_t count = recording_count(recording, RECORDING_SIZES);
    count = count < RECORDING_SIZES_MAX ? count : RECORDING_SIZES_MAX;
    profile->request_sizes = memory_get(count, sizeof *profile->request_sizes);
    for (uint32_t i = 0; i < count; i++) {
        const recording_size_t *from = recording_row(recording, RECORDING_SIZES, i);
        if (from->allocated_blocks == 0)
            continue;
        profile->request_sizes[profile->request_size_count++] = (profile_request_size_t){
            .from_bytes = recording_size_from(i),
            .to_bytes = recording_size_from(i + 1) - 1,
            .block_bytes = block_bytes_for(profile_snapshot(profile, MOMENT_LAST), recording_size_from(i)),
            .live_blocks = from->live_blocks / RECORDING_BLOCK,
            .allocated_blocks = from->allocated_blocks / RECORDING_BLOCK,
            .live_bytes = from->live_requested_bytes,
            .allocated_bytes = from->allocated_requested_bytes,
        };
    }
    qsort(profile->request_sizes, profile->request_size_count, sizeof *profile->request_sizes, sizes_compare);
}

// --- all of it -------------------------------------------------------------------------------------------------------

profile_t *profile_read(const char *path, bool *foreign, char **fault_text)
{
    recording_t recording;
    recording_fault_t fault = recording_open(&recording, path, fault_text);
    *foreign = fault == RECORDING_FOREIGN;
    if (fault != RECORDING_GOOD)
        return NULL;
    profile_t *profile = memory_get(1, sizeof *profile);
    process_read(profile, &recording);
    uint32_t wrong = snapshots_read(profile, &recording);
    *fault_text = snapshots_fault(profile, &recording, wrong);
    if (*fault_text != NULL) {
        recording_close(&recording);
        profile_free(profile);
        return NULL;
    }
    moments_find(profile);
    warn_of_flags(profile, &recording.header);
    threads_read(profile, &recording);
    sizes_read(profile, &recording);
    profile_build_stacks(profile, &recording);
    profile_build_names(profile);
    recording_close(&recording);
    return profile;
}

void profile_free(profile_t *profile)
{
    if (profile == NULL)
        return;
    for (uint32_t i = 0; i < profile->snapshot_count; i++) {
        free(profile->snapshots[i].classes);
        free(profile->snapshots[i].pages);
    }
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        free(profile->stacks[i].locations);
        free(profile->stacks[i].neighbours);
    }
    free(profile->snapshots);
    free(profile->stacks);
    free(profile->command);
    free(profile->warnings);
    free(profile->modules);
    free(profile->locations);
    free(profile->frames);
    free(profile->sites);
    free(profile->threads);
    free(profile->samples);
    free(profile->request_sizes);
    free(profile);
}
