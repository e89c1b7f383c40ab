// preload/fork.c - see fork.h.
#include "fork.h"

#include <dlfcn.h>

#include "../pool/pool.h"
#include "cancel.h"
#include "exit_report.h"
#include "glibc.h"
#include "output.h"
#include "process.h"
#include "recorder.h"
#include "stats_api.h"

static void fork_prepare(void)
{
    cancel_hold();
    pool_fork_prepare();
}

static void fork_in_parent(void)
{
    pool_fork_parent();
    cancel_release();
}

static void fork_in_child(void)
{
    pool_fork_child();
    process_forked();
    exit_report_forked();
    if (recorder_is_wanted())
        recorder_forked();
    output_end();
    stats_api_forked();
    cancel_forked();
    cancel_release();
}

// The GNU C library's pthread_atfork is linked into each library that calls it; others have a function of that name.
void fork_start(void)
{
    int (*atfork)(void (*)(void), void (*)(void), void (*)(void)) = NULL;
    if (glibc_is_here()) {
        __register_atfork(fork_prepare, fork_in_parent, fork_in_child, &__dso_handle);
        return;
    }
    *(void **)&atfork = dlsym(RTLD_DEFAULT, "pthread_atfork");
    if (atfork != NULL)
        atfork(fork_prepare, fork_in_parent, fork_in_child);
}
