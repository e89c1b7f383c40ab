// tools/run.c - `tarn run`: starts a command with libtarn.so preloaded, and ends as the command ended.
//
//   options -> TARN_OPTIONS          --stats json --waste 5   =>   stats=json:waste=5
//   recordings -> a directory        one file a process, children and grandchildren too: record=DIR/%n.%p.tarn
//   library -> LD_PRELOAD            see library.c
//   fork, exec, wait                 signals: the terminal's reach the command by themselves, the rest is handed on
//
// The parent stays so that the command's report comes before the prompt and its status can be told.
#include "directory.h"
#include "library.h"
#include "rollup.h"
#include "tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    OPTION_STATS = 256, // above every character: no short form
    OPTION_STATS_FILE,
    OPTION_WASTE,
    OPTION_REQUESTED,
    OPTION_ON_ERROR,
    OPTION_LIBRARY,
    OPTION_NO_RECORD,
    OPTION_RECORD_MAX,
    OPTION_PROFILE,
    OPTION_NO_PROFILE,
    OPTION_SAMPLE,
    OPTION_FOLLOW,
    OPTION_NO_FOLLOW,
    OPTION_SIGNAL,
};

enum { PERCENT_MAX = 1000 }; // as in preload/options.c

typedef struct run {
    const char *who;
    const char *library; // --library, or NULL
    char *options;       // what TARN_OPTIONS will be, or NULL while there is none
    char **command;
    const char *output;  // -o, or NULL
    int no_record;
    int quiet;
    pid_t pid;           // the command's, once it is started
    int status;          // as waitpid tells it
    char *directory;     // where the recordings go; NULL: there are none, or -O and the environment say where
} run_t;

// Appends key=value: a later key wins over an earlier one, so the command line wins over the environment.
static error_t option_add(run_t *run, const char *key, const char *value)
{
    char *longer = NULL;
    const char *before = run->options != NULL ? run->options : "";
    if (asprintf(&longer, "%s%s%s=%s", before, *before != '\0' ? ":" : "", key, value) < 0) {
        tool_error(run->who, "no memory for the options");
        return ENOMEM;
    }
    free(run->options);
    run->options = longer;
    return 0;
}

// TARN_OPTIONS parts its entries at colons and knows no way to quote one.
static error_t option_set(run_t *run, const char *flag, const char *key, const char *value)
{
    if (*value == '\0') {
        tool_error(run->who, "%s needs a value", flag);
        return EINVAL;
    }
    if (strchr(value, ':') != NULL) {
        tool_error(run->who, "%s: a value cannot hold a colon: '%s'", flag, value);
        return EINVAL;
    }
    return option_add(run, key, value);
}

// `choices` is a list like "text|json|off".
static int choice_is_valid(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (const char *choice = choices; *choice != '\0';) {
        size_t width = strcspn(choice, "|");
        if (width == length && strncmp(choice, value, length) == 0)
            return 1;
        choice += width + (choice[width] == '|');
    }
    return 0;
}

static error_t option_choose(run_t *run, const char *flag, const char *key, const char *choices, const char *value)
{
    if (!choice_is_valid(choices, value)) {
        tool_error(run->who, "%s is %s, not '%s'", flag, choices, value);
        return EINVAL;
    }
    return option_add(run, key, value);
}

static error_t option_percent(run_t *run, const char *flag, const char *key, const char *value)
{
    enum { DIGITS_MAX = 4 }; // those of PERCENT_MAX
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || value[digits] != '\0' || atoi(value) > PERCENT_MAX) {
        tool_error(run->who, "%s is a percentage from 0 to %d, not '%s'", flag, PERCENT_MAX, value);
        return EINVAL;
    }
    return option_add(run, key, value);
}

// %p, %n and %% are all that may follow a %.
static int pattern_is_good(const char *pattern)
{
    for (const char *letter = pattern; *letter != '\0'; letter++)
        if (*letter == '%' && (*++letter == '\0' || strchr("pn%", *letter) == NULL))
            return 0;
    return 1;
}

// The current directory with a slash behind it, each % doubled: its name is no pattern. NULL if there is none.
static char *directory_pattern(void)
{
    char *here = getcwd(NULL, 0);
    char *pattern = here != NULL ? malloc(2 * strlen(here) + sizeof "/") : NULL;
    char *end = pattern;
    if (pattern != NULL) {
        for (const char *letter = here; *letter != '\0'; letter++) {
            *end++ = *letter;
            if (*letter == '%')
                *end++ = '%';
        }
        strcpy(end, "/");
    }
    free(here);
    return pattern;
}

// Each process of the command would take a relative path from its own directory: here it is meant from this one.
static error_t option_file(run_t *run, const char *flag, const char *key, const char *path)
{
    if (!pattern_is_good(path)) {
        tool_error(run->who, "%s: only %%p, %%n and %%%% begin with a percent sign: '%s'", flag, path);
        return EINVAL;
    }
    if (*path == '/' || *path == '\0')
        return option_set(run, flag, key, path);
    char *directory = directory_pattern();
    char *absolute = NULL;
    if (directory == NULL || asprintf(&absolute, "%s%s", directory, path) < 0) {
        tool_error(run->who, "%s: cannot tell the current directory: %s", flag, strerror(errno));
        free(directory);
        return EINVAL;
    }
    error_t error = option_set(run, flag, key, absolute);
    free(absolute);
    free(directory);
    return error;
}

// Digits and a unit, as libtarn.so takes them.
static error_t option_bytes(run_t *run, const char *flag, const char *key, const char *value)
{
    enum { DIGITS_MAX = 10 };
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || atoll(value) == 0 || value[digits] == '|' ||
        (value[digits] != '\0' && !choice_is_valid("B|K|KB|KiB|M|MB|MiB|G|GB|GiB", value + digits))) {
        tool_error(run->who, "%s is a number of bytes, as 65536, 512KiB or 8MiB, not '%s'", flag, value);
        return EINVAL;
    }
    return option_add(run, key, value);
}

// USR2 or SIGUSR2.
static error_t option_signal(run_t *run, const char *flag, const char *key, const char *value)
{
    const char *name = strncmp(value, "SIG", 3) == 0 ? value + 3 : value;
    for (int number = 1; number < NSIG; number++) {
        const char *known = sigabbrev_np(number);
        if (known != NULL && strcmp(known, name) == 0 && number != SIGKILL && number != SIGSTOP)
            return option_add(run, key, known);
    }
    tool_error(run->who, "%s is the name of a signal, as USR2, not '%s'", flag, value);
    return EINVAL;
}

static error_t option_any(run_t *run, const char *pair)
{
    size_t width = strcspn(pair, "=");
    if (width == 0 || pair[width] == '\0') {
        tool_error(run->who, "-O takes KEY=VALUE, not '%s'", pair);
        return EINVAL;
    }
    char *key = strndup(pair, width);
    if (key == NULL)
        return ENOMEM;
    error_t error = option_set(run, "-O", key, pair + width + 1);
    free(key);
    return error;
}

static const struct argp_option run_options[] = {
    {"stats", OPTION_STATS, "FORM", 0, "Report at exit: text (default), json or off", 0},
    {"stats-file", OPTION_STATS_FILE, "PATH", 0,
     "Write every process's report to PATH instead of stderr; %p is the process id, %n the program's name, "
     "%% a percent sign",
     0},
    {"quiet", 'q', NULL, 0, "No report, as with --stats off, and no word on the recordings", 0},
    {"output", 'o', "DIR", 0,
     "Keep the recordings in DIR; by default in a fresh directory, named after command and time, in "
     "$XDG_STATE_HOME/tarn or ~/.local/state/tarn",
     0},
    {"no-record", OPTION_NO_RECORD, NULL, 0, "Keep no recordings", 0},
    {"record-max", OPTION_RECORD_MAX, "BYTES", 0, "Size of a recording at most; default 64MiB", 0},
    {"profile", OPTION_PROFILE, NULL, 0, "Record call stacks (default)", 0},
    {"no-profile", OPTION_NO_PROFILE, NULL, 0, "Record balance sheets only", 0},
    {"sample", OPTION_SAMPLE, "BYTES", 0, "One call stack for so many allocated bytes, on average; default 512KiB", 0},
    {"follow", OPTION_FOLLOW, NULL, 0, "Record the processes that COMMAND starts, too (default)", 0},
    {"no-follow", OPTION_NO_FOLLOW, NULL, 0, "Record COMMAND's own process only", 0},
    {"signal", OPTION_SIGNAL, "SIG", 0, "Take a snapshot when this signal comes", 0},
    {"requested", OPTION_REQUESTED, "HOW", 0,
     "Bytes the program asked for: sampled (default, an estimate with its interval) or exact (slower)", 0},
    {"waste", OPTION_WASTE, "PERCENT", 0, "Free memory that may stay resident, in percent of live memory", 0},
    {"on-error", OPTION_ON_ERROR, "WHAT", 0, "After a wild or double free: abort, or report and go on", 0},
    {NULL, 'O', "KEY=VALUE", 0, "Any option of libtarn(7)", 0},
    {"library", OPTION_LIBRARY, "PATH", 0, "The libtarn.so to use", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t run_parse_recording(run_t *run, int key, char *value)
{
    switch (key) {
    case 'o':
        run->output = value;
        return 0;
    case OPTION_NO_RECORD:
        run->no_record = 1;
        return 0;
    case OPTION_RECORD_MAX:
        return option_bytes(run, "--record-max", "record_max", value);
    case OPTION_PROFILE:
        return option_add(run, "profile", "on");
    case OPTION_NO_PROFILE:
        return option_add(run, "profile", "off");
    case OPTION_SAMPLE:
        return option_bytes(run, "--sample", "sample", value);
    case OPTION_FOLLOW:
        return option_add(run, "follow", "on");
    case OPTION_NO_FOLLOW:
        return option_add(run, "follow", "off");
    case OPTION_SIGNAL:
        return option_signal(run, "--signal", "record_signal", value);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t run_parse_option(run_t *run, int key, char *value)
{
    switch (key) {
    case OPTION_STATS:
        return option_choose(run, "--stats", "stats", "text|json|off", value);
    case OPTION_STATS_FILE:
        return option_file(run, "--stats-file", "stats_file", value);
    case 'q':
        run->quiet = 1;
        return option_add(run, "stats", "off");
    case OPTION_REQUESTED:
        return option_choose(run, "--requested", "requested", "sampled|exact", value);
    case OPTION_WASTE:
        return option_percent(run, "--waste", "waste", value);
    case OPTION_ON_ERROR:
        return option_choose(run, "--on-error", "on_error", "abort|report", value);
    case 'O':
        return option_any(run, value);
    case OPTION_LIBRARY:
        run->library = value;
        return 0;
    default:
        return run_parse_recording(run, key, value);
    }
}

static error_t run_parse(int key, char *value, struct argp_state *state)
{
    run_t *run = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARGS: // argv ends with NULL, so that its rest is the command's
        run->command = state->argv + state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        tool_error(run->who, "which command? (see %s --help)", run->who);
        return EINVAL;
    default:
        return run_parse_option(run, key, value);
    }
}

static const struct argp run_argp = {
    .options = run_options,
    .parser = run_parse,
    .args_doc = "[--] COMMAND [ARGUMENT...]",
    .doc = "Run COMMAND with libtarn.so as its malloc; at exit it reports where its resident memory went."
           "\vOptions are added to TARN_OPTIONS, and win over what stands there. libtarn.so is the one that --library "
           "names, else $TARN_LIBRARY, else the one of the build tree that tarn stands in, else the installed one.\n"
           "\n"
           "Exit status: that of COMMAND; 128+N when signal N ended it; 127 when COMMAND was not found, 126 when it "
           "could not be executed; 2 when the command line is wrong or libtarn.so is not found, 125 when tarn itself "
           "failed. SIGTERM and SIGHUP are handed on to COMMAND.",
};

static volatile sig_atomic_t command_pid;

static void signal_hand_on(int number)
{
    int saved = errno;
    if (command_pid > 0)
        kill(command_pid, number);
    errno = saved;
}

// What the signals meant before: the command starts with the same.
typedef struct signals {
    struct sigaction interrupt, quit, terminate, hangup, child;
    sigset_t mask;
} signals_t;

static void signal_watch(int number, void (*handler)(int), struct sigaction *before)
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, NULL, before);
    if (before->sa_handler != SIG_IGN) // nohup, or a background job of a script: stays so
        sigaction(number, &action, NULL);
}

// The terminal sends INT and QUIT to the command as well, and what follows is its affair: the parent waits. TERM and
// HUP often come to one process alone. They are held back until there is a process to hand them on to. An ignored CHLD,
// which whoever started us may have left, would lose the command's status.
static void signals_take(signals_t *signals)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGHUP);
    sigprocmask(SIG_BLOCK, &held, &signals->mask);
    signal_watch(SIGINT, SIG_IGN, &signals->interrupt);
    signal_watch(SIGQUIT, SIG_IGN, &signals->quit);
    signal_watch(SIGTERM, signal_hand_on, &signals->terminate);
    signal_watch(SIGHUP, signal_hand_on, &signals->hangup);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, &signals->child);
}

static void signals_give_back(const signals_t *signals)
{
    sigaction(SIGINT, &signals->interrupt, NULL);
    sigaction(SIGQUIT, &signals->quit, NULL);
    sigaction(SIGTERM, &signals->terminate, NULL);
    sigaction(SIGHUP, &signals->hangup, NULL);
    sigaction(SIGCHLD, &signals->child, NULL);
    sigprocmask(SIG_SETMASK, &signals->mask, NULL);
}

// In the child. The preload goes into the environment before this: execvp itself does not read it.
static _Noreturn void command_execute(const run_t *run, const signals_t *signals)
{
    signals_give_back(signals);
    execvp(run->command[0], run->command);
    int status = errno == ENOENT ? TOOL_NOT_FOUND : TOOL_NOT_EXECUTABLE;
    tool_error(run->who, "cannot run '%s': %s", run->command[0], strerror(errno));
    _exit(status);
}

static int command_wait(run_t *run)
{
    while (waitpid(run->pid, &run->status, 0) < 0)
        if (errno != EINTR)
            return TOOL_FAILED;
    return WIFSIGNALED(run->status) ? TOOL_BY_SIGNAL + WTERMSIG(run->status) : WEXITSTATUS(run->status);
}

static int command_run(run_t *run)
{
    signals_t signals;
    signals_take(&signals);
    pid_t pid = fork();
    if (pid == 0)
        command_execute(run, &signals);
    if (pid < 0) {
        tool_error(run->who, "cannot fork: %s", strerror(errno));
        return TOOL_FAILED;
    }
    command_pid = run->pid = pid;
    sigprocmask(SIG_SETMASK, &signals.mask, NULL);
    return command_wait(run);
}

// --- recordings ------------------------------------------------------------------------------------------------------

// The last value of a key in the options, up to its colon; NULL if there is none.
static const char *option_last(const run_t *run, const char *key)
{
    const char *last = NULL;
    size_t length = strlen(key);
    for (const char *entry = run->options; entry != NULL; entry = strchr(entry, ':')) {
        entry += *entry == ':';
        if (strncmp(entry, key, length) == 0 && entry[length] == '=')
            last = entry + length + 1;
    }
    return last;
}

static error_t record_into(run_t *run, const char *directory)
{
    char *pattern = malloc(2 * strlen(directory) + sizeof "/%n.%p.tarn");
    char *end = pattern;
    if (pattern == NULL)
        return ENOMEM;
    for (const char *letter = directory; *letter != '\0'; letter++) {
        *end++ = *letter;
        if (*letter == '%')
            *end++ = '%';
    }
    strcpy(end, "/%n.%p.tarn");
    error_t error = option_set(run, "-o", "record", pattern);
    free(pattern);
    return error;
}

// -1 when the command is not to be run: -o names no directory. Where the default is not to be had, it runs without.
static int recordings_begin(run_t *run)
{
    if (run->no_record || (run->output == NULL && option_last(run, "record") != NULL))
        return 0;
    run->directory = run->output != NULL ? directory_named(run->who, run->output)
                                         : directory_fresh(run->who, run->command[0]);
    if (run->directory == NULL)
        return run->output != NULL ? -1 : 0;
    return record_into(run, run->directory) == 0 ? 0 : -1;
}

// JSON on standard error is for programs: no word of ours behind it.
static int is_quiet(const run_t *run)
{
    const char *stats = option_last(run, "stats");
    return run->quiet || (stats != NULL && strncmp(stats, "json", 4) == 0);
}

// A directory without a recording goes: COMMAND was not found, or is a static or set-user-ID program.
static void recordings_end(const run_t *run, uint64_t since_ns)
{
    if (run->directory == NULL)
        return;
    int empty = run->output == NULL && rmdir(run->directory) == 0;
    if (!empty && run->output == NULL)
        directory_make_latest(run->directory);
    if (!is_quiet(run))
        rollup_print(run->directory, since_ns, run->pid, run->status);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int run_main(int argc, char **argv)
{
    run_t run = {.who = argv[0]};
    const char *options = getenv("TARN_OPTIONS");
    if (options != NULL)
        run.options = strdup(options);
    tool_parse(&run_argp, argc, argv, &run);
    char *library = library_find(run.who, run.library);
    if (library == NULL || library_preload(run.who, library) != 0)
        return TOOL_BAD_INPUT;
    free(library);
    uint64_t since_ns = now_ns();
    if (recordings_begin(&run) != 0)
        return TOOL_BAD_INPUT;
    if (run.options != NULL && setenv("TARN_OPTIONS", run.options, 1) != 0) {
        tool_error(run.who, "no memory for the environment");
        return TOOL_FAILED;
    }
    int status = command_run(&run);
    recordings_end(&run, since_ns);
    free(run.directory);
    free(run.options);
    return status;
}
