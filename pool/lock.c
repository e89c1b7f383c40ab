// pool/lock.c - see lock.h. Spins a little (sections are some tens of instructions), then sleeps on a futex.
#include "lock.h"

#include <assert.h>

#include "os_linux.h"

static const unsigned spins = 64;                 // about the length of the longest section without a system call
static _Atomic int forks_under_way;
static _Atomic uint64_t fork_patience_ms;
static _Atomic int fork_thread; // the last one that began

#ifndef NDEBUG
static __thread unsigned ranks_held; // bit per lock_rank_t
#endif

// Added to the owner's thread pointer, which is aligned.
static const uintptr_t by_fork = 1;

static uintptr_t thread_self(void)
{
    return (uintptr_t)__builtin_thread_pointer();
}

static bool fork_has(const lock_t *lock)
{
    return atomic_load_explicit(&lock->owner, memory_order_relaxed) == (thread_self() | by_fork);
}

static bool lock_try(lock_t *lock, uintptr_t owner)
{
    uintptr_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(&lock->owner, &nobody, owner, memory_order_acquire,
                                                   memory_order_relaxed);
}

static bool lock_spin(lock_t *lock, uintptr_t owner)
{
    for (unsigned i = 0; i < spins; i++) {
        if (atomic_load_explicit(&lock->owner, memory_order_relaxed) == 0 && lock_try(lock, owner))
            return true;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    return false;
}

static bool fork_is_under_way(void)
{
    return atomic_load_explicit(&forks_under_way, memory_order_relaxed) != 0;
}

static uint64_t fork_patience(void)
{
    return atomic_load_explicit(&fork_patience_ms, memory_order_relaxed);
}

// It copies the process, or waits for a processor to do so; and not for one of the C library's locks. Whoever waits here is not at
// work, though it runs while it asks.
static bool fork_is_at_work(void)
{
    int thread = atomic_load_explicit(&fork_thread, memory_order_relaxed);
    return thread != os_thread_id() && os_thread_runs(thread);
}

// What a waiter has seen.
typedef struct wait {
    uint64_t since_ms, fork_since_ms; // 0: not yet, no fork
} wait_t;

static bool waited_too_long(wait_t *wait, uint64_t patience_ms)
{
    uint64_t now_ms = os_now_ms();
    if (wait->since_ms == 0)
        wait->since_ms = now_ms;
    if (!fork_is_under_way())
        wait->fork_since_ms = 0;
    else if (wait->fork_since_ms == 0)
        wait->fork_since_ms = now_ms;
    uint64_t fork_ms = wait->fork_since_ms == 0 ? 0 : now_ms - wait->fork_since_ms;
    return now_ms - wait->since_ms > patience_ms || (fork_ms > fork_patience() && !fork_is_at_work());
}

static bool lock_sleep(lock_t *lock, uintptr_t owner, uint64_t patience_ms)
{
    wait_t wait = {0};
    if (fork_has(lock))
        return true; // lock_give leaves it to fork
    atomic_fetch_add_explicit(&lock->waiters, 1, memory_order_seq_cst);
    bool mine;
    for (;;) {
        uint32_t generation = __atomic_load_n(&lock->generation, __ATOMIC_SEQ_CST);
        mine = lock_try(lock, owner);
        if (mine || waited_too_long(&wait, patience_ms))
            break;
        os_wait(&lock->generation, generation);
    }
    atomic_fetch_sub_explicit(&lock->waiters, 1, memory_order_seq_cst);
    return mine;
}

static __thread bool gave_up __attribute__((tls_model("initial-exec")));

bool lock_fork_hangs(void)
{
    bool hangs = gave_up;
    gave_up = false;
    return hangs;
}

static bool take_as(lock_t *lock, uintptr_t owner, uint64_t patience_ms)
{
    bool mine = lock_try(lock, owner) || lock_spin(lock, owner) || lock_sleep(lock, owner, patience_ms);
    gave_up |= !mine;
    return mine;
}

static bool noted(const lock_t *lock, bool mine)
{
    assert(!mine || (ranks_held >> lock->rank) == 0); // this rank or a higher one is held: the order is broken
#ifndef NDEBUG
    if (mine)
        ranks_held |= 1u << lock->rank;
#endif
    (void)lock;
    return mine;
}

bool lock_take_within(lock_t *lock, uint64_t patience_ms)
{
    assert((ranks_held >> lock->rank) == 0); // before it waits
    return noted(lock, take_as(lock, thread_self(), patience_ms));
}

bool lock_take_at_once(lock_t *lock)
{
    return noted(lock, lock_try(lock, thread_self()));
}

bool lock_take(lock_t *lock)
{
    return lock_take_within(lock, UINT64_MAX);
}

static void owner_clear(lock_t *lock)
{
    atomic_store_explicit(&lock->owner, 0, memory_order_seq_cst);
    if (atomic_load_explicit(&lock->waiters, memory_order_seq_cst) != 0) {
        __atomic_fetch_add(&lock->generation, 1, __ATOMIC_SEQ_CST);
        os_wake_one(&lock->generation);
    }
}

void lock_give(lock_t *lock)
{
    assert(lock_is_mine(lock));
#ifndef NDEBUG
    ranks_held &= ~(1u << lock->rank);
#endif
    if (likely(!fork_has(lock)))
        owner_clear(lock);
}

bool lock_is_mine(const lock_t *lock)
{
    return (atomic_load_explicit(&lock->owner, memory_order_relaxed) & ~by_fork) == thread_self();
}

// --- fork ------------------------------------------------------------------------------------------------------------

bool lock_fork_take(lock_t *lock)
{
    return take_as(lock, thread_self() | by_fork, UINT64_MAX);
}

void lock_fork_give(lock_t *lock)
{
    if (fork_has(lock))
        owner_clear(lock);
}

void lock_fork_begin(uint64_t patience_ms)
{
    atomic_store_explicit(&fork_patience_ms, patience_ms, memory_order_relaxed);
    atomic_store_explicit(&fork_thread, os_thread_id(), memory_order_relaxed);
    atomic_fetch_add_explicit(&forks_under_way, 1, memory_order_relaxed);
}

void lock_fork_end(void)
{
    int forks = atomic_load_explicit(&forks_under_way, memory_order_relaxed);
    while (forks > 0 && !atomic_compare_exchange_weak_explicit(&forks_under_way, &forks, forks - 1, memory_order_relaxed,
                                                               memory_order_relaxed))
        ;
}

void lock_fork_child(lock_t *lock)
{
    atomic_store_explicit(&lock->waiters, 0, memory_order_relaxed);
    if (fork_has(lock))
        atomic_store_explicit(&lock->owner, 0, memory_order_release);
}

void lock_fork_child_end(unsigned forks)
{
    atomic_store_explicit(&forks_under_way, (int)forks, memory_order_relaxed);
}
