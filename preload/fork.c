// preload/fork.c - see fork.h.
#include "fork.h"

#include <dlfcn.h>
#include <stdatomic.h>

#include "../pool/pool.h"
#include "../pool/trap.h"
#include "cancel.h"
#include "exit_report.h"
#include "glibc.h"
#include "kernel.h"
#include "options.h"
#include "output.h"
#include "process.h"
#include "recorder.h"
#include "stats_api.h"

static _Atomic bool registered; // [atomic]

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

static RARE void child_begins(void)
{
    process_forked();
    exit_report_forked();
    if (recorder_is_wanted())
        recorder_forked();
    output_end();
    stats_api_forked();
    cancel_forked();
}

static void fork_in_child(void)
{
    pool_fork_child();
    child_begins();
    cancel_release();
}

// Another C library's may allocate.
static RARE void register_elsewhere(void)
{
    int (*atfork)(void (*)(void), void (*)(void), void (*)(void)) = NULL;
    *(void **)&atfork = dlsym(RTLD_DEFAULT, "pthread_atfork");
    if (atfork != NULL)
        atfork(fork_prepare, fork_in_parent, fork_in_child);
}

// Another process than the one that started. A child of vfork has not memory of its own.
static RARE void other_begins(void)
{
    if (kernel_memory_differs(kernel_getpid(), kernel_getppid()))
        child_begins();
}

// process.pid is 0 before the constructor.
void fork_catch_up(void)
{
    if (!atomic_load_explicit(&registered, memory_order_relaxed) && process.pid != 0 && !process_is_this())
        other_begins();
}

// The GNU C library's pthread_atfork is linked into each library that calls it; others have a function of that name, and the
// constructor registers with that.
void fork_start(void)
{
    if (!glibc_is_here() || atomic_load_explicit(&registered, memory_order_relaxed))
        return;
    fork_catch_up();
    bool done = __register_atfork(fork_prepare, fork_in_parent, fork_in_child, &__dso_handle) == 0;
    atomic_store_explicit(&registered, done, memory_order_relaxed);
}

// Whether a child has something to do or to say although it does not allocate, or another thread might fork just when the pool
// starts. (A second thread's descriptor is allocated, by the first.)
static bool cannot_wait(void)
{
    bool is_alone = &__libc_single_threaded != NULL && __libc_single_threaded;
    return !is_alone || options.stats_file != NULL || options.limit_bytes != 0 || recorder_is_wanted() ||
           options.harden >= HARDEN_TRAPS || atomic_load_explicit(&pool_started, memory_order_relaxed);
}

void fork_start_early(void)
{
    if (!glibc_is_here())
        register_elsewhere();
    else if (cannot_wait())
        fork_start();
}
