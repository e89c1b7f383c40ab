// preload/report_json.c - the balance sheet as one JSON object on one line: {"schema":1, ...}.
//
// A field that changes its meaning, or goes, is a new schema number; a new field is not.
#include "report.h"

#include <string.h>

#define SCHEMA 1

static void write_integer(writer_t *writer, const char *name, uint64_t value)
{
    writer_format(writer, ",\"%s\":%lu", name, value);
}

static void write_truth(writer_t *writer, const char *name, bool value)
{
    writer_format(writer, ",\"%s\":%s", name, value ? "true" : "false");
}

// A program's name is any bytes but 0 and /: what is no printable ASCII becomes a question mark, so that the object is
// valid whatever the encoding.
static void write_string(writer_t *writer, const char *name, const char *text)
{
    writer_format(writer, ",\"%s\":\"", name);
    for (; *text != '\0'; text++) {
        bool printable = *text >= ' ' && *text <= '~';
        if (*text == '"' || *text == '\\')
            writer_text(writer, "\\");
        writer_bytes(writer, printable ? text : "?", 1);
    }
    writer_text(writer, "\"");
}

static void write_process(writer_t *writer, const sheet_t *sheet, const report_subject_t *subject)
{
    char ended_by[32];
    writer_t end = WRITER(ended_by);
    sheet_end_write(&end, sheet);
    write_string(writer, "tarn_version", TARN_VERSION);
    write_string(writer, "program", subject->program);
    write_integer(writer, "pid", (uint64_t)subject->pid);
    write_string(writer, "ended_by", ended_by);
    write_truth(writer, "process_known", sheet->process_known);
    write_integer(writer, "rss_bytes", sheet->rss_bytes);
    write_integer(writer, "peak_rss_bytes", sheet->peak_rss_bytes);
    write_integer(writer, "other_rss_bytes", sheet->other_rss_bytes);
    write_integer(writer, "threads", sheet->threads);
    write_integer(writer, "limit_bytes", sheet->limit_bytes);
    write_integer(writer, "cgroup_limit_bytes", sheet->cgroup_limit_bytes);
}

static void write_heap(writer_t *writer, const survey_t *survey)
{
    write_integer(writer, "heap_rss_bytes", survey->heap_rss_bytes);
    write_integer(writer, "requested_bytes", survey->requested_bytes);
    write_truth(writer, "requested_exact", survey->requested_exact);
    write_integer(writer, "requested_error_bytes", (uint64_t)survey->requested_error);
    write_integer(writer, "rounding_bytes", survey->rounding_bytes);
    write_integer(writer, "holes_bytes", survey->holes_bytes);
    write_integer(writer, "tail_bytes", survey->tail_bytes);
    write_integer(writer, "retained_bytes", survey->retained_bytes);
    write_integer(writer, "pending_bytes", survey->pending_bytes);
    write_integer(writer, "metadata_bytes", survey->metadata_bytes);
    write_integer(writer, "untouched_bytes", survey->untouched_bytes);
    write_integer(writer, "live_bytes", survey->live_bytes);
    write_integer(writer, "live_blocks", survey->live_blocks);
    write_integer(writer, "allocated_total", survey->allocated_total);
    write_integer(writer, "freed_total", survey->freed_total);
    write_integer(writer, "mapped_bytes", survey->mapped_bytes);
    write_integer(writer, "mapped_peak_bytes", survey->mapped_peak_bytes);
    write_integer(writer, "purged_total_bytes", survey->purged_total_bytes);
    write_integer(writer, "budget_bytes", survey->budget_bytes);
    write_integer(writer, "large_blocks", survey->large_blocks);
    write_integer(writer, "large_bytes", survey->large_bytes);
    write_integer(writer, "large_allocated_total", survey->large_allocated_total);
    write_integer(writer, "large_cached_bytes", survey->large_cached_bytes);
    write_integer(writer, "heaps", survey->heaps);
    write_integer(writer, "heaps_orphaned", survey->heaps_orphaned);
}

static void write_class(writer_t *writer, const survey_class_t *class, unsigned index)
{
    uint64_t block_bytes = survey_block_bytes(index), page_bytes = survey_page_bytes(index);
    writer_format(writer, "{\"block_bytes\":%lu", block_bytes);
    write_integer(writer, "page_bytes", page_bytes);
    write_integer(writer, "pages", class->pages);
    write_integer(writer, "live_blocks", class->live_blocks);
    write_integer(writer, "allocated_total", class->allocated_total);
    write_integer(writer, "requested_bytes", class->requested_bytes);
    write_integer(writer, "requested_error_bytes", (uint64_t)class->requested_error);
    write_integer(writer, "rounding_bytes", class->rounding_bytes);
    write_integer(writer, "holes_bytes", class->holes_bytes);
    write_integer(writer, "tail_bytes", class->tail_bytes);
    write_integer(writer, "pending_bytes", class->pending_bytes);
    write_integer(writer, "untouched_bytes", class->untouched_bytes);
    write_integer(writer, "occupancy_percent",
                  sheet_percent(class->live_blocks * block_bytes, class->pages * page_bytes));
    writer_text(writer, "}");
}

void report_json(writer_t *writer, const sheet_t *sheet, const report_subject_t *subject)
{
    char verdict[256];
    writer_t sentence = WRITER(verdict);
    report_verdict(&sentence, sheet);
    writer_format(writer, "{\"schema\":%d", SCHEMA);
    write_process(writer, sheet, subject);
    write_heap(writer, &sheet->survey);
    writer_text(writer, ",\"classes\":[");
    for (unsigned i = 0; i < sheet->survey.class_count; i++) {
        writer_text(writer, i == 0 ? "" : ",");
        write_class(writer, &sheet->survey.classes[i], i);
    }
    writer_text(writer, "]");
    write_string(writer, "verdict", verdict);
    writer_text(writer, "}\n");
}
