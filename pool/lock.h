// pool/lock.h - a small lock that knows its owner, and what to do while a fork is under way.
//
// fork() takes the pool's locks in its prepare step and the C library then takes its own (stdio's) before it calls the
// kernel. A thread that holds stdio's lock and allocates would wait for us while fork waits for it. So nobody waits
// for a lock held by fork for longer than a fork of such a process takes, unless the thread that forks is seen to be at
// work: lock_take then returns false and the caller serves the request without shared state (reserve.h), or lets the
// work be.
//
// A lock that fork holds guards nothing half done. So the forking thread may take it once more, in a signal handler that
// interrupted fork.
//
// Order: a thread that holds a lock takes only locks of a higher rank. Debug builds check it. Fork alone may be out of
// order, in a signal handler that interrupted a holder; it lets go of what it has when it has waited too long.
#ifndef TARN_LOCK_H
#define TARN_LOCK_H

#include <stdatomic.h>

#include "bits.h"

typedef enum lock_rank {
    LOCK_HEAPS, // the registry of heaps, orphans, adoption
    LOCK_MOSAICS, // mosaics, and the memory of their descriptions
    LOCK_ZONES, // the list of zones, and every zone's pages
    LOCK_LARGE, // large blocks
    LOCK_RANKS, // those above: what a fork and a survey take
    LOCK_SAMPLES = LOCK_RANKS // the profile's table of samples
} lock_rank_t;

typedef struct lock {
    _Atomic uintptr_t owner;  // the holder's thread pointer, 0 if free; plus 1 if its fork holds it. [atomic] take:
                              // acquire, give: release
    _Atomic uint32_t waiters; // threads in os_wait. [atomic]
    uint32_t generation;      // changes at each give, so that a waiter cannot miss it; the futex word
    lock_rank_t rank;         // [const]
} lock_t;

// True: the caller holds the lock. False: a fork holds it and did not finish in time.
bool lock_take(lock_t *lock);
// The same for whoever would rather do without than wait at all.
bool lock_take_at_once(lock_t *lock);
// The same for whoever can do without: false, too, if it was not to be had for so long.
bool lock_take_within(lock_t *lock, uint64_t patience_ms);
void lock_give(lock_t *lock);
bool lock_is_mine(const lock_t *lock);

// Between these two lock_take may give up, after patience_ms.
void lock_fork_begin(uint64_t patience_ms);
void lock_fork_end(void);
// The same for fork's own sake, in any order. The caller does not hold the lock.
bool lock_fork_take(lock_t *lock);
// If the caller's fork holds the lock still.
void lock_fork_give(lock_t *lock);
// In the child: who waited for the lock is not there, and no fork holds it. forks: those that the thread is still in.
void lock_fork_child(lock_t *lock);
void lock_fork_child_end(unsigned forks);
// Whether a lock_take of the calling thread has given up since the last call.
bool lock_fork_hangs(void);

#endif
