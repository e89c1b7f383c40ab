// preload/recorder.h - the recording of this process: begun, kept and ended. Its bytes: recording.h.
//
//   sampler.c             samples of the pool, with their stacks
//   recorder.c            when: start, snapshots, fork, end
//   recorder_header.c     the process, as of the beginning
//   recorder_file.c       the file and its tables
//   recorder_sites.c      call stacks, and what is counted for each
//   recorder_modules.c    which library an address of a stack lies in
//   recorder_snapshot.c   the balance sheet and the heap map, as of one moment; pinned bytes
//
// Two locks, and no lock of the pool or of the C library is taken with the first one, but that of the pool's table of
// samples. Neither is held by fork: the child begins anew.
//   recorder_lock    the tables but for the snapshots. Held for a microsecond, and all signals wait meanwhile
//   snapshot lock    one snapshot at a time (recorder_snapshot.c)
#ifndef TARN_RECORDER_H
#define TARN_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "options.h"
#include "recording.h"
#include "sheet.h"

// Whether the options ask for a recording. Where they do not, nothing below is called: so its code is not resident.
static inline bool recorder_is_wanted(void)
{
    return options.record != NULL;
}

// Begins the recording that the options ask for. From the constructor.
RARE void recorder_start(void);
// A handler for the signal that asks for a snapshot, if one does. Behind fatal_start.
void recorder_signal_start(void);
// Whether this process has a recording that is not yet ended.
bool recorder_is_on(void);
// The same; a child of a fork begins its own when it has something to say.
RARE bool recorder_begin_late(void);

// Nanoseconds by a clock of the kernel's; by a system call, so that it may be any.
RARE uint64_t recorder_clock_ns(clockid_t clock);
// Nanoseconds since the recording began.
RARE uint64_t recorder_now_ns(void);

// One event of the sampler is over: a snapshot is taken if it is time for one.
RARE void recorder_event(uint64_t now_ns);
// One sample more was taken: they become rarer if they cost too much.
RARE void recorder_pace(void);

// Around the taking of a sheet for the report: begin gives what the survey is to show its pages to (NULL: nothing), end
// makes a snapshot of both. The recording ends with it, if the process does.
RARE const survey_visitor_t *recorder_sheet_begin(void);
// One to take where there is no report, between begin and end: it is resident already.
RARE sheet_t *recorder_sheet(void);
RARE void recorder_sheet_end(const sheet_t *sheet);
// The process ends. Nothing is recorded any more.
RARE void recorder_end(sheet_end_t ended_by, int value);

// In the child of a fork.
void recorder_forked(void);

// The recorder's own work must not be sampled, nor that of a handler that interrupts it. False: the calling thread is at
// it already, or the recording is not this process's. A snapshot, which takes longer, holds signals back, too.
typedef struct recorder_section {
    uint64_t begun_ns;
    int saved_errno;
} recorder_section_t;

RARE bool recorder_enter(recorder_section_t *section);
RARE void recorder_leave(const recorder_section_t *section);

// False: somebody else has it and does not give it back in time.
RARE bool recorder_lock_take(void);
RARE void recorder_lock_give(void);

#endif
