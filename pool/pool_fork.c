// pool/pool_fork.c - what fork does to the pool: its locks are taken in their order, and given back on both sides.
//
// See pool.h and lock.h. A thread can be in several forks at once, where a signal handler forks in the midst of fork.
#include "pool.h"

#include "budget.h"
#include "mosaic.h"
#include "os_linux.h"
#include "sample.h"

static lock_t *const fork_locks[] = {&heap_lock, &mosaic_lock, &zone_lock, &extent_lock};

// What each fork that this thread is in has taken: a digit a fork, the innermost lowest, with a bit a lock and one for the
// fork itself. There are several where a signal handler forks in the midst of fork, at most one a signal.
static __thread uint64_t fork_taken __attribute__((tls_model("initial-exec")));

static const unsigned fork_digit = LOCK_RANKS + 1;

// A fork copies page tables: 21 to 33 ms for 512 MiB were measured on a busy machine, 0.1 to 2 ms for small processes.
static uint64_t fork_patience_ms(void)
{
    const unsigned bytes_a_ms_shift = 22; // 1 ms for 4 MiB: four times that
    return 20 + (budget_used() >> bytes_a_ms_shift);
}

static void fork_locks_give(void)
{
    for (unsigned i = LOCK_RANKS; i-- > 0;)
        if (fork_taken >> i & 1) {
            fork_taken ^= (uint64_t)1 << i;
            lock_fork_give(fork_locks[i]);
        }
}

// All that the thread does not hold already: it does in a signal handler that interrupted the pool, or fork. False: one
// could not be had in time. Its holder may be another fork that waits for what the interrupted call holds.
static bool fork_locks_take(void)
{
    for (unsigned i = 0; i < LOCK_RANKS; i++) {
        if (lock_is_mine(fork_locks[i]))
            continue;
        if (!lock_fork_take(fork_locks[i]))
            return false;
        fork_taken |= (uint64_t)1 << i;
    }
    return true;
}

void pool_fork_prepare(void)
{
    lock_fork_begin(fork_patience_ms());
    fork_taken = fork_taken << fork_digit | 1u << LOCK_RANKS;
    while (!fork_locks_take()) {
        fork_locks_give();
        os_yield();
    }
}

void pool_fork_parent(void)
{
    fork_locks_give();
    fork_taken >>= fork_digit;
    lock_fork_end();
}

void pool_fork_child(void)
{
    unsigned outer = 0;
    for (unsigned i = 0; i < LOCK_RANKS; i++)
        lock_fork_child(fork_locks[i]);
    heap_fork_child();
    if (heap_sample_bytes != 0 || atomic_load_explicit(&sample_table_count, memory_order_relaxed) != 0)
        sample_fork_child();
    fork_taken >>= fork_digit;
    for (uint64_t rest = fork_taken; rest != 0; rest >>= fork_digit)
        outer++;
    lock_fork_child_end(outer);
    os_lock(false); // a child inherits no lock on memory
}
