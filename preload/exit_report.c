// preload/exit_report.c - see exit_report.h.
//
//   free (0)  --claim-->  the writing thread's id  --done-->  written (-1), or free again after a request
#include "exit_report.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "../pool/bits.h"
#include "fatal.h"
#include "kernel.h"
#include "glibc.h"
#include "options.h"
#include "output.h"
#include "path.h"
#include "process.h"
#include "recorder.h"
#include "report.h"
#include "stats_file.h"
#include "watchdog.h"

#define OWNER_NONE 0
#define OWNER_WRITTEN (-1)

// Another thread's report takes milliseconds, unless it writes into a pipe that nobody reads.
#define PATIENCE_MS 1000

static _Atomic int owner; // [atomic] claim: acquire, done: release

// [owner] Not resident until the report, and then as few OS pages as can be: figures and text stand next to each other.
static REPORT_DATA("text") struct {
    sheet_t sheet;
    sigjmp_buf behind; // where to go on when the report cannot be composed
    char text[REPORT_BYTES];
} memory;
static volatile sig_atomic_t composing; // [owner] whether `behind` is set

// A report at the end, as against a snapshot for the recording.
static bool text_wanted(void)
{
    return options.stats != STATS_OFF && process_is_this() &&
           (options.stats_file != NULL || (output_exists() && process_is_topmost()));
}

static bool is_recorded(void)
{
    return recorder_is_wanted() && recorder_is_on();
}

bool exit_report_wanted(void)
{
    return text_wanted() || is_recorded();
}

static bool claim(void)
{
    int self = kernel_gettid();
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms++) {
        int now = OWNER_NONE;
        if (atomic_compare_exchange_strong_explicit(&owner, &now, self, memory_order_acquire, memory_order_relaxed))
            return true;
        if (now == OWNER_WRITTEN || now == self)
            return false;
        kernel_sleep_ms(1);
    }
    return false;
}

static void done(int next_owner)
{
    atomic_store_explicit(&owner, next_owner, memory_order_release);
}

_Static_assert(REPORT_BYTES >= sizeof(procfs_buffer_t), "the text's room serves for reading, before");

static void compose(writer_t *writer, sheet_end_t ended_by, int value)
{
    report_subject_t subject = {.program = process.name, .pid = process.pid};
    const survey_visitor_t *visitor = recorder_is_wanted() ? recorder_sheet_begin() : NULL;
    bool told = options.stats != STATS_OFF && (ended_by == END_REQUEST || text_wanted());
    if (!told && visitor == NULL)
        return;
    sheet_t *sheet = told ? &memory.sheet : recorder_sheet();
    sheet_take(sheet, ended_by, value, told, visitor, (procfs_buffer_t *)memory.text); // no text is in it yet
    if (visitor != NULL)
        recorder_sheet_end(sheet);
    if (!told)
        return;
    if (options.stats == STATS_JSON)
        report_json(writer, &memory.sheet, &subject);
    else
        report_text(writer, &memory.sheet, &subject);
}

// False, where the heap could not be read: a fault came, or it took too long. (The signal mask is the caller's to restore.)
static bool compose_watched(writer_t *writer, sheet_end_t ended_by, int value)
{
    if (sigsetjmp(memory.behind, 0) != 0) {
        survey_abandon();
        watchdog_stop();
        return false;
    }
    composing = true;
    if (ended_by != END_REQUEST)
        watchdog_start(exit_report_abandon);
    compose(writer, ended_by, value);
    composing = false;
    watchdog_stop();
    return true;
}

// Standard error may be a pipe that nobody reads: there a signal has to be able to end the process.
static int deliver(const writer_t *report, const sigset_t *mask)
{
    if (report->length == 0)
        return 0;
    if (options.stats_file != NULL)
        return stats_file_write(options.stats_file, report->buffer, report->length);
    kernel_signal_mask(SIG_SETMASK, mask, NULL);
    output_stderr(report->buffer, report->length);
    return 0;
}

// The caller has claimed it. 0, or what went wrong: EFAULT for the heap. Signals wait meanwhile, but for faults.
static int write_report(sheet_end_t ended_by, int value)
{
    writer_t writer = WRITER(memory.text);
    sigset_t held, before;
    fatal_waiting_signals(&held);
    kernel_signal_mask(SIG_BLOCK, &held, &before);
    int error = compose_watched(&writer, ended_by, value) ? deliver(&writer, &before) : EFAULT;
    kernel_signal_mask(SIG_SETMASK, &before, NULL);
    return error;
}

static void complain(int error)
{
    if (error == EFAULT)
        output_line("no report: the heap is damaged");
    else
        output_line("cannot write stats_file \"%s\": %s", options.stats_file, strerrordesc_np(error));
}

static APART void write_last(sheet_end_t ended_by, int value)
{
    int saved_errno = errno;
    if (claim()) {
        int error = write_report(ended_by, value);
        if (recorder_is_wanted())
            recorder_end(ended_by, value);
        if (error != 0 && process_is_topmost())
            complain(error);
        done(OWNER_WRITTEN);
    }
    errno = saved_errno;
}

// A child that shares the memory (vfork, clone) may end on a thread pointer that leads nowhere: errno is not to be touched.
void exit_report_write(sheet_end_t ended_by, int value)
{
    if (process_is_this() && exit_report_wanted())
        write_last(ended_by, value);
}

void exit_report_abandon(void)
{
    if (!composing || atomic_load_explicit(&owner, memory_order_relaxed) != kernel_gettid())
        return;
    composing = false;
    siglongjmp(memory.behind, 1);
}

int exit_report_now(void)
{
    if ((options.stats == STATS_OFF && !is_recorded()) || !process_is_this()) {
        errno = ENOTSUP;
        return -1;
    }
    if (!claim()) {
        errno = EBUSY;
        return -1;
    }
    int error = write_report(END_REQUEST, 0);
    done(OWNER_NONE);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

// --- the limit of the heap ------------------------------------------------------------------------------------------

static RARE void limit_lines(writer_t *writer, size_t size_bytes)
{
    writer_format(writer, "tarn: %s (pid %d): limit=%lu is reached: a request of %lu bytes is refused\n", process.name,
                  process.pid, (unsigned long)options.limit_bytes, (unsigned long)size_bytes);
    if (!recorder_is_on())
        return;
    writer_text(writer, "tarn: who holds it: tarn report ");
    path_expand(writer, options.record);
    writer_text(writer, "\n");
}

// As compose; with a profile the recording gets a snapshot of this moment, too.
static RARE void compose_limit(writer_t *writer, size_t size_bytes)
{
    report_subject_t subject = {.program = process.name, .pid = process.pid};
    const survey_visitor_t *visitor = recorder_sheet_begin();
    sheet_take(&memory.sheet, END_REQUEST, 0, true, visitor, (procfs_buffer_t *)memory.text);
    if (visitor != NULL)
        recorder_sheet_end(&memory.sheet);
    limit_lines(writer, size_bytes);
    report_text(writer, &memory.sheet, &subject);
}

void exit_report_at_limit(size_t size_bytes)
{
    static _Atomic bool told;
    writer_t writer = WRITER(memory.text);
    sigset_t held, before;
    if (atomic_load_explicit(&told, memory_order_relaxed) || !process_is_this() || !claim())
        return;
    fatal_waiting_signals(&held);
    kernel_signal_mask(SIG_BLOCK, &held, &before);
    if (!atomic_exchange_explicit(&told, true, memory_order_relaxed)) {
        compose_limit(&writer, size_bytes);
        output_stderr(writer.buffer, writer.length);
    }
    kernel_signal_mask(SIG_SETMASK, &before, NULL);
    done(OWNER_NONE);
}

void exit_report_forked(void)
{
    done(OWNER_NONE);
}
