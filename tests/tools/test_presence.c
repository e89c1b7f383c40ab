// tests/tools/test_presence.c - tools/presence.c, watching processes whose libraries are known.
#include <criterion/criterion.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "presence.h"

enum { LONG_NS = 1000 * 1000 * 1000 }; // a program has its libraries long before

static presence_t presence;

// A child that waits before it becomes `command`; NULL: it never does.
static pid_t child_start(const char *command)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0 && command != NULL)
        execl(command, command, "60", (char *)NULL);
    if (child == 0)
        pause();
    return child;
}

static void child_end(pid_t child)
{
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

static void watch(pid_t child)
{
    presence = (presence_t){.library = "/nowhere/libnone.so"};
    presence_observe(&presence, child, 1);
    presence_observe(&presence, child, LONG_NS);
}

// On a busy machine it takes its time.
Test(presence, a_child_that_has_not_become_the_command_yet_is_no_program)
{
    pid_t child = child_start(NULL);
    watch(child);
    child_end(child);
    cr_assert_null(presence_program_without(&presence));
    cr_assert_not(presence_is_nowhere(&presence));
}

Test(presence, a_program_without_the_library_is_named)
{
    pid_t child = child_start("/bin/sleep");
    char path[TREE_PATH_BYTES], own[TREE_PATH_BYTES];
    cr_assert(process_executable(getpid(), own));
    while (!process_executable(child, path) || strcmp(path, own) == 0)
        usleep(1000);
    watch(child);
    child_end(child);
    cr_assert_str_eq(presence_program_without(&presence), path);
    cr_assert(presence_is_nowhere(&presence));
}
