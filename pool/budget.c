// pool/budget.c - see budget.h.
#include "budget.h"

#include "os_linux.h"

static const uint64_t regret_ms = 1000; // wanted again within this time: giving it back was a mistake

static unsigned waste_percent = BUDGET_WASTE_PERCENT;
static _Atomic size_t retained, used, used_peak, purged_total, credit;
static _Atomic uint64_t credit_ms, purged_ms; // when the credit was last halved, when memory was last given back

void budget_start(unsigned percent)
{
    waste_percent = percent;
}

static void add(_Atomic size_t *counter, size_t bytes)
{
    atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}

static void subtract(_Atomic size_t *counter, size_t bytes)
{
    atomic_fetch_sub_explicit(counter, bytes, memory_order_relaxed);
}

static size_t get(_Atomic size_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void budget_retain(size_t bytes)
{
    add(&retained, bytes);
}

void budget_release(size_t bytes)
{
    subtract(&retained, bytes);
}

void budget_use(size_t bytes)
{
    size_t now = atomic_fetch_add_explicit(&used, bytes, memory_order_relaxed) + bytes;
    size_t peak = get(&used_peak);
    while (now > peak && !atomic_compare_exchange_weak_explicit(&used_peak, &peak, now, memory_order_relaxed,
                                                                memory_order_relaxed))
        ;
}

void budget_unuse(size_t bytes)
{
    subtract(&used, bytes);
}

void budget_purged(size_t bytes)
{
    add(&purged_total, bytes);
    atomic_store_explicit(&purged_ms, os_now_ms(), memory_order_relaxed);
}

// Halves the credit once for each second since it was last done. Two threads at once may halve it once too often.
static void credit_age(uint64_t now_ms)
{
    uint64_t since = atomic_load_explicit(&credit_ms, memory_order_relaxed);
    uint64_t halvings = (now_ms - since) / regret_ms;
    if (halvings == 0)
        return;
    atomic_store_explicit(&credit_ms, now_ms, memory_order_relaxed);
    size_t left = halvings >= 8 * sizeof(size_t) ? 0 : get(&credit) >> halvings;
    atomic_store_explicit(&credit, left, memory_order_relaxed);
}

void budget_regret(size_t bytes)
{
    if (get(&purged_total) == 0)
        return;
    uint64_t now_ms = os_now_ms();
    credit_age(now_ms);
    if (now_ms - atomic_load_explicit(&purged_ms, memory_order_relaxed) > regret_ms)
        return;
    add(&credit, 2 * bytes);
    size_t in_use = get(&used), peak = get(&used_peak);
    size_t most = peak > in_use ? peak - in_use : 0;
    if (get(&credit) > most)
        atomic_store_explicit(&credit, most, memory_order_relaxed);
}

size_t budget_retained(void)
{
    return get(&retained);
}

size_t budget_used(void)
{
    return get(&used);
}

size_t budget_used_peak(void)
{
    return get(&used_peak);
}

size_t budget_purged_total(void)
{
    return get(&purged_total);
}

size_t budget_limit(void)
{
    if (get(&credit) != 0)
        credit_age(os_now_ms());
    return size_max(BUDGET_FLOOR_BYTES, get(&used) / 100 * waste_percent) + get(&credit);
}

size_t budget_excess(size_t idle_bytes)
{
    size_t kept = get(&retained) + idle_bytes;
    if (kept <= BUDGET_FLOOR_BYTES)
        return 0; // without a look at the clock
    size_t limit = budget_limit();
    return kept > limit ? kept - limit : 0;
}
