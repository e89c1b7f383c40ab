// preload/watchdog.c - see watchdog.h. The kernel's timers directly: the C library's allocate.
#include "watchdog.h"

#include <signal.h>
#include <time.h>

#include "fatal.h"
#include "kernel.h"

// A survey of 100 GiB in pages of 4 KiB takes about a second.
#define LIMIT_SECONDS 5

static int timer = -1;
static void (*on_expiry)(void);

static RARE void watchdog_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    if (timer >= 0 && info->si_code == SI_TIMER && info->si_value.sival_ptr == &timer)
        on_expiry();
}

static void signal_take(void)
{
    struct sigaction action = {.sa_sigaction = watchdog_handler, .sa_flags = SA_SIGINFO};
    sigset_t set = kernel_signals_none();
    kernel_signals_add(&set, SIGVTALRM);
    fatal_action_set(SIGVTALRM, &action);
    kernel_signal_mask(SIG_UNBLOCK, &set, NULL);
}

void watchdog_start(void (*expired)(void))
{
    struct itimerspec limit = {.it_value.tv_sec = LIMIT_SECONDS};
    if (!kernel_timer_create(CLOCK_THREAD_CPUTIME_ID, SIGVTALRM, &timer, &timer)) {
        timer = -1;
        return;
    }
    on_expiry = expired;
    signal_take();
    kernel_timer_start(timer, &limit);
}

void watchdog_stop(void)
{
    if (timer >= 0)
        kernel_timer_delete(timer);
    timer = -1;
}
