// preload/recorder.c - see recorder.h.
//
//   none  --start, or a fork's child with its first sample-->  on  --end-->  ended
//     ^                                                         |
//     +------------------------- fork, in the child ------------+
#include "recorder.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../pool/bits.h"
#include "../pool/sample.h"
#include "fatal.h"
#include "glibc.h"
#include "kernel.h"
#include "options.h"
#include "output.h"
#include "path.h"
#include "process.h"
#include "recorder_file.h"
#include "recorder_header.h"
#include "recorder_snapshot.h"

// A snapshot walks all of the heap. So they take at most 0.25 % of the processor time, and 0.125 ms: two or three small ones,
// and 0.3 % more of a program of 0.04 s.
#define SNAPSHOT_SHARE 400u // one in so many
#define SNAPSHOT_CREDIT_NS 125000u

#define SNAPSHOT_SHIFT 8 // a byte more costs 1/256 ns: 4 us a MiB

// A high that comes too fast for that waits, and is taken on credit when it begins to fall: then it was a peak, and
// nothing else would tell of it. What it costs the next ones have to wait for. One that is far above what was seen may
// cost 0.5 %; one that is a half above, which no program can repeat often, 2 % and 1 ms: a walk over fresh memory takes 2 % of
// what its page faults took, whatever its size, so a program that has done anything beside them can pay.
#define PEAK_SHARE 200u
#define PEAK_CREDIT_NS 125000u
#define PEAK_SHIFT 2 // a fourth above: less is not worth a debt
#define LEAP_SHARE 50u
#define LEAP_CREDIT_NS 1000000u
#define LEAP_SHIFT 1
#define PEAK_FALL_SHIFT 6 // by 1/64: far less than what makes a high

// A process that hardly runs earns little of that, however long it lives: a server's delete-heavy minute would leave a snapshot of its
// midst. So besides, one may cost this share of the time since the last one that the process did not run. It is no share of
// processor time, adds nothing to a program that computes, and does not add up: a burst after a long wait has one of it.
#define IDLE_SHARE 2000u // one in so many

#define HIGH_SHIFT 4       // a new high is one by 1/16 and more; DESIGN says 5 %
#define CHANGE_SHIFT 3     // so is a change by 1/8
#define TRIFLE_BYTES ((uint64_t)1 << 20) // what the budget lets lie idle, whatever the heap's size
#define NOISE_SAMPLES 8u
#define LONG_AGO_NS ((uint64_t)1000000000)

#define END_PATIENCE_MS 200

// Samples may take 0.1 % of the processor time by their own clock, which is 0.5 % in all: a sample costs a program that does
// little but allocate 3 to 5 times what its clock sees (decision 047). Such a program would pay up to 15 % for one each
// 512 KiB, and has many samples all the same. Eight times too dear, they become four times rarer at once: on a busy machine
// that takes some samples during which the thread did not run, not one or two. (By as much as they were too dear, 64 times
// at most: a program that was not run for a moment kept no sample of its culprit; tests/tools/test_fleet.py.)
#define PACE_BIRTHS 32u
#define PACE_SHARE 1000u
#define PACE_FAR 8u
#define WAIT_FAR 8u // while a high waits: a program that only allocates pays 1 % for samples that far apart
#define RATE_BYTES_MOST ((uint64_t)1 << 30)

static struct timespec start_time;
static _Atomic bool on;   // [atomic] all of its beginning is there, so any thread may write: release, acquire. Until its end
static _Atomic bool late; // [atomic] a child of a fork, whose recording begins with its first sample: by the thread that takes this
static bool failed;       // it could not be had: not tried again

static __thread bool inside __attribute__((tls_model("initial-exec")));
static _Atomic uintptr_t lock_owner; // thread pointer; 0: free. [atomic] acquire, release
static const bool *is_ours;          // false in a child of fork; NULL: this kernel cannot tell

// What the last snapshot saw, and the highest that any saw. Written by the thread that takes one.
static uint64_t glance_last, glance_high, live_last, live_high, snapshot_last_ns,
    snapshot_cpu_ns, peak_rss_bytes;
static uint32_t heaps_last;                 // threads that allocated, then; at least 1
static bool high_waits;                     // a high was too dear, and it has not fallen yet
static uint64_t glance_top, live_top;       // since then
static uint64_t cpu_last_ns, idle_paid_ns;  // processor time at the last snapshot; of those that idle time paid for
static _Atomic uint64_t cpu_known_ns, cpu_known_at_ns; // processor time of the process, and when that was. [atomic] relaxed
static volatile sig_atomic_t request_waits; // a signal asked for a snapshot in the midst of our work

// Every PACE_BIRTHS samples: how long they took, as against the processor time. [recorder_lock]
static uint64_t pace_births, pace_cpu_ns, pace_samples_ns;

static sheet_t sheet; // [the snapshots' lock]

// --- locks and sections ----------------------------------------------------------------------------------------------

static uintptr_t thread_self(void)
{
    return (uintptr_t)__builtin_thread_pointer();
}

// Whoever holds it does so for a microsecond. Who does not give it back in 100 ms was stopped, or left it by a jump out
// of a signal handler: then there is no profile any more, for each sample would wait so long.
static void lock_lost(void)
{
    recorder_header->flags |= RECORDING_BROKEN_OFF;
    sample_rate_set(0);
}

bool recorder_lock_take(void)
{
    const unsigned spins = 200, sleeps = 100;
    for (unsigned i = 0; i < spins + sleeps; i++) {
        uintptr_t nobody = 0;
        if (atomic_compare_exchange_weak_explicit(&lock_owner, &nobody, thread_self(), memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
        if (nobody == thread_self() || (recorder_header->flags & RECORDING_BROKEN_OFF) != 0)
            return false;
        if (i >= spins)
            kernel_sleep_ms(1);
    }
    lock_lost();
    return false;
}

void recorder_lock_give(void)
{
    atomic_store_explicit(&lock_owner, 0, memory_order_release);
}

// A page that the kernel clears in the child of any fork, so that one without our handlers is known, too. (A child of
// vfork has the memory of its parent, and so its heap and recording.)
static void family_start(void)
{
    static bool *page;
    size_t bytes = (size_t)getpagesize();
    if (page == NULL)
        page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        page = NULL;
    is_ours = page != NULL && madvise(page, bytes, MADV_WIPEONFORK) == 0 ? page : NULL;
    if (is_ours != NULL)
        *page = true;
}

bool recorder_is_on(void)
{
    return atomic_load_explicit(&on, memory_order_acquire) && (is_ours != NULL ? *is_ours : process_is_this());
}

bool recorder_enter(recorder_section_t *section)
{
    if (inside)
        return false;
    section->saved_errno = errno;
    inside = true;
    if (unlikely(!recorder_is_on()) && !recorder_begin_late()) {
        inside = false;
        errno = section->saved_errno; // of a file that could not be opened
        return false;
    }
    section->begun_ns = recorder_now_ns();
    return true;
}

void recorder_leave(const recorder_section_t *section)
{
    inside = false;
    errno = section->saved_errno;
}

// --- time ------------------------------------------------------------------------------------------------------------

uint64_t recorder_clock_ns(clockid_t clock)
{
    struct timespec now = {0};
    kernel_clock(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t recorder_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(now.tv_sec - start_time.tv_sec) * 1000000000u + (uint64_t)now.tv_nsec -
           (uint64_t)start_time.tv_nsec;
}

// --- begin -----------------------------------------------------------------------------------------------------------

static void state_reset(void)
{
    glance_last = glance_high = live_last = live_high = snapshot_last_ns = 0;
    snapshot_cpu_ns = peak_rss_bytes = cpu_last_ns = idle_paid_ns = 0;
    heaps_last = 1;
    atomic_store_explicit(&cpu_known_ns, recorder_clock_ns(CLOCK_PROCESS_CPUTIME_ID), memory_order_relaxed);
    atomic_store_explicit(&cpu_known_at_ns, 0, memory_order_relaxed);
    high_waits = false;
    clock_gettime(CLOCK_MONOTONIC, &start_time);
    pace_births = pace_cpu_ns = pace_samples_ns = 0;
    family_start();
    recorder_lock_give();
    recorder_snapshot_reset();
}

// False, with errno.
static bool begin(bool forked)
{
    if (!recorder_file_open())
        return false;
    state_reset();
    recorder_header_write(forked);
    return true;
}

static void complain(void)
{
    int error = errno;
    if (!process_is_topmost())
        return;
    if (error == EEXIST)
        output_line("no recording: \"%s\" exists already, and is not to be replaced", recorder_file_path());
    else
        output_line("no recording: cannot write \"%s\": %s", recorder_file_path(), strerrordesc_np(error));
}

static void signal_handler(int number)
{
    recorder_section_t section;
    (void)number;
    request_waits = true;
    if (!recorder_enter(&section))
        return;
    recorder_event(section.begun_ns);
    recorder_leave(&section);
}

void recorder_signal_start(void)
{
    struct sigaction action = {.sa_handler = signal_handler, .sa_flags = SA_RESTART};
    if (options.record_signal != 0 && recorder_is_on())
        fatal_action_set(options.record_signal, &action);
}

bool recorder_begin_late(void)
{
    if (!atomic_load_explicit(&late, memory_order_relaxed) || failed || !process_is_this() ||
        !atomic_exchange_explicit(&late, false, memory_order_relaxed))
        return false;
    failed = !begin(true);
    atomic_store_explicit(&on, !failed, memory_order_release);
    if (failed)
        sample_rate_set(0);
    return !failed;
}

// What it has of its parent's heap was not sampled here, and its recording says so (`forked`).
void recorder_forked(void)
{
    bool had = recorder_header != NULL || atomic_load_explicit(&late, memory_order_relaxed);
    bool has = had && options.follow && path_has_pid(options.record);
    atomic_store_explicit(&on, false, memory_order_relaxed);
    recorder_file_close();
    atomic_store_explicit(&late, has, memory_order_relaxed);
    inside = false;
    if (has && options.profile)
        sample_rate_set(options.sample_bytes);
}

// --- snapshots -------------------------------------------------------------------------------------------------------

static bool has_changed(uint64_t now, uint64_t before, unsigned shift, uint64_t trifle)
{
    uint64_t difference = now > before ? now - before : before - now;
    return difference > (before >> shift) + trifle;
}

static bool is_high(uint64_t now, uint64_t high, uint64_t trifle)
{
    return now > high && has_changed(now, high, HIGH_SHIFT, trifle);
}

// 0: it is not time for one.
static recording_reason_t reason_now(uint64_t now_ns, uint64_t glance, uint64_t live)
{
    if (request_waits)
        return RECORDING_AT_REQUEST;
    uint64_t noise = recorder_header->sample_bytes_now * NOISE_SAMPLES; // of the estimate
    if (is_high(glance, glance_high, TRIFLE_BYTES) || is_high(live, live_high, noise))
        return RECORDING_AT_HIGH;
    if (has_changed(glance, glance_last, CHANGE_SHIFT, TRIFLE_BYTES) ||
        has_changed(live, live_last, CHANGE_SHIFT, noise))
        return RECORDING_AT_CHANGE;
    return now_ns - snapshot_last_ns > LONG_AGO_NS ? RECORDING_AT_TIME : 0;
}

static uint64_t cpu_ask(uint64_t now_ns)
{
    uint64_t cpu_ns = recorder_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    atomic_store_explicit(&cpu_known_ns, cpu_ns, memory_order_relaxed);
    atomic_store_explicit(&cpu_known_at_ns, now_ns, memory_order_relaxed);
    return cpu_ns;
}

// Whether the process has had so much processor time. That is a system call, 0.7 us, and while a snapshot that is due waits
// for its share each birth and death of a sample would make it. But a thread has as much as passes at most: so the kernel is
// asked where the time may have come. (Of threads that have begun since the last snapshot nothing is known: what they had is
// seen later, and not lost.)
static bool cpu_has_reached(uint64_t cpu_ns, uint64_t now_ns)
{
    uint64_t known_ns = atomic_load_explicit(&cpu_known_ns, memory_order_relaxed);
    uint64_t known_at_ns = atomic_load_explicit(&cpu_known_at_ns, memory_order_relaxed);
    uint64_t passed_ns = now_ns > known_at_ns ? now_ns - known_at_ns : 0;
    if (known_ns >= cpu_ns || known_ns + passed_ns * heaps_last < cpu_ns)
        return known_ns >= cpu_ns;
    return cpu_ask(now_ns) >= cpu_ns;
}

// What one now would take: one like the last, of what the heap has become.
static uint64_t cost_now_ns(uint64_t glance)
{
    return snapshot_cpu_ns + (glance > glance_last ? (glance - glance_last) >> SNAPSHOT_SHIFT : 0);
}

// Whether one now would keep all of them, but those that idle time paid for, within a share of the processor time.
static bool is_affordable(uint64_t now_ns, uint64_t glance, unsigned share, uint64_t credit_ns)
{
    uint64_t needed_ns = recorder_header->snapshots_cpu_ns - idle_paid_ns + cost_now_ns(glance);
    return needed_ns <= credit_ns || cpu_has_reached((needed_ns - credit_ns) * share, now_ns);
}

// Whether the time since the last one in which the process did not run pays for one now. The kernel is asked only where it may:
// of a process that computes, once in the time that would pay for one.
static bool is_paid_by_idling(uint64_t now_ns, uint64_t glance)
{
    uint64_t passed_ns = now_ns > snapshot_last_ns ? now_ns - snapshot_last_ns : 0;
    uint64_t needed_ns = cost_now_ns(glance) * IDLE_SHARE;
    if (passed_ns < needed_ns || recorder_header->snapshot_number == 0)
        return false;
    uint64_t may_have_run_ns = cpu_last_ns + passed_ns - needed_ns;
    return atomic_load_explicit(&cpu_known_ns, memory_order_relaxed) <= may_have_run_ns &&
           cpu_ask(now_ns) <= may_have_run_ns;
}

static void rate_change(uint64_t rate_bytes)
{
    recorder_header->sample_bytes_now = rate_bytes;
    sample_rate_set(rate_bytes);
}

// That a high which waits begins to fall, deaths of samples tell. So they are no rarer then than the fall that counts.
static uint64_t rate_most(void)
{
    uint64_t fall_bytes = live_top >> PEAK_FALL_SHIFT, least_bytes = recorder_header->sample_bytes * WAIT_FAR;
    uint64_t most_bytes = fall_bytes > least_bytes ? fall_bytes : least_bytes;
    return high_waits && most_bytes < RATE_BYTES_MOST ? most_bytes : RATE_BYTES_MOST;
}

static bool is_rate_paced(void)
{
    return !options.sample_given && (recorder_header->flags & RECORDING_FULL_SAMPLES) == 0;
}

static void high_wait(uint64_t glance, uint64_t live)
{
    glance_top = high_waits && glance_top > glance ? glance_top : glance;
    live_top = high_waits && live_top > live ? live_top : live;
    high_waits = true;
    uint64_t most_bytes = rate_most();
    if (recorder_header->sample_bytes_now > most_bytes && is_rate_paced() && recorder_lock_take()) {
        rate_change(most_bytes);
        recorder_lock_give();
    }
}

static bool has_fallen(uint64_t now, uint64_t top, uint64_t noise)
{
    return now + (top >> PEAK_FALL_SHIFT) + noise < top;
}

// Whether what waits is that far above what was seen.
static bool is_far_above(unsigned shift)
{
    return glance_top > glance_high + (glance_high >> shift) || live_top > live_high + (live_high >> shift);
}

static bool is_peak_over(uint64_t glance, uint64_t live)
{
    return high_waits && is_far_above(PEAK_SHIFT) &&
           (has_fallen(glance, glance_top, 0) || has_fallen(live, live_top, recorder_header->sample_bytes_now));
}

static bool is_peak_affordable(uint64_t now_ns, uint64_t glance)
{
    return is_affordable(now_ns, glance, PEAK_SHARE, PEAK_CREDIT_NS) ||
           (is_far_above(LEAP_SHIFT) && is_affordable(now_ns, glance, LEAP_SHARE, LEAP_CREDIT_NS));
}

// The first one of a fork's child comes with its first samples, not at a start, and shows the parent's heap, too. It is the only
// one that a child which is killed soon has.
static bool is_next_affordable(uint64_t now_ns, uint64_t glance)
{
    return recorder_header->snapshot_number == 0 ? is_affordable(now_ns, glance, LEAP_SHARE, LEAP_CREDIT_NS) :
                                                   is_affordable(now_ns, glance, SNAPSHOT_SHARE, SNAPSHOT_CREDIT_NS);
}

// What is due, and may be taken now; 0: nothing.
static recording_reason_t reason_paid(uint64_t now_ns, uint64_t glance, uint64_t live, bool *by_idling)
{
    recording_reason_t reason = reason_now(now_ns, glance, live);
    if (reason == RECORDING_AT_REQUEST || (reason != 0 && is_next_affordable(now_ns, glance)))
        return reason;
    *by_idling = reason != 0 && is_paid_by_idling(now_ns, glance);
    if (*by_idling)
        return reason;
    if (is_peak_over(glance, live))
        return is_peak_affordable(now_ns, glance) ? RECORDING_AT_HIGH : 0;
    if (reason == RECORDING_AT_HIGH)
        high_wait(glance, live);
    return 0;
}

static void snapshot_noted(uint64_t now_ns, uint64_t glance, uint64_t live)
{
    glance_last = glance;
    live_last = live;
    glance_high = glance > glance_high ? glance : glance_high;
    live_high = live > live_high ? live : live_high;
    snapshot_last_ns = now_ns;
    heaps_last = sheet.survey.heaps > 1 ? sheet.survey.heaps : 1;
    request_waits = high_waits = false;
    cpu_last_ns = cpu_ask(now_ns);
}

// `by_idling`: it is not on the account of the processor time.
static void snapshot_take(recording_reason_t reason, uint64_t now_ns, uint64_t glance, uint64_t live, bool by_idling)
{
    sigset_t held, before;
    if (!recorder_snapshot_begin(reason, 0))
        return;
    fatal_waiting_signals(&held);
    kernel_signal_mask(SIG_BLOCK, &held, &before);
    uint64_t cpu_ns = recorder_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    sheet_glance(&sheet, peak_rss_bytes, recorder_snapshot_visitor());
    peak_rss_bytes = sheet.peak_rss_bytes;
    recorder_snapshot_finish(&sheet, recorder_now_ns());
    snapshot_noted(now_ns, glance, live);
    snapshot_cpu_ns = recorder_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
    recorder_header->snapshots_cpu_ns += snapshot_cpu_ns;
    idle_paid_ns += by_idling ? snapshot_cpu_ns : 0;
    kernel_signal_mask(SIG_SETMASK, &before, NULL);
}

void recorder_event(uint64_t now_ns)
{
    uint64_t glance = survey_glance(), live = recorder_header->live_weighted_bytes;
    bool by_idling = false;
    recording_reason_t reason = reason_paid(now_ns, glance, live, &by_idling);
    // An open may end a process whose system calls are filtered.
    if (reason != 0 && !kernel_is_filtered())
        snapshot_take(reason, now_ns, glance, live, by_idling);
}

// --- start -----------------------------------------------------------------------------------------------------------

// So that a recording has one, however soon its process is killed. False, with errno: the disk has no room for it.
static bool first_snapshot_take(void)
{
    inside = true;
    if (!kernel_is_filtered())
        snapshot_take(RECORDING_AT_START, recorder_now_ns(), survey_glance(), 0, false);
    inside = false;
    if (recorder_header->snapshot_number != 0 || (recorder_header->flags & RECORDING_FULL_DISK) == 0)
        return true;
    recorder_file_discard();
    errno = ENOSPC;
    return false;
}

void recorder_start(void)
{
    bool wanted = recorder_is_wanted() && (options.follow || process_is_topmost());
    if (wanted && begin(false) && first_snapshot_take()) {
        atomic_store_explicit(&on, true, memory_order_release);
        return;
    }
    failed = true;
    sample_rate_set(0);
    if (wanted)
        complain();
}

// --- pace ------------------------------------------------------------------------------------------------------------

// How often is a matter of what it costs, unless the user said how often.
void recorder_pace(void)
{
    recording_header_t *header = recorder_header;
    if (options.sample_given || ++pace_births < PACE_BIRTHS)
        return;
    uint64_t cpu_ns = recorder_clock_ns(CLOCK_PROCESS_CPUTIME_ID), rate_bytes = header->sample_bytes_now, most_bytes = rate_most();
    uint64_t allowed_ns = (cpu_ns - pace_cpu_ns) / PACE_SHARE, spent_ns = header->samples_ns - pace_samples_ns;
    pace_births = 0;
    pace_cpu_ns = cpu_ns;
    pace_samples_ns = header->samples_ns;
    if (spent_ns > allowed_ns && rate_bytes < most_bytes) {
        header->flags |= RECORDING_SPARSE;
        rate_bytes *= spent_ns > allowed_ns * PACE_FAR ? 4 : 2;
        rate_change(rate_bytes < most_bytes ? rate_bytes : most_bytes);
    } else if (spent_ns < allowed_ns / 4 && rate_bytes > header->sample_bytes && is_rate_paced()) {
        rate_change(rate_bytes / 2 > header->sample_bytes ? rate_bytes / 2 : header->sample_bytes);
    }
}

const survey_visitor_t *recorder_sheet_begin(void)
{
    if (!recorder_is_on() || !recorder_snapshot_begin(RECORDING_AT_END, END_PATIENCE_MS))
        return NULL;
    return recorder_snapshot_visitor();
}

sheet_t *recorder_sheet(void)
{
    return &sheet;
}

void recorder_sheet_end(const sheet_t *of_report)
{
    recorder_snapshot_finish(of_report, recorder_now_ns());
}

// --- end -------------------------------------------------------------------------------------------------------------

void recorder_end(sheet_end_t ended_by, int value)
{
    static const recording_end_t ends[] = {[END_EXIT] = RECORDING_EXIT,
                                           [END_UNDERSCORE_EXIT] = RECORDING_UNDERSCORE_EXIT,
                                           [END_QUICK_EXIT] = RECORDING_QUICK_EXIT,
                                           [END_SIGNAL] = RECORDING_SIGNAL};
    if (!recorder_is_on() || ended_by == END_REQUEST)
        return;
    sample_rate_set(0);
    recorder_header->end_ns = recorder_header->last_ns = recorder_now_ns();
    recorder_header->end_value = value;
    __atomic_store_n(&recorder_header->end, (uint32_t)ends[ended_by], __ATOMIC_RELEASE);
    atomic_store_explicit(&on, false, memory_order_relaxed);
}
