// pool/pool.c - the pool starts: its options are asked for, and its parts started in their order. See pool.h.
#include "pool.h"

#include "budget.h"
#include "os_linux.h"
#include "sample.h"
#include "trap.h"
#include "zone_guard.h"

static lock_t start_lock = {.rank = LOCK_HEAPS};
_Atomic bool pool_started;
static pool_options_t options = {.waste_percent = BUDGET_WASTE_PERCENT, .trap_every = TRAP_EVERY};
_Atomic bool pool_large_sampled;

static bool start_locked(void)
{
    os_start();
    size_class_start();
    static bool booted; // once, also when there were no addresses and the start is tried again
    if (pool_hook_boot && !booted)
        pool_hook_boot(&options);
    booted = true;
    budget_start(options.waste_percent);
    budget_limit_start(options.limit_bytes != 0 ? options.limit_bytes : SIZE_MAX);
    huge_start(options.harden >= HARDEN_GUARDS ? HUGE_OFF : options.huge); // guards lie in every region
    requested_start(options.requested_exact);
    if (options.sample_bytes != 0) { // else its code is not needed, and not resident
        sample_start(options.sample_bytes, options.sample_seed);
        atomic_store_explicit(&pool_large_sampled, true, memory_order_relaxed);
    }
    block_bits_start(options.harden);
    heap_one_by_one |= options.harden != 0;
    if (!zone_start())
        return false;
    if (options.harden != 0)
        block_bits_tables_start();
    large_start();
    if (options.harden >= HARDEN_TRAPS && options.trap_every != 0)
        trap_start(options.trap_every);
    os_barrier_start();
    atomic_store_explicit(&pool_started, true, memory_order_release);
    return true;
}

bool pool_start(void)
{
    if (likely(atomic_load_explicit(&pool_started, memory_order_acquire)))
        return true;
    if (!lock_take(&start_lock))
        return false;
    bool done = atomic_load_explicit(&pool_started, memory_order_relaxed) || start_locked();
    lock_give(&start_lock);
    return done;
}
