// tools/measure.c - one run of one command: start, sample until it ends, collect. See measure.h.
//
// Everything happens in one thread: signals are blocked and waited for with sigtimedwait, whose timeout is the time to
// the next sample. So there is no handler, and no race between a signal and a wait.
#include "measure.h"
#include "process_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "library.h"
#include "tool.h"

enum {
    NS_PER_US = 1000,
    NS_PER_MS = 1000 * NS_PER_US,
    NS_PER_S = 1000 * NS_PER_MS,
    INTERVAL_MIN_NS = NS_PER_MS,
    INTERVAL_MAX_NS = 20 * NS_PER_MS, // 50 a second: a peak that is shorter is the kernel's to tell
    INTERVAL_SHARE = 100,             // of the time so far
    COST_SHARE = 50,                  // a sample takes at most two percent of a processor until the next
    GRACE_MS = 1000,                  // between asking to end and ending by force
    GIVE_UP_MS = 5 * GRACE_MS,        // what lives on then is another user's, or hangs in the kernel
    POLL_NS = 10 * NS_PER_MS,         // between two looks whether all have ended
};

// What the child tells before it becomes the command.
typedef struct start {
    uint64_t at_ns;
    uint64_t peak_bytes; // what it already had resident: the kernel carries that over into ru_maxrss
    int exec_error;
} start_t;

typedef struct sampler {
    tree_t tree;
    uint64_t last_ns, last_bytes; // of the last sample, since the start
    double area;                  // bytes x nanoseconds since the first
    uint64_t first_ns;
    uint64_t interval_ns;
} sampler_t;

static sigset_t mask_before, waited_for;
static start_t *start; // shared with the child

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t timeval_ns(struct timeval time)
{
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * NS_PER_US;
}

// An ignored SIGCHLD, which whoever started us may have left, would lose the command's status.
void measure_begin(void)
{
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&waited_for);
    sigaddset(&waited_for, SIGCHLD);
    sigaddset(&waited_for, SIGINT);
    sigaddset(&waited_for, SIGQUIT);
    sigaddset(&waited_for, SIGTERM);
    sigaddset(&waited_for, SIGHUP);
    sigprocmask(SIG_BLOCK, &waited_for, &mask_before);
    tree_adopt();
    start = mmap(NULL, sizeof *start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        abort();
}

void measure_end(void)
{
    munmap(start, sizeof *start);
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
}

// --- in the child ----------------------------------------------------------------------------------------------------

static int descriptor_become(const char *path, int flags, int descriptor)
{
    int file = open(path, flags | O_CLOEXEC);
    return file < 0 ? -1 : dup2(file, descriptor);
}

static int streams_set(const command_t *command)
{
    if (descriptor_become(command->input, O_RDONLY, STDIN_FILENO) < 0)
        return -1;
    if (command->output_is_shown)
        return dup2(STDERR_FILENO, STDOUT_FILENO);
    if (descriptor_become("/dev/null", O_WRONLY, STDOUT_FILENO) < 0)
        return -1;
    return dup2(STDOUT_FILENO, STDERR_FILENO);
}

static _Noreturn void command_become(const command_t *command)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &mask_before, NULL);
    if (command->library != NULL && library_preload("tarn compare", command->library) != 0)
        _exit(TOOL_FAILED);
    if (streams_set(command) >= 0) {
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        start->peak_bytes = (uint64_t)used.ru_maxrss * 1024;
        start->at_ns = now_ns();
        execvp(command->argv[0], command->argv);
    }
    start->exec_error = errno;
    _exit(TOOL_FAILED);
}

// --- sampling --------------------------------------------------------------------------------------------------------

// Joins points two by two: of each pair the higher one stays.
static void curve_halve(curve_t *curve)
{
    for (int i = 0; i < curve->count / 2; i++) {
        const point_t *pair = &curve->points[2 * i];
        curve->points[i] = pair[0].resident_bytes >= pair[1].resident_bytes ? pair[0] : pair[1];
    }
    curve->count /= 2;
    curve->samples_per_point *= 2;
    curve->samples_in_last = curve->samples_per_point;
}

static void curve_add(curve_t *curve, point_t point)
{
    if (curve->samples_in_last == curve->samples_per_point) {
        if (curve->count == MEASURE_CURVE_MAX)
            curve_halve(curve);
        curve->points[curve->count++] = point;
        curve->samples_in_last = 1;
        return;
    }
    curve->samples_in_last++;
    if (point.resident_bytes > curve->points[curve->count - 1].resident_bytes)
        curve->points[curve->count - 1] = point;
}

// The area grows by trapezoids, the mean is the area over its width.
static void sample_count(sampler_t *sampler, measurement_t *measurement, point_t point)
{
    if (measurement->samples++ == 0)
        sampler->first_ns = point.at_ns;
    else
        sampler->area +=
            (double)(sampler->last_bytes + point.resident_bytes) / 2 * (double)(point.at_ns - sampler->last_ns);
    sampler->last_ns = point.at_ns;
    sampler->last_bytes = point.resident_bytes;
    if (point.resident_bytes > measurement->peak_bytes)
        measurement->peak_bytes = point.resident_bytes;
    curve_add(&measurement->curve, point);
}

static void tree_observe(const command_t *command, const sampler_t *sampler, uint64_t age_ns)
{
    for (int i = 0; command->observer != NULL && i < sampler->tree.count; i++)
        command->observer->observe(command->observer->context, sampler->tree.pids[i], age_ns);
}

// A sample's cost is CPU time: on a busy machine, its own time says how long it waited for a processor.
static uint64_t interval_after(uint64_t age_ns, uint64_t cost_ns)
{
    uint64_t interval_ns = age_ns / INTERVAL_SHARE;
    if (interval_ns > INTERVAL_MAX_NS)
        interval_ns = INTERVAL_MAX_NS;
    if (interval_ns < INTERVAL_MIN_NS)
        interval_ns = INTERVAL_MIN_NS;
    return cost_ns * COST_SHARE > interval_ns ? cost_ns * COST_SHARE : interval_ns;
}

static void sample_take(const command_t *command, pid_t pid, sampler_t *sampler, measurement_t *measurement)
{
    uint64_t begin_ns = now_ns(), cost_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (start->at_ns == 0 || begin_ns < start->at_ns)
        return; // it is still us
    uint64_t age_ns = begin_ns - start->at_ns;
    tree_read(&sampler->tree, pid);
    uint64_t bytes = tree_resident_bytes(&sampler->tree);
    if (bytes > 0) // else it has just ended
        sample_count(sampler, measurement, (point_t){age_ns, bytes});
    sampler->interval_ns = interval_after(age_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID) - cost_ns);
    tree_observe(command, sampler, age_ns);
}

// --- the end ---------------------------------------------------------------------------------------------------------

static int status_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? TOOL_BY_SIGNAL + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void usage_add(measurement_t *measurement, const struct rusage *used)
{
    uint64_t peak = (uint64_t)used->ru_maxrss * 1024;
    measurement->user_ns += timeval_ns(used->ru_utime);
    measurement->system_ns += timeval_ns(used->ru_stime);
    measurement->minor_faults += (uint64_t)used->ru_minflt;
    measurement->major_faults += (uint64_t)used->ru_majflt;
    if (peak > measurement->peak_process_bytes)
        measurement->peak_process_bytes = peak;
}

// Collects whatever has ended. True once that was `pid`, whose status it then keeps.
static bool ended_collect(pid_t pid, measurement_t *measurement)
{
    struct rusage used;
    int status;
    bool done = false;
    for (pid_t ended; (ended = wait4(-1, &status, WNOHANG, &used)) > 0;) {
        if (tree_is_stranger(ended))
            continue;
        usage_add(measurement, &used);
        if (ended == pid) {
            done = true;
            measurement->status = status_of(status);
        }
    }
    return done;
}

static int signal_await(uint64_t timeout_ns)
{
    struct timespec timeout = {(time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S)};
    return sigtimedwait(&waited_for, NULL, &timeout);
}

// Asks everything below us to end; what is there after the grace, or at a second signal, is ended. Returns how many
// there were.
static int tree_end(sampler_t *sampler, pid_t pid, measurement_t *measurement)
{
    tree_t *tree = &sampler->tree;
    ended_collect(pid, measurement);
    tree_read(tree, pid);
    int seen = tree->count;
    tree_signal(tree, SIGTERM);
    tree_signal(tree, SIGCONT); // what is stopped hears nothing else
    uint64_t begin_ns = now_ns(), grace_ns = (uint64_t)GRACE_MS * NS_PER_MS;
    while (tree->count > 0 && now_ns() - begin_ns < (uint64_t)GIVE_UP_MS * NS_PER_MS) {
        int number = signal_await(POLL_NS);
        if (number > 0 && number != SIGCHLD)
            grace_ns = 0;
        if (ended_collect(pid, measurement))
            pid = 0; // its number may be anybody's now
        if (now_ns() - begin_ns >= grace_ns)
            tree_signal(tree, SIGKILL);
        tree_read(tree, pid);
    }
    return seen;
}

// The kernel's peak of a process is that since its fork, and so at least what the child had before its exec: where it
// is no more than that, the command stayed below.
static void peaks_settle(const sampler_t *sampler, measurement_t *measurement)
{
    measurement->peak_is_bound = measurement->peak_process_bytes <= start->peak_bytes;
    if (measurement->peak_process_bytes > measurement->peak_bytes)
        measurement->peak_bytes = measurement->peak_process_bytes;
    uint64_t width_ns = sampler->last_ns - sampler->first_ns;
    measurement->mean_bytes = width_ns > 0 ? (uint64_t)(sampler->area / (double)width_ns) : sampler->last_bytes;
}

static int run_watch(const command_t *command, pid_t pid, measurement_t *measurement)
{
    static sampler_t sampler; // a large tree: not on the stack
    memset(&sampler, 0, sizeof sampler);
    sampler.interval_ns = INTERVAL_MIN_NS;
    uint64_t ended_ns;
    for (;;) {
        int number = signal_await(sampler.interval_ns);
        ended_ns = now_ns();
        if (number > 0 && number != SIGCHLD) {
            tree_end(&sampler, pid, measurement);
            return number;
        }
        if (number == SIGCHLD && ended_collect(pid, measurement))
            break;
        sample_take(command, pid, &sampler, measurement);
    }
    measurement->wall_ns = ended_ns - start->at_ns;
    measurement->exec_error = start->exec_error;
    measurement->left_behind = tree_end(&sampler, 0, measurement);
    peaks_settle(&sampler, measurement);
    return 0;
}

int measure_run(const command_t *command, measurement_t *measurement)
{
    *measurement = (measurement_t){.curve = {.samples_per_point = 1, .samples_in_last = 1}};
    memset(start, 0, sizeof *start);
    pid_t pid = fork();
    if (pid == 0)
        command_become(command);
    if (pid < 0)
        return -1;
    setpgid(pid, pid); // both sides do, whoever comes first
    return run_watch(command, pid, measurement);
}
