// tests/structure/at_exit.c [NAME=VALUE]... COMMAND [ARGUMENT]... - shows the memory maps that a command has when it ends: behind all
// that it does itself, and before the kernel takes its memory. The command has these variables, and PATH; its output is thrown away.
// Status 77 where nothing can be traced.
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };

static void run(char **arguments)
{
    clearenv();
    setenv("PATH", "/usr/bin:/bin", true);
    while (*arguments != NULL && strchr(*arguments, '=') != NULL)
        putenv(*arguments++);
    int nowhere = open("/dev/null", O_RDWR);
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0 || nowhere < 0 || *arguments == NULL)
        _exit(SKIPPED);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        dup2(nowhere, fd);
    raise(SIGSTOP);
    execvp(*arguments, arguments);
    _exit(EXIT_FAILURE);
}

static bool show_maps(pid_t child)
{
    char name[64], text[1 << 16];
    ssize_t bytes;
    snprintf(name, sizeof name, "/proc/%d/smaps", (int)child);
    int maps = open(name, O_RDONLY);
    while ((bytes = read(maps, text, sizeof text)) > 0)
        if (write(STDOUT_FILENO, text, (size_t)bytes) != bytes)
            return false;
    close(maps);
    return bytes == 0;
}

int main(int count, char **arguments)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        run(arguments + (count > 0));
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        return SKIPPED;
    if (ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC) != 0)
        return SKIPPED;
    for (int signal = 0;;) {
        if (ptrace(PTRACE_CONT, child, 0, signal) != 0 || waitpid(child, &status, 0) != child)
            return EXIT_FAILURE;
        if (!WIFSTOPPED(status))
            return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
        signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8) && !show_maps(child))
            return EXIT_FAILURE;
    }
}
