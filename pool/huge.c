// pool/huge.c - see huge.h.
#include "huge.h"

#include "budget.h"
#include "os_linux.h"

// Below this much heap there are none: a region too many would be 6 % of it (2 MiB / 32 MiB).
static const size_t heap_least_bytes = (size_t)32 << 20;
// On the way back to the recent peak nothing new is held by one, so half of that does: the peak sinks while the heap is
// empty. (bench/turns.c on a busy machine: with the whole of it every second turn went by 4 KiB.)
static const size_t return_least_bytes = (size_t)16 << 20;
// So much of what lies before must be resident. Each class has a page that it is just filling, half of it untouched: up to
// 1.5 MiB of the 64 KiB pages of small blocks. So it takes 16 MiB to see that only 12 % are.
static const unsigned dense_percent = 88;
static const size_t dense_bytes = (size_t)16 << 20;
// Of a large block so much is looked at, at least, under the lock of all of them: 0.1 ms. Of a longer one pieces of it, evenly spread: where
// it has an end that was never used, or a hole, they see it to 1/64 of the block.
#define SAMPLE_PIECES 64u
static const size_t sample_piece_bytes = (size_t)1 << 20;
// After a refusal the kernel is not asked for eight times as long as it took to say so, after the next one for twice that, and so
// on. To fill a region by touching its OS pages takes about eight times as long as to be refused (1 ms and 0.15), so one refusal in
// a thousand, which is what a collapse meets on a busy machine, costs one region; and where there are no huge pages, though the
// kernel may look for one for milliseconds, asking takes one part in 512.
static const unsigned refused_shift = 3;
static const unsigned refused_shift_more = 6;
// But no longer than a minute: a process that was stopped in the midst of the call was not refused for so long.
static const uint64_t refused_most_us = (uint64_t)60 * 1000 * 1000;

// [atomic] relaxed. Two threads that are refused at once count it twice.
typedef struct refusal {
    _Atomic unsigned times; // in a row
    _Atomic uint64_t until_us;
} refusal_t;

static huge_mode_t mode;
// Each for itself: a kernel before 6.1, which collapses nothing, gives huge pages to who touches.
static refusal_t no_backing, no_collapse;
static _Atomic bool given; // the kernel has given one that was asked for by a touch

void huge_start(huge_mode_t chosen)
{
    mode = os_page_bytes() << (HUGE_SHIFT - 12) == HUGE_BYTES ? chosen : HUGE_OFF;
}

// A heap that grows again to what it was a moment ago: nothing new is held by that.
static bool is_return(void)
{
    return budget_used() + HUGE_BYTES <= budget_recent_peak();
}

static bool is_dense(const char *before, size_t bytes, bool carved)
{
    bool again = is_return();
    if (again && carved)
        return true;
    bytes = size_min(bytes, again ? HUGE_BYTES : dense_bytes);
    return bytes != 0 && os_resident_percent(before - bytes, bytes) >= dense_percent;
}

static APART bool has_room(bool known)
{
    return budget_recent_peak() >= (is_return() ? return_least_bytes : heap_least_bytes) &&
           budget_may_fill(HUGE_BYTES, known && is_return());
}

static bool is_in_proportion(const char *before, size_t bytes, bool carved, bool known)
{
    if (mode == HUGE_ON)
        return budget_may_fill_freely(HUGE_BYTES);
    return has_room(known) && is_dense(before, bytes, carved);
}

static bool may_ask(refusal_t *refusal)
{
    uint64_t until_us = atomic_load_explicit(&refusal->until_us, memory_order_relaxed);
    return until_us == 0 || os_now_us() >= until_us;
}

bool huge_is_on(void)
{
    return mode == HUGE_ON && !budget_is_limited();
}

bool huge_keeps_inside(void)
{
    return huge_is_on() && atomic_load_explicit(&given, memory_order_relaxed);
}

bool huge_may_be_wanted(void)
{
    return mode == HUGE_ON || (mode == HUGE_AUTO && budget_recent_peak() >= return_least_bytes);
}

bool huge_wanted(const char *before, size_t bytes, bool carved, bool known)
{
    return mode != HUGE_OFF && !budget_is_limited() && is_in_proportion(before, bytes, carved, known) && may_ask(&no_backing);
}

bool huge_is_return(void)
{
    return mode == HUGE_AUTO && is_return() && has_room(true) && !budget_is_limited();
}

bool huge_may_collapse(void)
{
    bool wanted = mode == HUGE_ON ? huge_is_on() && budget_may_fill_freely(HUGE_BYTES) : huge_is_return();
    return wanted && may_ask(&no_collapse);
}

static void refused(refusal_t *refusal, uint64_t since_us)
{
    unsigned before = atomic_fetch_add_explicit(&refusal->times, 1, memory_order_relaxed);
    unsigned shift = refused_shift + (before < refused_shift_more ? before : refused_shift_more);
    uint64_t now_us = os_now_us(), wait_us = (now_us - since_us) << shift;
    atomic_store_explicit(&refusal->until_us, now_us + (wait_us < refused_most_us ? wait_us : refused_most_us),
                          memory_order_relaxed);
}

// since_us: when it was asked.
static bool answered(refusal_t *refusal, bool done, uint64_t since_us)
{
    if (!done)
        refused(refusal, since_us);
    else if (atomic_load_explicit(&refusal->times, memory_order_relaxed) != 0)
        atomic_store_explicit(&refusal->times, 0, memory_order_relaxed);
    return done;
}

static void was_given(void)
{
    if (likely(atomic_load_explicit(&given, memory_order_relaxed)))
        return;
    atomic_store_explicit(&given, true, memory_order_relaxed);
    if (mode == HUGE_ON)
        budget_be_generous();
}

static bool is_given(void)
{
    if (!atomic_load_explicit(&given, memory_order_relaxed) && os_gives_huge_pages(HUGE_BYTES))
        was_given();
    return atomic_load_explicit(&given, memory_order_relaxed);
}

bool huge_back(char *start, bool again)
{
    uint64_t since_us = os_now_us();
    bool done = os_huge_page(start, HUGE_BYTES, again);
    if (done)
        was_given();
    return answered(&no_backing, done, since_us);
}

bool huge_collapse(char *start)
{
    uint64_t since_us = os_now_us();
    if (!is_given())
        return answered(&no_collapse, false, since_us);
    return answered(&no_collapse, os_huge_page_collapse(start, HUGE_BYTES), since_us);
}

// Whether an eighth of a power of two lies between two sizes, or at the longer one.
static bool is_step(size_t before, size_t bytes)
{
    unsigned shift = bits_highest(before) - 3;
    return before >> shift < bytes >> shift;
}

static RARE bool is_full(const char *start, size_t bytes)
{
    if (bytes <= SAMPLE_PIECES * sample_piece_bytes)
        return os_resident_percent(start, bytes) >= dense_percent;
    size_t apart = align_down((bytes - sample_piece_bytes) / (SAMPLE_PIECES - 1), os_page_bytes());
    unsigned percents = 0;
    for (unsigned i = 0; i < SAMPLE_PIECES; i++)
        percents += os_resident_percent(start + i * apart, sample_piece_bytes);
    return percents >= SAMPLE_PIECES * dense_percent;
}

bool huge_suits_growth(const char *start, size_t before, size_t bytes)
{
    return mode == HUGE_AUTO && bytes >= heap_least_bytes && before >= dense_bytes && is_step(before, bytes) &&
           !budget_is_limited() && is_full(start, before);
}

bool huge_suits_large(void)
{
    if (!huge_is_on())
        return false;
    if (likely(atomic_load_explicit(&given, memory_order_relaxed)))
        return true;
    uint64_t since_us = os_now_us();
    return may_ask(&no_backing) && answered(&no_backing, is_given(), since_us);
}

void huge_split(char *start)
{
    os_no_huge_pages(start, HUGE_BYTES);
}

// --- the books -------------------------------------------------------------------------------------------------------

// What is free in a region that is partly used is excused. Taken out before a change, put in afterwards.
static void excuse(const huge_table_t *table, uint32_t region, void (*change)(budget_excuse_t, size_t))
{
    if (huge_state(table, region) == HUGE_RESIDENT && !huge_is_idle(table, region))
        change(table->filling == region + 1 ? BUDGET_FILLING : BUDGET_PARTLY, table->region[region].free_bytes);
}

static void state_set(huge_table_t *table, uint32_t region, huge_state_t state)
{
    uint32_t backed = table->backed + (state != HUGE_PLAIN) - (uint32_t)(huge_state(table, region) != HUGE_PLAIN);
    __atomic_store_n(&table->backed, backed, __ATOMIC_RELAXED);
    atomic_store_explicit(&table->region[region].state, (uint8_t)state, memory_order_relaxed);
}

void huge_note_backed(huge_table_t *table, uint32_t region)
{
    uint32_t before = table->filling;
    if (before != 0)
        excuse(table, before - 1, budget_unexcuse);
    table->filling = region + 1;
    budget_fill_begins();
    if (before != 0)
        excuse(table, before - 1, budget_excuse);
    state_set(table, region, HUGE_RESIDENT);
}

static void change(huge_table_t *table, uint32_t region, int pages, size_t bytes)
{
    if (huge_state(table, region) != HUGE_RESIDENT)
        return;
    excuse(table, region, budget_unexcuse);
    table->region[region].free_pages = (uint16_t)(table->region[region].free_pages + pages);
    table->region[region].free_bytes += (uint32_t)bytes;
    excuse(table, region, budget_excuse);
}

void huge_note_free(huge_table_t *table, uint32_t region, size_t bytes)
{
    change(table, region, 1, bytes);
}

void huge_note_taken(huge_table_t *table, uint32_t region, size_t bytes)
{
    change(table, region, -1, -bytes);
    if (table->filling == region + 1 && table->region[region].free_pages == 0)
        table->filling = 0; // it is full: what comes free in it from now on is not ahead of its use
}

static void leave(huge_table_t *table, uint32_t region, huge_state_t state)
{
    excuse(table, region, budget_unexcuse);
    if (table->filling == region + 1)
        table->filling = 0;
    state_set(table, region, state);
    table->region[region].free_pages = 0;
    table->region[region].free_bytes = 0;
}

void huge_note_empty(huge_table_t *table, uint32_t region)
{
    leave(table, region, HUGE_EMPTY);
}

void huge_note_plain(huge_table_t *table, uint32_t region)
{
    leave(table, region, HUGE_PLAIN);
}
