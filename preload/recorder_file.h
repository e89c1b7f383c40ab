// preload/recorder_file.h - the recording as a mapped file: created, laid out, grown table by table.
//
// The file is sparse and its descriptor closed at once. Before a part is written for the first time the kernel is asked
// for its disk blocks (MADV_POPULATE_WRITE), so that a full disk is an answer and not a SIGBUS. Kernels before 5.14
// cannot be asked so: there a smaller file is allocated whole.
//
// Everything here is [recorder_lock], but for the start.
#ifndef TARN_RECORDER_FILE_H
#define TARN_RECORDER_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "../pool/bits.h"
#include "recording.h"

// [const] from recorder_file_open to recorder_file_close. NULL: there is no recording.
extern recording_header_t *recorder_header;

// Creates the file that the options name. False, with errno: EEXIST if there is one that may not be replaced. The topmost
// process replaces one of ours, whose process has ended.
RARE bool recorder_file_open(void);
// Forgets it, as it is: in the child of a fork, which has its parent's.
RARE void recorder_file_close(void);
// The same, and removes it: there is no room for what any recording has.
RARE void recorder_file_discard(void);
// The path that recorder_file_open tried last.
RARE const char *recorder_file_path(void);

static inline void *recorder_record(recording_table_id_t table, uint64_t index)
{
    const recording_table_t *place = &recorder_header->tables[table];
    return (char *)recorder_header + place->offset + index * place->stride;
}

// Makes the first `count` records writable. False: the table is full, or the disk is; the header says so.
RARE bool recorder_reserve(recording_table_id_t table, uint64_t count);
// The same for any part of the file.
RARE bool recorder_populate(const void *start, size_t bytes);

// Appends to the text. What does not fit is cut, and the header says so.
RARE recording_text_t recorder_text(const char *text, size_t length);

#endif
