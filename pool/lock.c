// pool/lock.c - see lock.h. Spins a little (sections are some tens of instructions), then sleeps on a futex.
#include "lock.h"

#include <assert.h>

#include "os_linux.h"

static const unsigned spins = 64;                 // about the length of the longest section without a system call
static _Atomic int forks_under_way;
static _Atomic uint64_t fork_patience_ms;

#ifndef NDEBUG
static __thread unsigned ranks_held; // bit per lock_rank_t
#endif

static uintptr_t thread_self(void)
{
    return (uintptr_t)__builtin_thread_pointer();
}

static bool lock_try(lock_t *lock)
{
    uintptr_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(&lock->owner, &nobody, thread_self(), memory_order_acquire,
                                                   memory_order_relaxed);
}

static bool lock_spin(lock_t *lock)
{
    for (unsigned i = 0; i < spins; i++) {
        if (atomic_load_explicit(&lock->owner, memory_order_relaxed) == 0 && lock_try(lock))
            return true;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    return false;
}

static bool fork_takes_too_long(uint64_t *since_ms)
{
    if (atomic_load_explicit(&forks_under_way, memory_order_relaxed) == 0) {
        *since_ms = 0;
        return false;
    }
    if (*since_ms == 0)
        *since_ms = os_now_ms();
    return os_now_ms() - *since_ms > atomic_load_explicit(&fork_patience_ms, memory_order_relaxed);
}

static bool lock_sleep(lock_t *lock)
{
    uint64_t since_ms = 0;
    atomic_fetch_add_explicit(&lock->waiters, 1, memory_order_seq_cst);
    bool mine;
    for (;;) {
        uint32_t generation = __atomic_load_n(&lock->generation, __ATOMIC_SEQ_CST);
        mine = lock_try(lock);
        if (mine || fork_takes_too_long(&since_ms))
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

bool lock_take(lock_t *lock)
{
    assert((ranks_held >> lock->rank) == 0); // this rank or a higher one is held: the order is broken
    bool mine = lock_try(lock) || lock_spin(lock) || lock_sleep(lock);
    gave_up |= !mine;
#ifndef NDEBUG
    if (mine)
        ranks_held |= 1u << lock->rank;
#endif
    return mine;
}

void lock_give(lock_t *lock)
{
    assert(lock_is_mine(lock));
#ifndef NDEBUG
    ranks_held &= ~(1u << lock->rank);
#endif
    atomic_store_explicit(&lock->owner, 0, memory_order_seq_cst);
    if (atomic_load_explicit(&lock->waiters, memory_order_seq_cst) != 0) {
        __atomic_fetch_add(&lock->generation, 1, __ATOMIC_SEQ_CST);
        os_wake_one(&lock->generation);
    }
}

bool lock_is_mine(const lock_t *lock)
{
    return atomic_load_explicit(&lock->owner, memory_order_relaxed) == thread_self();
}

void lock_fork_begin(uint64_t patience_ms)
{
    atomic_store_explicit(&fork_patience_ms, patience_ms, memory_order_relaxed);
    atomic_fetch_add_explicit(&forks_under_way, 1, memory_order_relaxed);
}

void lock_fork_child(lock_t *lock)
{
    atomic_store_explicit(&lock->waiters, 0, memory_order_relaxed);
}

void lock_fork_end(void)
{
    atomic_fetch_sub_explicit(&forks_under_way, 1, memory_order_relaxed);
}
