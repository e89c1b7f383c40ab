// tools/measure.h - runs a command once and measures it from outside, the same way under every allocator.
//
//   time          from just before the exec to the end of COMMAND, as it is waited for
//   CPU, faults   what the kernel counted for it and everything below it (wait4)
//   resident      of the whole process tree, sampled: every millisecond at first, then every hundredth of the time so
//                 far up to 20 ms; less often where a sample would take more than two percent of a processor
//   peak          the highest sample, or the kernel's own peak of the largest process where that is more: a peak
//                 between two samples is missed only where several processes share it
//
// The command runs in a process group of its own and as a child of ours; it ends with us. What is left of it when it
// has ended is ended too, for it would run beside the next one.
#ifndef TARN_TOOLS_MEASURE_H
#define TARN_TOOLS_MEASURE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { MEASURE_CURVE_MAX = 256 }; // points of one run's resident memory over time

typedef struct point {
    uint64_t at_ns; // since the start
    uint64_t resident_bytes;
} point_t;

// A long run has fewer samples a second here: of two that are joined, the higher stays.
typedef struct curve {
    point_t points[MEASURE_CURVE_MAX];
    int count;
    int samples_per_point;
    int samples_in_last;
} curve_t;

typedef struct measurement {
    uint64_t wall_ns;
    uint64_t user_ns, system_ns;
    uint64_t peak_bytes;         // of the tree
    uint64_t peak_process_bytes; // of its largest process
    bool peak_is_bound;          // it is what every process of ours begins with: the command had less
    uint64_t mean_bytes;         // over the time from the first sample to the last
    uint64_t minor_faults, major_faults;
    int samples;     // 0: too short to be seen, and mean_bytes is 0
    int status;      // as the shell tells it: 128 + n for a signal
    int left_behind; // processes that were still there at its end
    int exec_error;  // errno, when it could not be started; the rest is 0 then
    curve_t curve;
} measurement_t;

// Called with each process of the tree at each sample, and how long COMMAND runs by then.
typedef struct observer {
    void (*observe)(void *context, pid_t pid, uint64_t age_ns);
    void *context;
} observer_t;

typedef struct command {
    char **argv;
    const char *input;          // what it reads
    bool output_is_shown;       // on our standard error; otherwise it is thrown away
    const char *library;        // put before what LD_PRELOAD holds; NULL: nothing is
    const observer_t *observer; // or NULL
} command_t;

// Around all runs: signals are taken so that an interrupt ends the command first.
void measure_begin(void);
void measure_end(void);

// Returns 0, the number of a signal that is to end us (the command is gone by then), or -1 when the system refuses a
// process, errno set.
int measure_run(const command_t *command, measurement_t *measurement);

#endif
