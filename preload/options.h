// preload/options.h - what TARN_OPTIONS says: key=value:key=value.
//
// Read twice, since the first allocation may come before standard error is known to be ours: options_read before it,
// without a word, and options_complain from the constructor, one line for each thing that is wrong. Nothing is
// allocated; a process with AT_SECURE set (set-user-ID) takes no options and writes no report.
#ifndef TARN_OPTIONS_H
#define TARN_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "../pool/bits.h"
#include "../pool/huge.h"

typedef enum stats_format { STATS_TEXT, STATS_JSON, STATS_OFF } stats_format_t;

typedef struct options {
    stats_format_t stats;
    bool abort_on_misuse;
    bool requested_exact;
    unsigned waste_percent;
    huge_mode_t huge;
    unsigned harden;           // 0: what costs nothing
    unsigned traps;            // at level 3 one allocation in so many is a trap; 0: none
    size_t limit_bytes;        // of the heap; 0: none
    bool profile;              // take samples, if there is a recording
    bool follow;               // a recording for each process, not for the topmost alone
    size_t sample_bytes;       // their mean distance
    bool sample_given;         // it is to be kept to, whatever it costs
    size_t record_max_bytes;   // of a recording
    int record_signal;         // asks for a snapshot; 0: none does
    bool faulty;               // options_complain has something to say
    const char *stats_file;    // as given, relative paths made absolute; NULL for none
    const char *record;        // the same
} options_t;

// [const] after options_read
extern options_t options;

void options_read(unsigned default_waste_percent);
RARE void options_complain(void);

#endif
