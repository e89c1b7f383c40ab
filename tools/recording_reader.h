// tools/recording_reader.h - the bytes of a recording, checked: what it hands out lies inside the file.
//
// The file may be cut off, written by somebody else, damaged, or still growing. It is read, not mapped: a file that
// shrinks under a mapping ends its reader. This is the only file of tools/ that knows preload/recording.h by heart;
// what the records mean together is profile_build.c's.
#ifndef TARN_TOOLS_RECORDING_READER_H
#define TARN_TOOLS_RECORDING_READER_H

#include "../preload/recording.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct recording_rows {
    char *bytes;
    uint64_t count;
    uint32_t stride; // at least the size of the record
} recording_rows_t;

typedef struct recording {
    const char *path; // kept (see strings.h)
    recording_header_t header;
    recording_rows_t tables[RECORDING_TABLES];
    bool running;     // its process lived when the header was read, and had not ended
} recording_t;

typedef enum recording_fault {
    RECORDING_GOOD,
    RECORDING_FOREIGN, // no recording: in a directory such files are passed over
    RECORDING_BAD,     // one that cannot be read
} recording_fault_t;

// Reads the file at `path` into *recording, which recording_close empties. Else *fault_text is one line that says what
// is wrong, to be freed.
recording_fault_t recording_open(recording_t *recording, const char *path, char **fault_text);
void recording_close(recording_t *recording);

// Record `index` of a table; NULL if it has none.
const void *recording_row(const recording_t *recording, recording_table_id_t table, uint64_t index);
uint64_t recording_count(const recording_t *recording, recording_table_id_t table);

// A text, up to its first 0, kept; "" if it lies outside.
const char *recording_text(const recording_t *recording, recording_text_t text);

// The bytes of a text and how many; 0 if it lies outside.
size_t recording_text_bytes(const recording_t *recording, recording_text_t text, const char **bytes);

// A field of fixed size that should end with 0, kept.
const char *recording_field(const char *field, size_t room);

// The complete snapshots in order of time. An array to be freed; the snapshots are the recording's.
const recording_snapshot_t **recording_snapshots(const recording_t *recording, uint32_t *count);

const recording_class_t *recording_classes(const recording_t *recording, const recording_snapshot_t *snapshot,
                                           uint32_t *count);
const recording_cell_t *recording_cells(const recording_t *recording, const recording_snapshot_t *snapshot,
                                        uint32_t *count);

// The frames of a site, innermost first.
const uint64_t *recording_frames(const recording_t *recording, const recording_site_t *site, uint32_t *count);

#endif
