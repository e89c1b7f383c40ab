// preload/ending.c - see ending.h.
//
//   exit:  thread_local destructors | exit handlers | libraries' destructors | handlers from before main | stdio
//          exit_begins ^                                             exit_ends ^
//
// A handler that was registered before the program's entry, and for no library (on_exit), runs behind all destructors.
#include "ending.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "../pool/pool.h"
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

// --- the registrations -----------------------------------------------------------------------------------------------

// For the destructor of a thread_local object the C library asks calloc for a note (function, object, library, next), and
// ends the process if there is none. It gets this one: so a program that allocates nothing need not start the pool.
#define NOTE_BYTES (5 * sizeof(void *))
static _Alignas(max_align_t) char note[NOTE_BYTES];
uintptr_t ending_registers;

void *ending_note(size_t bytes)
{
    if (ending_registers != (uintptr_t)__builtin_thread_pointer() || bytes > NOTE_BYTES)
        return NULL;
    ending_registers = 0;
    return note;
}

bool ending_has(const void *block)
{
    return block == note;
}

bool pool_hook_known(const void *address)
{
    return ending_has(address);
}

void ending_start(void)
{
    on_exit(exit_ends, NULL);
    __cxa_at_quick_exit(quick_exit_ends, &__dso_handle);
    if (!__cxa_thread_atexit_impl)
        return;
    ending_registers = (uintptr_t)__builtin_thread_pointer();
    __cxa_thread_atexit_impl(exit_begins, NULL, &__dso_handle);
    ending_registers = 0;
}

EXPORT void _exit(int status)
{
    exit_report_write(END_UNDERSCORE_EXIT, status);
    kernel_exit(status);
}

EXPORT void _Exit(int status) __attribute__((alias("_exit")));
