// preload/recorder_snapshot.h - one snapshot: the balance sheet, the classes and the heap map, as of one moment.
#ifndef TARN_RECORDER_SNAPSHOT_H
#define TARN_RECORDER_SNAPSHOT_H

#include <stdbool.h>

#include "recording.h"
#include "sheet.h"

// Takes the snapshots' lock. patience_ms: how long to wait for another thread's. False: it was not given back, or there
// is no room on the disk.
RARE bool recorder_snapshot_begin(recording_reason_t reason, unsigned patience_ms);
// What the survey of this snapshot is to show its pages to.
RARE const survey_visitor_t *recorder_snapshot_visitor(void);
// Writes the sheet, charges the holes to the survivors' sites, and gives the lock back.
RARE void recorder_snapshot_finish(const sheet_t *sheet, uint64_t now_ns);

// In the child of a fork, or before the first one.
RARE void recorder_snapshot_reset(void);

#endif
