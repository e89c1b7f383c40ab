// pool/budget.c - see budget.h.
#include "budget.h"

#include "os_linux.h"

static const uint64_t regret_ms = 1000; // wanted again within this time: giving it back was a mistake
static const unsigned churn_shift = 1;  // credit up to half of what is in use
static const unsigned return_factor = 4; // credit for the way back to the peak: up to this times what is in use
static const unsigned peak_shift = 3;   // a recent peak comes down to what is in use by an eighth a second

// A heap that has wanted its last seconds' peak again this many times over is trusted to go on so: then nothing is given
// back for a while. So often that a program which fills and empties its heap a few dozen times is not taken for one that
// does nothing else, and so seldom that the lesson costs little (bench/batch.c: 16 KiB to 1 MiB a block); sooner where
// little is at stake, and at once where it is next to nothing (bench/producer_consumer.c: 3 MiB in all, of which up to 2
// are on their way; with 8 times 7,000 page faults and 500 system calls before it was trusted).
static const struct {
    size_t most_bytes, cycles;
} trust_steps[] = {{3 * BUDGET_FLOOR_BYTES, 2}, {8 * BUDGET_FLOOR_BYTES, 8}, {SIZE_MAX, 32}};
static const uint64_t trust_ms = 4000;

static const unsigned excuse_shift = 4; // 6 %

// A step of the height: small against what a small program takes, and 16 page faults, beside which a call that gives memory
// back is cheap. Below the first there is next to nothing to give back, and the smallest programs need not come to the code.
static const size_t rise_least_bytes = (size_t)64 << 10;
static const unsigned rise_shift = 4;
#define RISE_FIRST_BYTES ((size_t)256 << 10)

static unsigned waste_percent = BUDGET_WASTE_PERCENT;
static size_t most_bytes = SIZE_MAX; // [const] after the start
static _Atomic size_t retained, used, used_peak, recent_peak, purged_total, credit[BUDGET_KINDS];
static _Atomic size_t excused[BUDGET_EXCUSES];
static _Atomic size_t hollow_bytes;
static _Atomic size_t pending_bytes; // wraps below 0: one heap has told what it took back, and another not yet what it freed
static _Atomic size_t filled_used; // what was in use when memory last became resident ahead of its use
static _Atomic bool generous; // huge=on
static _Atomic uint64_t credit_ms, purged_ms; // when the credit was last halved, when memory was last given back
static _Atomic uint64_t trusted_until_ms;
static _Atomic size_t trusted_bytes; // the heap that has earned it, and an eighth more
static _Atomic size_t wanted_again;     // bytes given back and wanted again; halves every second
static _Atomic size_t risen_at = RISE_FIRST_BYTES; // used and kept together: above this, what is stale is asked for
static _Atomic size_t kept_least; // the least that was kept since that was last so
static _Atomic size_t second_peak[2];   // most bytes in use in this second and in the one before

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
    size_t now = atomic_fetch_sub_explicit(&retained, bytes, memory_order_relaxed) - bytes;
    if (now < get(&kept_least)) // of threads that come at once the greater may stay: then a little more is stale, once
        atomic_store_explicit(&kept_least, now, memory_order_relaxed);
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
    raise(&second_peak[0], now);
    if (now > get(&recent_peak)) {
        raise(&recent_peak, now);
        raise(&used_peak, now);
    }
}

void budget_limit_start(size_t bytes)
{
    most_bytes = bytes;
}

bool budget_is_limited(void)
{
    return most_bytes != SIZE_MAX;
}

static bool exceeds(size_t now, size_t bytes)
{
    return now > most_bytes || bytes > most_bytes - now;
}

bool budget_would_refuse(size_t bytes)
{
    return exceeds(get(&used) + get(&retained), bytes);
}

static RARE bool take_limited(size_t bytes)
{
    size_t now = get(&used);
    do {
        if (exceeds(now + get(&retained), bytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&used, &now, now + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    budget_use(0); // the peaks
    return true;
}

bool budget_take(size_t bytes)
{
    if (unlikely(most_bytes != SIZE_MAX))
        return take_limited(bytes);
    budget_use(bytes);
    return true;
}

bool budget_reuse(size_t kept_bytes, size_t used_bytes)
{
    size_t more = used_bytes > kept_bytes ? used_bytes - kept_bytes : 0;
    if (!budget_take(more))
        return false;
    budget_use(used_bytes - more);
    return true;
}

void budget_unuse(size_t bytes)
{
    subtract(&used, bytes);
}

void budget_purged(size_t bytes)
{
    uint64_t now_ms = os_now_ms(), never = 0;
    add(&purged_total, bytes);
    atomic_store_explicit(&purged_ms, now_ms, memory_order_relaxed);
    atomic_compare_exchange_strong_explicit(&credit_ms, &never, now_ms, memory_order_relaxed, memory_order_relaxed);
}

size_t budget_peak_sunk(size_t peak, size_t now, uint64_t seconds)
{
    for (; seconds > 0 && peak > now; seconds--)
        peak -= ((peak - now) >> peak_shift) + 1;
    return peak;
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
    size_t in_use = get(&used), peak = gone ? in_use : budget_peak_sunk(get(&recent_peak), in_use, seconds);
    atomic_store_explicit(&recent_peak, peak, memory_order_relaxed);
    atomic_store_explicit(&wanted_again, gone ? 0 : get(&wanted_again) >> seconds, memory_order_relaxed);
    atomic_store_explicit(&second_peak[1], seconds == 1 ? get(&second_peak[0]) : in_use, memory_order_relaxed);
    atomic_store_explicit(&second_peak[0], in_use, memory_order_relaxed);
}

static size_t seconds_peak(void)
{
    return size_max(get(&second_peak[0]), get(&second_peak[1]));
}

// Up to what size a heap is trusted now. One that has grown beyond what earned it is not: else a few swings of 1 MiB would
// keep all of what the next seconds bring. 0: none is.
static size_t trusted_most(uint64_t now_ms)
{
    return now_ms < atomic_load_explicit(&trusted_until_ms, memory_order_relaxed) ? get(&trusted_bytes) : 0;
}

// How many times over a heap that swings so far must want it all again.
static size_t trust_cycles(size_t swing_bytes)
{
    unsigned step = 0;
    while (swing_bytes > trust_steps[step].most_bytes)
        step++;
    return trust_steps[step].cycles;
}

static size_t credit_allowance(budget_kind_t kind)
{
    size_t in_use = get(&used), peak = get(&recent_peak);
    if (kind == BUDGET_INSIDE)
        return in_use >> churn_shift;
    ptrdiff_t pending = (ptrdiff_t)get(&pending_bytes);
    in_use -= pending > 0 ? size_min((size_t)pending, in_use) : 0;
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
    add(&wanted_again, bytes);
    size_t swing = seconds_peak();
    if (get(&wanted_again) / trust_cycles(swing) > swing) {
        atomic_store_explicit(&wanted_again, 0, memory_order_relaxed);
        atomic_store_explicit(&trusted_bytes, swing + (swing >> peak_shift), memory_order_relaxed);
        atomic_store_explicit(&trusted_until_ms, now_ms + trust_ms, memory_order_relaxed);
    }
}

void budget_excuse(budget_excuse_t kind, size_t bytes)
{
    add(&excused[kind], bytes);
}

void budget_unexcuse(budget_excuse_t kind, size_t bytes)
{
    subtract(&excused[kind], bytes);
}

void budget_be_generous(void)
{
    uint64_t never = 0; // from now on the recent peak sinks, though nothing was given back yet
    atomic_compare_exchange_strong_explicit(&credit_ms, &never, os_now_ms(), memory_order_relaxed, memory_order_relaxed);
    atomic_store_explicit(&generous, true, memory_order_relaxed);
}

static bool is_generous(void)
{
    return atomic_load_explicit(&generous, memory_order_relaxed);
}

// Ahead of its use there may be 6 % of the heap. One that was larger a moment ago is being filled again, most likely: it
// may have as much ahead as it uses and `regretted`, as long as that takes it no further than 6 % above where it was. (in_use <=
// recent_peak)
static size_t filling_most(size_t regretted)
{
    size_t in_use = get(&used), highest = get(&recent_peak);
    highest += highest >> excuse_shift;
    if (is_generous())
        return SIZE_MAX;
    return highest <= in_use ? 0 : size_min(highest - in_use, in_use + regretted);
}

bool budget_may_fill(size_t bytes, bool again)
{
    size_t regretted = 0;
    if (again && budget_has_credit(BUDGET_WHOLE)) {
        credit_age(os_now_ms());
        regretted = size_min(get(&credit[BUDGET_WHOLE]), bytes); // it may have ended meanwhile: one region then lies there unused
    }
    return get(&excused[BUDGET_FILLING]) + bytes <= filling_most(regretted);
}

bool budget_may_fill_freely(size_t bytes)
{
    return get(&excused[BUDGET_FILLING]) + bytes <= get(&used) + BUDGET_FLOOR_BYTES;
}

void budget_fill_begins(void)
{
    atomic_store_explicit(&filled_used, get(&used), memory_order_relaxed);
}

// A heap of which half has gone since is not being filled any more.
static size_t filling_excused(void)
{
    return get(&used) < get(&filled_used) / 2 && !is_generous() ? 0 : filling_most(0);
}

size_t budget_kept(void)
{
    size_t kept = get(&retained), filling = get(&excused[BUDGET_FILLING]), partly = get(&excused[BUDGET_PARTLY]);
    size_t excuse = 0;
    if (unlikely(filling != 0))
        excuse = size_min(filling, filling_excused());
    if (unlikely(partly != 0))
        excuse += is_generous() ? partly : size_min(partly, get(&used) >> excuse_shift);
    return kept > excuse ? kept - excuse : 0;
}

static bool is_below_peak(void)
{
    size_t in_use = get(&used), peak = get(&recent_peak);
    return peak > in_use && peak - in_use > in_use >> peak_shift;
}

bool budget_has_sunk(void)
{
    if (likely(!is_below_peak()))
        return false;
    if (get(&purged_total) != 0) // else it has not aged yet; see budget_purged
        credit_age(os_now_ms()); // where nothing is regretted, nobody else lets the peak sink
    return is_below_peak();
}

bool budget_has_credit(budget_kind_t kind)
{
    return get(&credit[kind]) != 0;
}

size_t budget_recent_peak(void)
{
    return get(&recent_peak);
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

void budget_hollow(size_t bytes)
{
    add(&hollow_bytes, bytes);
}

void budget_unhollow(size_t bytes)
{
    subtract(&hollow_bytes, bytes);
}

void budget_pend(size_t bytes)
{
    add(&pending_bytes, bytes);
}

void budget_unpend(size_t bytes)
{
    subtract(&pending_bytes, bytes);
}

size_t budget_pending(void)
{
    return get(&pending_bytes);
}

size_t budget_hollow_bytes(void)
{
    return get(&hollow_bytes);
}

size_t budget_waste(void)
{
    size_t in_use = get(&used);
    return (in_use - size_min(get(&hollow_bytes), in_use)) / 100 * waste_percent;
}

static size_t generous_base(size_t in_use)
{
    credit_age(os_now_ms()); // the peak sinks
    return size_max(in_use, size_min(get(&recent_peak), BUDGET_GENEROUS_BYTES));
}

size_t budget_limit(budget_kind_t kind)
{
    size_t in_use = get(&used), base = size_max(BUDGET_FLOOR_BYTES, budget_waste());
    if (unlikely(is_generous()))
        base = size_max(base, generous_base(in_use));
    if ((get(&credit[BUDGET_WHOLE]) | get(&credit[BUDGET_INSIDE])) == 0)
        return base;
    uint64_t now_ms = os_now_ms();
    credit_age(now_ms);
    size_t trusted = trusted_most(now_ms), more = size_min(get(&credit[kind]), credit_allowance(kind));
    if (trusted > in_use)
        more = size_max(more, kind == BUDGET_INSIDE ? in_use : size_min(size_max(seconds_peak(), in_use), trusted) - in_use);
    return base + more;
}

bool budget_fits(size_t bytes)
{
    return bytes <= BUDGET_FLOOR_BYTES || bytes <= budget_limit(BUDGET_WHOLE);
}

size_t budget_excess(void)
{
    size_t kept = budget_kept();
    if (kept <= BUDGET_FLOOR_BYTES)
        return 0; // without a look at the clock
    size_t limit = budget_limit(BUDGET_WHOLE);
    return kept > limit ? kept - limit : 0;
}

static size_t height(void)
{
    return get(&used) + get(&retained);
}

bool budget_has_risen(void)
{
    return height() > get(&risen_at);
}

size_t budget_stale(void)
{
    size_t now = height(), kept = budget_kept(), least = size_min(kept, get(&kept_least)), allowed = budget_waste();
    size_t risen = get(&risen_at), next = now + size_max(rise_least_bytes, now >> rise_shift);
    // Another thread has asked just now: since then nobody has wanted anything that is kept, which says nothing.
    if (now <= risen || !atomic_compare_exchange_strong_explicit(&risen_at, &risen, next, memory_order_relaxed,
                                                                 memory_order_relaxed))
        return 0;
    atomic_store_explicit(&kept_least, get(&retained), memory_order_relaxed);
    if (is_generous() || least <= allowed)
        return 0;
    if (get(&credit[BUDGET_WHOLE]) != 0)
        credit_age(os_now_ms());
    return get(&credit[BUDGET_WHOLE]) != 0 ? 0 : least - allowed;
}
