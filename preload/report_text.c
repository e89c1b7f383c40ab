// preload/report_text.c - the balance sheet for a terminal: what adds up stands in one column, in one unit.
#include "report.h"

#include "amount.h"

// As many classes as still leave the report on a small screen; each wastes at least this part of the process.
#define CLASSES_SHOWN 5
#define CLASS_MIN_PERCENT 1

typedef struct table {
    writer_t *writer;
    amount_unit_t unit;
} table_t;

// One figure, its share of the whole it is part of, and what it is.
static void write_row(const table_t *table, const char *name, uint64_t bytes, uint64_t whole, const char *meaning)
{
    writer_format(table->writer, "  %-24s%16s", name, amount_in(table->unit, bytes).text);
    if (whole != 0)
        writer_format(table->writer, "  %3u %%  %s\n", sheet_percent(bytes, whole), meaning);
    else
        writer_format(table->writer, "         %s\n", meaning);
}

static void write_process(const table_t *table, const sheet_t *sheet)
{
    writer_format(table->writer, "  %-24s%16s         peak %s", "rss_bytes",
                  amount_in(table->unit, sheet->rss_bytes).text, amount_in(table->unit, sheet->peak_rss_bytes).text);
    if (sheet->threads != 0)
        writer_format(table->writer, ", %u thread%s", sheet->threads, sheet->threads == 1 ? "" : "s");
    writer_text(table->writer, "\n");
    write_row(table, "  other_rss_bytes", sheet->other_rss_bytes, sheet->rss_bytes,
              "program, libraries, stacks, its own mappings");
}

static void write_requested(const table_t *table, const survey_t *survey)
{
    char meaning[96];
    writer_t writer = WRITER(meaning);
    writer_text(&writer, "asked for and still held");
    if (!survey->requested_exact)
        writer_format(&writer, ", +- %s", amount_of((uint64_t)survey->requested_error).text);
    write_row(table, "    requested_bytes", survey->requested_bytes, survey->heap_rss_bytes, meaning);
}

static void write_causes(const table_t *table, const survey_t *survey)
{
    uint64_t heap = survey->heap_rss_bytes;
    write_requested(table, survey);
    write_row(table, "    rounding_bytes", survey->rounding_bytes, heap, "block size minus request");
    write_row(table, "    holes_bytes", survey->holes_bytes, heap, "free blocks in pages with live ones");
    write_row(table, "    tail_bytes", survey->tail_bytes, heap, "page ends that fit no block");
    write_row(table, "    retained_bytes", survey->retained_bytes, heap, "no live block, kept for reuse");
    write_row(table, "    pending_bytes", survey->pending_bytes, heap, "freed by another thread, not yet taken back");
    write_row(table, "    metadata_bytes", survey->metadata_bytes, heap, "tarn's own tables");
    write_row(table, "  - untouched_bytes", survey->untouched_bytes, heap, "live, but never touched");
}

static void write_totals(const table_t *table, const survey_t *survey)
{
    writer_t *writer = table->writer;
    writer_format(writer, "  live_bytes %s, live_blocks %'lu; %'lu allocated, %'lu freed since the start\n",
                  amount_in(table->unit, survey->live_bytes).text, survey->live_blocks, survey->allocated_total,
                  survey->freed_total);
    writer_format(writer, "  large_bytes %s, large_blocks %'lu; %'lu allocated since the start, %s cached\n",
                  amount_in(table->unit, survey->large_bytes).text, survey->large_blocks,
                  survey->large_allocated_total, amount_in(table->unit, survey->large_cached_bytes).text);
    writer_format(writer, "  heaps %u, heaps_orphaned %u; %s given back since the start, %s may stay free\n",
                  survey->heaps, survey->heaps_orphaned, amount_of(survey->purged_total_bytes).text,
                  amount_of(survey->budget_bytes).text);
}

static void write_limits(writer_t *writer, const sheet_t *sheet)
{
    if (sheet->limit_bytes == 0 && sheet->cgroup_limit_bytes == 0)
        return;
    writer_text(writer, "  ");
    if (sheet->limit_bytes != 0)
        writer_format(writer, "limit_bytes %s, of the heap", amount_of(sheet->limit_bytes).text);
    if (sheet->cgroup_limit_bytes != 0)
        writer_format(writer, "%scgroup_limit_bytes %s, of the process and its neighbours",
                      sheet->limit_bytes != 0 ? "; " : "", amount_of(sheet->cgroup_limit_bytes).text);
    writer_text(writer, "\n");
}

// --- the classes ---------------------------------------------------------------------------------------------------

static uint64_t class_waste(const survey_class_t *class)
{
    return class->rounding_bytes + class->holes_bytes + class->tail_bytes + class->pending_bytes;
}

// The indices of the classes that waste most, first the worst. Returns how many are worth a line.
static unsigned classes_worst(const sheet_t *sheet, unsigned worst[CLASSES_SHOWN])
{
    const survey_t *survey = &sheet->survey;
    unsigned count = 0;
    for (unsigned i = 0; i < survey->class_count; i++) {
        uint64_t waste = class_waste(&survey->classes[i]);
        unsigned place = count;
        if (waste == 0 || sheet_percent(waste, sheet->rss_bytes) < CLASS_MIN_PERCENT)
            continue;
        while (place > 0 && class_waste(&survey->classes[worst[place - 1]]) < waste)
            place--;
        if (place == CLASSES_SHOWN)
            continue;
        count += count < CLASSES_SHOWN;
        for (unsigned j = count - 1; j > place; j--)
            worst[j] = worst[j - 1];
        worst[place] = i;
    }
    return count;
}

static void write_class(const table_t *table, const survey_class_t *class, unsigned index)
{
    uint64_t block_bytes = survey_block_bytes(index);
    unsigned occupancy = sheet_percent(class->live_blocks * block_bytes, class->pages * survey_page_bytes(index));
    writer_format(table->writer, "  %10lu%'14lu%'10lu%9u %%%16s%16s\n", block_bytes, class->live_blocks, class->pages, occupancy,
                  amount_in(table->unit, class->rounding_bytes).text, amount_in(table->unit, class->holes_bytes).text);
}

static void write_classes(const table_t *table, const sheet_t *sheet)
{
    unsigned worst[CLASSES_SHOWN], count = classes_worst(sheet, worst);
    if (count == 0)
        return;
    writer_format(table->writer, "  %10s%14s%10s%11s%16s%16s\n", "block size", "live blocks", "pages", "occupancy",
                  "rounding", "holes");
    for (unsigned i = 0; i < count; i++)
        write_class(table, &sheet->survey.classes[worst[i]], worst[i]);
}

void report_text(writer_t *writer, const sheet_t *sheet, const report_subject_t *subject)
{
    table_t table = {writer, amount_unit_of(sheet->rss_bytes)};
    writer_format(writer, "tarn: %s (pid %d), at ", subject->program, subject->pid);
    sheet_end_write(writer, sheet);
    writer_text(writer, "\n");
    if (sheet->process_known)
        write_process(&table, sheet);
    write_row(&table, "  heap_rss_bytes", sheet->survey.heap_rss_bytes, sheet->rss_bytes, "the heap; of it");
    write_causes(&table, &sheet->survey);
    write_totals(&table, &sheet->survey);
    write_limits(writer, sheet);
    write_classes(&table, sheet);
    writer_text(writer, "  ");
    report_verdict(writer, sheet);
    writer_text(writer, "\n");
}
