// preload/boot.c - how libtarn.so starts, in two steps.
//
//   first allocation   any time from relocation on: before the C library's constructors, too. Nothing is allocated.
//   constructor        before main; the C library works
#include "../pool/budget.h"
#include "../pool/pool.h"
#include "cancel.h"
#include "ending.h"
#include "exit_report.h"
#include "fatal.h"
#include "foreign.h"
#include "fork.h"
#include "glibc.h"
#include "options.h"
#include "output.h"
#include "process.h"
#include "recorder.h"
#include "sandbox.h"
#include "thread.h"
#include "trapped.h"

// The compiler's start files would define it: preload/meson.build.
void *__dso_handle = &__dso_handle;

void pool_hook_boot(pool_options_t *pool_options)
{
    foreign_start();
    options_read(pool_options->waste_percent);
    pool_options->waste_percent = options.waste_percent;
    pool_options->huge = options.huge;
    pool_options->requested_exact = options.requested_exact;
    pool_options->harden = options.harden;
    pool_options->trap_every = options.traps;
    pool_options->limit_bytes = options.limit_bytes;
    pool_options->sample_bytes = recorder_is_wanted() && options.profile ? options.sample_bytes : 0;
    thread_start();
    fork_start();
}

__attribute__((constructor)) static void boot(void)
{
    // The pool itself waits for the first allocation: some programs make none.
    options_read(BUDGET_WASTE_PERCENT);
    if (!glibc_is_here()) {
        options.stats = STATS_OFF;
        options.record = NULL;
    }
    foreign_start();
    cancel_start();
    sandbox_start();
    fork_start_early();
    output_start();
    process_start();
    if (options.faulty && output_exists() && process_is_topmost())
        options_complain();
    if (recorder_is_wanted())
        recorder_start();
    if (exit_report_wanted())
        ending_start();
    if (exit_report_wanted() || trapped_signal(SIGSEGV))
        fatal_start();
    if (!exit_report_wanted())
        return;
    if (recorder_is_wanted())
        recorder_signal_start();
}
