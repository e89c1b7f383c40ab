// measure.c - runs a program and reports from outside what it used: time, CPU, peak resident memory, page faults.
//
//   measure [-n COUNT] [-p LIBRARY] [-r FD] PROGRAM [ARGUMENT...]
//
// Why not the runner itself: a child's ru_maxrss starts at the size of the process that forked it, so one started from
// Python never seems smaller than Python. This program is linked statically, allocates nothing, and is below any
// dynamic one. The library goes into LD_PRELOAD of the program alone: nothing of it is ever loaded here.
//
// With -n the program runs COUNT times in sequence; times and faults are then per run, the peak is the highest. One
// line of `key=value` goes to file descriptor FD (default 2). The exit status is the program's (128 + n for a signal),
// 127 if it could not be started.

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 512,
    STATUS_SIGNAL = 128, // + the signal's number, as shells say it
    STATUS_NO_START = 127,
    STATUS_USAGE = 2,
};

typedef struct request {
    const char *library; // NULL: the program's own malloc
    long count;
    int report_fd;
    char **command; // NULL-terminated
} request_t;

typedef struct usage {
    uint64_t wall_ns;
    uint64_t user_us;
    uint64_t system_us;
    uint64_t peak_kib;
    uint64_t minor_faults;
    uint64_t major_faults;
    int status;
} usage_t;

static _Noreturn void usage_show(void)
{
    static const char text[] = "usage: measure [-n COUNT] [-p LIBRARY] [-r FD] PROGRAM [ARGUMENT...]\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        _exit(STATUS_NO_START);
    }
    _exit(STATUS_USAGE);
}

static request_t request_read(int argc, char **argv)
{
    request_t request = {.count = 1, .report_fd = STDERR_FILENO};
    int option;
    while ((option = getopt(argc, argv, "+n:p:r:")) != -1) { // '+': the program's own options are not ours
        switch (option) {
        case 'n':
            request.count = atol(optarg);
            break;
        case 'p':
            request.library = optarg;
            break;
        case 'r':
            request.report_fd = atoi(optarg);
            break;
        default:
            usage_show();
        }
    }
    request.command = &argv[optind];
    if (request.command[0] == NULL || request.count < 1) {
        usage_show();
    }
    return request;
}

static uint64_t time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000ULL + (uint64_t)time.tv_usec;
}

static volatile sig_atomic_t running_child = 0;

// Told to stop, it ends the program and still waits for it: nothing runs on, and nothing is left unreaped.
static void child_stop(int signal)
{
    (void)signal;
    if (running_child > 0) {
        kill(running_child, SIGKILL);
    }
}

static void signals_catch(void)
{
    struct sigaction action = {.sa_handler = child_stop}; // no SA_RESTART needed: wait4 is tried again
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

// In the child. Should this process be killed outright, the program must not outlive it: hence the death signal.
static _Noreturn void program_start(const request_t *request)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (request->report_fd != STDERR_FILENO) {
        close(request->report_fd);
    }
    if (request->library != NULL) {
        setenv("LD_PRELOAD", request->library, 1);
    }
    execvp(request->command[0], request->command);
    perror(request->command[0]);
    _exit(STATUS_NO_START);
}

static int status_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? STATUS_SIGNAL + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void program_measure(const request_t *request, usage_t *usage)
{
    uint64_t start = time_ns();
    pid_t child = fork();
    if (child == 0) {
        program_start(request);
    }
    running_child = child;
    struct rusage used;
    int status = 0;
    pid_t ended = -1;
    while (child > 0 && (ended = wait4(child, &status, 0, &used)) < 0 && errno == EINTR) {
    }
    if (ended < 0) {
        perror("measure");
        _exit(STATUS_NO_START);
    }
    usage->wall_ns += time_ns() - start;
    usage->user_us += microseconds(used.ru_utime);
    usage->system_us += microseconds(used.ru_stime);
    usage->minor_faults += (uint64_t)used.ru_minflt;
    usage->major_faults += (uint64_t)used.ru_majflt;
    usage->peak_kib = (uint64_t)used.ru_maxrss > usage->peak_kib ? (uint64_t)used.ru_maxrss : usage->peak_kib;
    usage->status = status_of(status);
}

static void usage_report(const request_t *request, const usage_t *usage)
{
    char line[LINE_BYTES];
    uint64_t count = (uint64_t)request->count;
    int length = snprintf(
        line, sizeof line,
        "wall_ns=%llu user_ns=%llu system_ns=%llu peak_kib=%llu minor_faults=%llu major_faults=%llu status=%d\n",
        (unsigned long long)(usage->wall_ns / count), (unsigned long long)(usage->user_us * 1000 / count),
        (unsigned long long)(usage->system_us * 1000 / count), (unsigned long long)usage->peak_kib,
        (unsigned long long)(usage->minor_faults / count), (unsigned long long)(usage->major_faults / count),
        usage->status);
    if (write(request->report_fd, line, (size_t)length) != length) {
        _exit(STATUS_NO_START);
    }
}

int main(int argc, char **argv)
{
    request_t request = request_read(argc, argv);
    signals_catch();
    usage_t usage = {0};
    for (long run = 0; run < request.count && usage.status == 0; run++) {
        program_measure(&request, &usage);
    }
    usage_report(&request, &usage);
    return usage.status;
}
