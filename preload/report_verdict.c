// preload/report_verdict.c - the sentence under the balance sheet.
//
// Tried in this order: is it the heap's at all; does the program hold it; else the largest cause of waste is named.
#include "report.h"

#include "amount.h"

// From here on memory is called somebody's: above, the other part is not worth a second sentence.
#define MOST_PERCENT 75
// A cause that takes less is not worth a name.
#define CAUSE_MIN_PERCENT 15
// A class that has this share of a cause is named alone.
#define HALF_PERCENT 50

typedef enum cause { CAUSE_ROUNDING, CAUSE_HOLES, CAUSE_TAIL, CAUSE_RETAINED, CAUSE_PENDING, CAUSE_METADATA } cause_t;
#define CAUSES (CAUSE_METADATA + 1)

static cause_t cause_largest(const survey_t *survey, uint64_t *bytes)
{
    const uint64_t all[CAUSES] = {
        [CAUSE_ROUNDING] = survey->rounding_bytes,  [CAUSE_HOLES] = survey->holes_bytes,
        [CAUSE_TAIL] = survey->tail_bytes,          [CAUSE_RETAINED] = survey->retained_bytes,
        [CAUSE_PENDING] = survey->pending_bytes,    [CAUSE_METADATA] = survey->metadata_bytes,
    };
    cause_t largest = CAUSE_ROUNDING;
    for (cause_t cause = 0; cause < CAUSES; cause++)
        if (all[cause] > all[largest])
            largest = cause;
    *bytes = all[largest];
    return largest;
}

static uint64_t class_share(const survey_class_t *class, cause_t cause)
{
    return cause == CAUSE_ROUNDING ? class->rounding_bytes
           : cause == CAUSE_HOLES  ? class->holes_bytes
                                   : class->tail_bytes;
}

// " in 512-byte pages", of the class that has most of it.
static void write_class(writer_t *writer, const survey_t *survey, cause_t cause, uint64_t bytes, const char *what)
{
    const survey_class_t *largest = &survey->classes[0];
    for (unsigned i = 0; i < survey->class_count; i++)
        if (class_share(&survey->classes[i], cause) > class_share(largest, cause))
            largest = &survey->classes[i];
    if (survey->class_count == 0 || class_share(largest, cause) == 0)
        return;
    bool alone = sheet_percent(class_share(largest, cause), bytes) >= HALF_PERCENT;
    uint64_t block_bytes = survey_block_bytes((unsigned)(largest - survey->classes));
    writer_format(writer, "%s in %lu-byte %s", alone ? "" : ", more than elsewhere", block_bytes, what);
}

static void write_ratio(writer_t *writer, const survey_t *survey)
{
    uint64_t held = survey->live_bytes - survey->untouched_bytes;
    uint64_t tenths = held == 0 ? 0 : (survey->heap_rss_bytes * 10 + held / 2) / held;
    if (held != 0)
        writer_format(writer, "resident %'lu.%lux live: ", tenths / 10, tenths % 10);
}

static void write_cause(writer_t *writer, const survey_t *survey, cause_t cause, uint64_t bytes)
{
    unsigned percent = sheet_percent(bytes, survey->heap_rss_bytes);
    switch (cause) {
    case CAUSE_ROUNDING:
        writer_format(writer, "rounded up: %u %% of the heap is more than was asked for", percent);
        write_class(writer, survey, cause, bytes, "blocks");
        break;
    case CAUSE_HOLES:
        write_ratio(writer, survey);
        writer_format(writer, "%u %% is holes", percent);
        write_class(writer, survey, cause, bytes, "pages");
        break;
    case CAUSE_TAIL:
        writer_format(writer, "%u %% of the heap is page ends that fit no block", percent);
        write_class(writer, survey, cause, bytes, "pages");
        break;
    case CAUSE_RETAINED:
        writer_format(writer, "kept for reuse, not lost: %u %% of the heap, %s, holds no live block", percent,
                      amount_of(bytes).text);
        break;
    case CAUSE_PENDING:
        writer_format(writer, "freed by other threads and not yet taken back: %u %% of the heap, %s", percent,
                      amount_of(bytes).text);
        break;
    case CAUSE_METADATA:
        writer_format(writer, "a small heap: %u %% of it, %s, is the allocator's own tables", percent,
                      amount_of(bytes).text);
        break;
    }
}

void report_verdict(writer_t *writer, const sheet_t *sheet)
{
    const survey_t *survey = &sheet->survey;
    uint64_t cause_bytes, heap = survey->heap_rss_bytes;
    uint64_t held = survey->requested_bytes > survey->untouched_bytes
                        ? survey->requested_bytes - survey->untouched_bytes : 0;
    cause_t cause = cause_largest(survey, &cause_bytes);
    unsigned other = sheet_percent(sheet->other_rss_bytes, sheet->rss_bytes);
    if (other >= MOST_PERCENT)
        writer_format(writer, "resident memory is not the heap's: %u %% is program, libraries, stacks and mappings",
                      other);
    else if (sheet_percent(held, heap) >= MOST_PERCENT || sheet_percent(cause_bytes, heap) < CAUSE_MIN_PERCENT)
        writer_format(writer, "resident memory is what the program holds: not fragmentation (%u %% of the heap)",
                      sheet_percent(held, heap));
    else
        write_cause(writer, survey, cause, cause_bytes);
}
