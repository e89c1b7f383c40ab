// preload/fork.c - see fork.h.
#include "fork.h"

#include <pthread.h>

#include "../pool/pool.h"
#include "exit_report.h"
#include "output.h"
#include "process.h"
#include "stats_api.h"

static void fork_in_child(void)
{
    pool_fork_child();
    process_forked();
    exit_report_forked();
    output_end();
    stats_api_forked();
}

void fork_start(void)
{
    pthread_atfork(pool_fork_prepare, pool_fork_parent, fork_in_child);
}
