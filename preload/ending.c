// preload/ending.c - see ending.h.
//
//   exit:  thread_local destructors | exit handlers | libraries' destructors | handlers from before main | stdio
//          exit_begins ^                                             exit_ends ^
//
// A handler that was registered before the program's entry, and for no library (on_exit), runs behind all destructors.
#include "ending.h"

#include <stdlib.h>
#include <unistd.h>

#include "exit_report.h"
#include "export.h"
#include "glibc.h"
#include "kernel.h"
#include "output.h"

static RARE void exit_begins(void *unused)
{
    (void)unused;
    if (exit_report_wanted())
        output_keep();
}

static RARE void exit_ends(int status, void *unused)
{
    (void)unused;
    exit_report_write(END_EXIT, status);
    output_end();
}

static RARE void quick_exit_ends(void *unused)
{
    (void)unused;
    exit_report_write(END_QUICK_EXIT, EXIT_SUCCESS);
}

// The C library ends the process when there is no memory for the registration. What is freed here it can have.
static bool can_register(void)
{
    const size_t registration_bytes = 5 * sizeof(void *); // function, object, library, next, and one more to be safe
    void *probe = malloc(registration_bytes);
    free(probe);
    return probe != NULL;
}

void ending_start(void)
{
    on_exit(exit_ends, NULL);
    __cxa_at_quick_exit(quick_exit_ends, &__dso_handle);
    if (__cxa_thread_atexit_impl && can_register())
        __cxa_thread_atexit_impl(exit_begins, NULL, &__dso_handle);
}

EXPORT void _exit(int status)
{
    exit_report_write(END_UNDERSCORE_EXIT, status);
    kernel_exit(status);
}

EXPORT void _Exit(int status) __attribute__((alias("_exit")));
