// preload/report.h - the balance sheet in words and figures. The names are those of docs/statistics.md.
#ifndef TARN_REPORT_H
#define TARN_REPORT_H

#include "../pool/bits.h"
#include "sheet.h"
#include "writer.h"

// What process it is about.
typedef struct report_subject {
    const char *program;
    int pid;
} report_subject_t;

// Some 25 lines for a terminal: the split by cause, the classes that waste most, the verdict.
RARE void report_text(writer_t *writer, const sheet_t *sheet, const report_subject_t *subject);

// One JSON object on one line, with every class.
RARE void report_json(writer_t *writer, const sheet_t *sheet, const report_subject_t *subject);

// One sentence, without a full stop: what the resident memory is, and the figure that carries it.
RARE void report_verdict(writer_t *writer, const sheet_t *sheet);

// Enough for each of them: a class takes at most 13 numbers of 20 digits and their names, about 500 bytes.
#define REPORT_BYTES (SURVEY_CLASSES_MAX * 512 + 8192)

#endif
