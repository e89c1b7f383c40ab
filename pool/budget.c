// pool/budget.c - see budget.h.
#include "budget.h"

#include "os_linux.h"

static const uint64_t regret_ms = 1000; // wanted again within this time: giving it back was a mistake
static const unsigned churn_shift = 1;  // credit up to half of what is in use
static const unsigned return_factor = 4; // credit for the way back to the peak: up to this times what is in use
static const unsigned peak_shift = 3;   // the recent peak comes down to what is in use by an eighth a second

static unsigned waste_percent = BUDGET_WASTE_PERCENT;
static _Atomic size_t retained, used, used_peak, recent_peak, purged_total, credit[BUDGET_KINDS];
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

static void raise(_Atomic size_t *peak, size_t value)
{
    size_t before = get(peak);
    while (value > before && !atomic_compare_exchange_weak_explicit(peak, &before, value, memory_order_relaxed,
                                                                    memory_order_relaxed))
        ;
}

void budget_use(size_t bytes)
{
    size_t now = atomic_fetch_add_explicit(&used, bytes, memory_order_relaxed) + bytes;
    raise(&recent_peak, now);
    raise(&used_peak, now);
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

// Halves the credit once for each second since it was last done, and lets the recent peak sink. Two threads at once may
// do it once too often.
static void credit_age(uint64_t now_ms)
{
    uint64_t since = atomic_load_explicit(&credit_ms, memory_order_relaxed);
    uint64_t seconds = (now_ms - since) / regret_ms;
    if (seconds == 0)
        return;
    atomic_store_explicit(&credit_ms, now_ms, memory_order_relaxed);
    bool gone = seconds >= 8 * sizeof(size_t);
    for (unsigned kind = 0; kind < BUDGET_KINDS; kind++)
        atomic_store_explicit(&credit[kind], gone ? 0 : get(&credit[kind]) >> seconds, memory_order_relaxed);
    size_t peak = get(&recent_peak), in_use = get(&used);
    for (; seconds-- > 0 && peak > in_use && !gone;)
        peak -= ((peak - in_use) >> peak_shift) + 1;
    atomic_store_explicit(&recent_peak, gone ? in_use : peak, memory_order_relaxed);
}

static size_t credit_allowance(budget_kind_t kind)
{
    size_t in_use = get(&used), peak = get(&recent_peak);
    if (kind == BUDGET_INSIDE)
        return in_use >> churn_shift;
    if (peak <= in_use || in_use <= 2 * BUDGET_FLOOR_BYTES)
        return 0;
    return size_min(peak - in_use, return_factor * (in_use - 2 * BUDGET_FLOOR_BYTES));
}

void budget_regret(budget_kind_t kind, size_t bytes)
{
    if (get(&purged_total) == 0)
        return;
    uint64_t now_ms = os_now_ms();
    credit_age(now_ms);
    if (now_ms - atomic_load_explicit(&purged_ms, memory_order_relaxed) > regret_ms)
        return;
    size_t most = get(&recent_peak), after = get(&credit[kind]) + 2 * bytes;
    atomic_store_explicit(&credit[kind], size_min(after, most), memory_order_relaxed);
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

size_t budget_limit(budget_kind_t kind)
{
    if ((get(&credit[BUDGET_WHOLE]) | get(&credit[BUDGET_INSIDE])) != 0)
        credit_age(os_now_ms());
    size_t base = size_max(BUDGET_FLOOR_BYTES, get(&used) / 100 * waste_percent);
    return base + size_min(get(&credit[kind]), credit_allowance(kind));
}

size_t budget_excess(size_t more_bytes)
{
    size_t kept = get(&retained) + more_bytes;
    if (kept <= BUDGET_FLOOR_BYTES)
        return 0; // without a look at the clock
    size_t limit = budget_limit(BUDGET_WHOLE);
    return kept > limit ? kept - limit : 0;
}
