// tests/stress/refusals.h - the kernel refuses: in front of os_linux's functions stand others (-Wl,--wrap), which fail
// when they are told to.
#ifndef TARN_TEST_REFUSALS_H
#define TARN_TEST_REFUSALS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum call {
    CALL_RESERVE = 1,
    CALL_COMMIT = 2,
    CALL_MAP = 4,
    CALL_PURGE = 8,
    CALL_MOVE = 16,
    CALL_RESIZE = 32,
    CALL_REFRESH = 64,
    CALL_HOLE = 128, // a move succeeds, but somebody else takes the addresses it leaves
    CALL_WITHDRAW = 256,
    CALL_ALL = 511 & ~CALL_HOLE
} call_t;

typedef struct refusals {
    unsigned calls; // which ones fail; 0: none
    unsigned every; // every how manieth of them
    unsigned nth;   // this one alone; 0: every `every`-th
    bool onwards;   // and all behind it
} refusals_t;

// Set while all threads are quiet.
extern refusals_t refusals;
extern size_t refusals_address_limit; // what the pool is told of RLIMIT_AS
extern bool refusals_commit_counts;   // and of RLIMIT_DATA, or no overcommit
extern _Atomic unsigned refusals_asked, refusals_refused;

#endif
