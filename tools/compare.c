// tools/compare.c - `tarn compare`: runs a command under several allocators in turn, and says which suits it.
//
//   allocators.c  who takes part           measure.c     one run, from outside
//   presence.c    did the library load     statistics.c  medians, intervals, tests
//   comparison*.c what the runs say, and its three forms
//
// Each allocator warms up once; then come rounds in which each runs once, in an order drawn anew each time: what
// changes on the machine meanwhile meets all of them alike, and none always follows the same other.
#include "allocators.h"
#include "comparison.h"
#include "measure.h"
#include "presence.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OPTION_WITH = 256, // above every character: no short form
    OPTION_BASE,
    OPTION_SEED,
    OPTION_JSON,
    OPTION_HTML,
    OPTION_SHOW_OUTPUT,
    OPTION_INPUT,
    OPTION_LIBRARY,
};

// Ten tell any difference among five figures of five allocators, if it is clear enough; eight would be the least.
enum { RUNS_DEFAULT = 10 };

enum { COMPARE_COMMAND_FAILED = 1 };

typedef struct compare {
    const char *who;
    const char *list; // --with
    const char *base;
    const char *library; // of tarn
    const char *html;
    const char *input;
    char **command;
    int runs;
    unsigned long seed;
    bool is_seeded, as_json, output_is_shown, failure_is_ignored;
    char *html_partial; // beside its place until it is whole
    FILE *html_file;
    int left_behind; // processes, at the end of the worst run
} compare_t;

static const struct argp_option compare_options[] = {
    {"runs", 'n', "N", 0, "Runs under each allocator, 1 to 50 (default 10)", 0},
    {"with", OPTION_WITH, "LIST", 0,
     "Who takes part, parted by commas: names, or NAME=/PATH.so for any other; with none but such, they join all that "
     "are known",
     0},
    {"base", OPTION_BASE, "NAME", 0, "Whom the ratios refer to (default system)", 0},
    {"ignore-failure", 'i', NULL, 0, "Go on when COMMAND ends with another status than 0", 0},
    {"show-output", OPTION_SHOW_OUTPUT, NULL, 0, "What COMMAND writes goes to standard error, not away", 0},
    {"input", OPTION_INPUT, "FILE", 0, "What COMMAND reads (default /dev/null)", 0},
    {"json", OPTION_JSON, NULL, 0, "Print JSON, each single value with it", 0},
    {"html", OPTION_HTML, "OUT", 0, "Write a page with pictures to OUT as well", 0},
    {"seed", OPTION_SEED, "N", 0, "Of the order of the runs (default: drawn)", 0},
    {"library", OPTION_LIBRARY, "PATH", 0, "The libtarn.so to use", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

// Digits alone, at most nine of them.
static error_t number_parse(const compare_t *compare, const char *flag, const char *value, unsigned long least,
                            unsigned long most, unsigned long *number)
{
    enum { DIGITS_MAX = 9 };
    size_t digits = strspn(value, "0123456789");
    if (digits > 0 && digits <= DIGITS_MAX && value[digits] == '\0') {
        *number = strtoul(value, NULL, 10);
        if (*number >= least && *number <= most)
            return 0;
    }
    tool_error(compare->who, "%s is a number from %lu to %lu, not '%s'", flag, least, most, value);
    return EINVAL;
}

static error_t runs_parse(compare_t *compare, const char *value)
{
    unsigned long runs = 0;
    error_t error = number_parse(compare, "-n", value, 1, STATISTICS_RUNS_MAX, &runs);
    compare->runs = (int)runs;
    return error;
}

static error_t text_parse(const compare_t *compare, const char *flag, const char *value, const char **text)
{
    if (*value == '\0') {
        tool_error(compare->who, "%s needs a value", flag);
        return EINVAL;
    }
    *text = value;
    return 0;
}

static error_t compare_parse_option(compare_t *compare, int key, char *value)
{
    switch (key) {
    case 'n':
        return runs_parse(compare, value);
    case OPTION_WITH:
        return text_parse(compare, "--with", value, &compare->list);
    case OPTION_BASE:
        return text_parse(compare, "--base", value, &compare->base);
    case 'i':
        compare->failure_is_ignored = true;
        return 0;
    case OPTION_SHOW_OUTPUT:
        compare->output_is_shown = true;
        return 0;
    case OPTION_INPUT:
        return text_parse(compare, "--input", value, &compare->input);
    case OPTION_JSON:
        compare->as_json = true;
        return 0;
    case OPTION_HTML:
        return text_parse(compare, "--html", value, &compare->html);
    case OPTION_SEED:
        compare->is_seeded = true;
        return number_parse(compare, "--seed", value, 0, 999999999, &compare->seed);
    case OPTION_LIBRARY:
        return text_parse(compare, "--library", value, &compare->library);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t compare_parse(int key, char *value, struct argp_state *state)
{
    compare_t *compare = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARGS:
        compare->command = state->argv + state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        tool_error(compare->who, "which command? (see %s --help)", compare->who);
        return EINVAL;
    default:
        return compare_parse_option(compare, key, value);
    }
}

static const struct argp compare_argp = {
    .options = compare_options,
    .parser = compare_parse,
    .args_doc = "[--] COMMAND [ARGUMENT...]",
    .doc = "Run COMMAND under several allocators in turn, measured from outside, and say which suits it in time and in "
           "memory."
           "\vKnown are system (the C library's own malloc, always there), jemalloc, mimalloc, tcmalloc and tarn; one "
           "that is not installed is named with the Debian package that brings it. COMMAND and everything it starts "
           "count as one; for several programs, name a shell: sh -c 'server & client; kill $!'.\n"
           "\n"
           "Exit status: 0; 1 when COMMAND failed under some allocator; 2 when the command line is wrong, a library is "
           "not found, or LD_PRELOAD has no effect on COMMAND; 125 when tarn itself failed, 126 and 127 when COMMAND "
           "could not be executed or was not found; 128+N when signal N stopped the comparison.",
};

// --- the page's file -------------------------------------------------------------------------------------------------

// Opened before the first run, so that nobody waits for figures that cannot be written.
static int html_open(compare_t *compare)
{
    struct stat facts;
    if (compare->html == NULL)
        return 0;
    bool is_folder = stat(compare->html, &facts) == 0 && S_ISDIR(facts.st_mode);
    if (asprintf(&compare->html_partial, "%s.%d.partial", compare->html, (int)getpid()) < 0)
        return TOOL_FAILED;
    int file =
        is_folder ? (errno = EISDIR, -1) : open(compare->html_partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    compare->html_file = file >= 0 ? fdopen(file, "w") : NULL;
    if (compare->html_file != NULL)
        return 0;
    tool_error(compare->who, "cannot write '%s': %s", compare->html, strerror(errno));
    return TOOL_BAD_INPUT;
}

static int html_finish(compare_t *compare, const comparison_t *comparison, const verdict_t *verdict)
{
    if (compare->html_file == NULL)
        return 0;
    comparison_html_write(comparison, verdict, compare->html_file);
    bool failed = ferror(compare->html_file) != 0;
    failed |= fclose(compare->html_file) != 0;
    compare->html_file = NULL;
    if (!failed && rename(compare->html_partial, compare->html) == 0)
        return 0;
    tool_error(compare->who, "cannot write '%s': %s", compare->html, strerror(errno));
    unlink(compare->html_partial);
    return TOOL_BAD_INPUT;
}

static void html_forget(compare_t *compare)
{
    if (compare->html_file != NULL) {
        fclose(compare->html_file);
        unlink(compare->html_partial);
    }
    free(compare->html_partial);
}

// --- one run ---------------------------------------------------------------------------------------------------------

static void progress_show(const compare_t *compare, const char *format, int round, const char *name)
{
    if (compare->output_is_shown || !isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr); // to the line's start, and clear it
    if (format != NULL)
        fprintf(stderr, format, round, compare->runs, name);
    fflush(stderr);
}

static int exec_failed(const compare_t *compare, int error)
{
    tool_error(compare->who, "cannot run '%s': %s", compare->command[0], strerror(error));
    return error == ENOENT ? TOOL_NOT_FOUND : TOOL_NOT_EXECUTABLE;
}

// The base row's failure is everybody's; another row is left out of what follows.
static int run_failed(const compare_t *compare, comparison_t *comparison, row_t *row)
{
    const char *name = row->allocator->name;
    char how[64] = "";
    if (row->status > TOOL_BY_SIGNAL)
        snprintf(how, sizeof how, " (%s)", strsignal(row->status - TOOL_BY_SIGNAL));
    if (row == &comparison->rows[comparison->base]) {
        tool_error(compare->who,
                   "'%s' ended with status %d%s under %s: nothing is compared (--show-output shows what it writes, "
                   "--ignore-failure goes on)",
                   compare->command[0], row->status, how, name);
        return COMPARE_COMMAND_FAILED;
    }
    comparison_note(comparison, "%s is left out: '%s' ended with status %d%s under it", name, compare->command[0],
                    row->status, how);
    row->is_out = true;
    return 0;
}

// Runs the command once under the row's allocator. Returns 0, or the status with which tarn is to end.
static int row_run(compare_t *compare, comparison_t *comparison, row_t *row, const observer_t *observer,
                   measurement_t *measurement)
{
    command_t command = {.argv = compare->command,
                         .input = compare->input,
                         .output_is_shown = compare->output_is_shown,
                         .library = row->library,
                         .observer = observer};
    int stopped = measure_run(&command, measurement);
    if (stopped > 0) {
        progress_show(compare, NULL, 0, NULL);
        tool_error(compare->who, "stopped by a signal (%s); the command has been ended", strsignal(stopped));
        return TOOL_BY_SIGNAL + stopped;
    }
    if (stopped < 0) {
        tool_error(compare->who, "cannot fork: %s", strerror(errno));
        return TOOL_FAILED;
    }
    if (measurement->exec_error != 0)
        return exec_failed(compare, measurement->exec_error);
    if (measurement->left_behind > compare->left_behind)
        compare->left_behind = measurement->left_behind;
    if (measurement->status == 0)
        return 0;
    if (row->failed++ == 0)
        row->status = measurement->status;
    return compare->failure_is_ignored ? 0 : run_failed(compare, comparison, row);
}

// --- warming up ------------------------------------------------------------------------------------------------------

// A command that links an allocator by itself would be measured with that one: the C library goes first instead.
static bool system_is_displaced(comparison_t *comparison, row_t *row, const presence_t *presence)
{
    if (presence->library != NULL || presence->own[0] == '\0')
        return false;
    char *library = allocator_system_library();
    if (library == NULL) {
        comparison_note(comparison, "the command runs on %s by itself: that is what the row %s shows", presence->own,
                        row->allocator->name);
        return false;
    }
    comparison_note(comparison,
                    "the command loads %s by itself: under %s, %s is preloaded so that its malloc comes first",
                    presence->own, row->allocator->name, library);
    row->library = library; // for as long as tarn runs
    return true;
}

static int presence_judge(const compare_t *compare, comparison_t *comparison, const presence_t *presence)
{
    const char *without = presence_program_without(presence);
    if (presence->library == NULL || without == NULL)
        return 0;
    if (presence_is_nowhere(presence)) {
        tool_error(compare->who, "LD_PRELOAD has no effect on '%s': %s ran without %s", compare->command[0], without,
                   presence->library);
        return TOOL_BAD_INPUT;
    }
    for (int i = 0; i < comparison->note_count; i++)
        if (strstr(comparison->notes[i], without) != NULL)
            return 0; // said already
    comparison_note(comparison,
                    "LD_PRELOAD has no effect on %s, which the command starts: it ran on its own malloc everywhere",
                    without);
    return 0;
}

static int row_warm_up(compare_t *compare, comparison_t *comparison, row_t *row)
{
    static measurement_t measurement;
    static presence_t presence;
    presence = (presence_t){.library = row->library != NULL ? realpath(row->library, NULL) : NULL};
    observer_t observer = {presence_observe, &presence};
    int status = row_run(compare, comparison, row, &observer, &measurement);
    if (status == 0)
        status = presence_judge(compare, comparison, &presence);
    if (status == 0 && system_is_displaced(comparison, row, &presence))
        status = row_run(compare, comparison, row, NULL, &measurement);
    free((char *)presence.library);
    return status;
}

static int warm_up(compare_t *compare, comparison_t *comparison)
{
    int status = 0;
    for (int row = 0; status == 0 && row < comparison->count; row++) {
        progress_show(compare, "warming up %d/%d: %s", 0, comparison->rows[row].allocator->name);
        status = row_warm_up(compare, comparison, &comparison->rows[row]);
    }
    return status;
}

// --- the rounds ------------------------------------------------------------------------------------------------------

// Marsaglia's xorshift, from a seed that never is 0.
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 16; // the lowest bits are the weakest
}

static void order_draw(int *order, int count, uint64_t *state)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i > 0; i--) {
        int other = (int)(random_next(state) % (uint64_t)(i + 1)), held = order[i];
        order[i] = order[other];
        order[other] = held;
    }
}

static int round_run(compare_t *compare, comparison_t *comparison, int round, const int *order)
{
    for (int i = 0; i < comparison->count; i++) {
        row_t *row = &comparison->rows[order[i]];
        if (row->is_out)
            continue;
        progress_show(compare, "round %d/%d: %s", round, row->allocator->name);
        int status = row_run(compare, comparison, row, NULL, &row->runs[row->count]);
        if (status != 0)
            return status;
        row->count++;
    }
    return 0;
}

static int rounds_run(compare_t *compare, comparison_t *comparison)
{
    enum { SEED_OFFSET = 0x2545F491 }; // so that 0 is a seed like any other
    uint64_t state = compare->seed + SEED_OFFSET;
    int order[ALLOCATORS_MAX];
    int status = 0;
    for (int i = 0; i < 8; i++)
        random_next(&state); // a small seed has few bits at first
    for (int round = 1; status == 0 && round <= compare->runs; round++) {
        order_draw(order, comparison->count, &state);
        status = round_run(compare, comparison, round, order);
    }
    return status;
}

// --- the whole -------------------------------------------------------------------------------------------------------

static int base_find(const compare_t *compare, comparison_t *comparison)
{
    for (int row = 0; row < comparison->count; row++)
        if (strcmp(comparison->rows[row].allocator->name, compare->base) == 0) {
            comparison->base = row;
            return 0;
        }
    tool_error(compare->who, "--base: '%s' does not take part", compare->base);
    return TOOL_BAD_INPUT;
}

// The exit report of tarn would be part of what is measured. All run in the same environment, but for LD_PRELOAD.
static int environment_set(void)
{
    const char *options = getenv("TARN_OPTIONS");
    char *longer = NULL;
    bool has_any = options != NULL && *options != '\0';
    if (asprintf(&longer, "%s%sstats=off", has_any ? options : "", has_any ? ":" : "") < 0)
        return TOOL_FAILED;
    int failed = setenv("TARN_OPTIONS", longer, 1);
    free(longer);
    return failed != 0 ? TOOL_FAILED : 0;
}

static void notes_first(comparison_t *comparison)
{
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && *preload != '\0')
        comparison_note(comparison, "LD_PRELOAD holds %s, behind each allocator and under %s", preload,
                        ALLOCATOR_SYSTEM);
    if (!tree_is_told())
        comparison_note(comparison, "this kernel does not tell children: resident memory is that of the first process");
}

// The peak of a very small command is hidden behind what tarn itself had when it forked.
static void peaks_note(comparison_t *comparison)
{
    uint64_t bound = 0;
    for (int row = 0; row < comparison->count; row++)
        for (int run = 0; run < comparison->rows[row].count; run++) {
            const measurement_t *measurement = &comparison->rows[row].runs[run];
            if (measurement->peak_is_bound && measurement->peak_process_bytes > bound)
                bound = measurement->peak_process_bytes;
        }
    if (bound > 0)
        comparison_note(comparison,
                        "peaks below %.1f MiB cannot be told from the start of a process: that is shown instead",
                        (double)bound / (1 << 20));
}

static void notes_last(const compare_t *compare, comparison_t *comparison)
{
    peaks_note(comparison);
    if (compare->left_behind > 0)
        comparison_note(comparison, "up to %d processes were left when the command had ended: they were ended as well",
                        compare->left_behind);
    for (int i = 0; compare->failure_is_ignored && i < comparison->count; i++) {
        const row_t *row = &comparison->rows[i];
        if (row->failed > 0)
            comparison_note(comparison, "under %s, %d of %d runs ended with another status than 0, the first with %d",
                            row->allocator->name, row->failed, compare->runs + 1, row->status);
    }
}

static int results_write(compare_t *compare, const comparison_t *comparison)
{
    static verdict_t verdict;
    verdict_make(comparison, &verdict);
    if (compare->as_json)
        comparison_json_write(comparison, &verdict, stdout);
    else
        comparison_text_write(comparison, &verdict, stdout);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tool_error(compare->who, "cannot write to standard output: %s", strerror(errno));
        return TOOL_FAILED;
    }
    int status = html_finish(compare, comparison, &verdict);
    for (int row = 0; status == 0 && row < comparison->count; row++)
        if (comparison->rows[row].is_out)
            status = COMPARE_COMMAND_FAILED;
    return status;
}

static int runs_make(compare_t *compare, comparison_t *comparison)
{
    measure_begin();
    notes_first(comparison);
    int status = warm_up(compare, comparison);
    if (status == 0)
        status = rounds_run(compare, comparison);
    progress_show(compare, NULL, 0, NULL);
    measure_end();
    if (status != 0)
        return status;
    notes_last(compare, comparison);
    comparison_evaluate(comparison);
    return results_write(compare, comparison);
}

// What a command begins with as a fork of tarn counts to its peak: the runs so far are kept out of that.
static row_t *rows_map(void)
{
    size_t bytes = ALLOCATORS_MAX * sizeof(row_t);
    row_t *rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (rows == MAP_FAILED)
        return NULL;
    madvise(rows, bytes, MADV_DONTFORK);
    return rows;
}

static int compare_run(compare_t *compare, const allocators_t *allocators)
{
    comparison_t *comparison = calloc(1, sizeof *comparison);
    row_t *rows = rows_map();
    if (comparison == NULL || rows == NULL || environment_set() != 0)
        return TOOL_FAILED;
    *comparison = (comparison_t){.command = compare->command,
                                 .input = compare->input,
                                 .allocators = allocators,
                                 .rows = rows,
                                 .count = allocators->count,
                                 .runs = compare->runs,
                                 .seed = compare->seed};
    for (int i = 0; i < allocators->count; i++) {
        rows[i].allocator = &allocators->here[i];
        rows[i].library = allocators->here[i].library;
    }
    provenance_take(&comparison->provenance);
    int status = base_find(compare, comparison);
    if (status == 0)
        status = html_open(compare);
    if (status == 0)
        status = runs_make(compare, comparison);
    html_forget(compare);
    munmap(rows, ALLOCATORS_MAX * sizeof *rows);
    free(comparison);
    return status;
}

// What can be known to be wrong before anything is started.
static int command_check(const compare_t *compare)
{
    const char *obstacle = presence_obstacle(compare->command[0]);
    if (obstacle != NULL) {
        tool_error(compare->who, "LD_PRELOAD has no effect on '%s': it %s", compare->command[0], obstacle);
        return TOOL_BAD_INPUT;
    }
    if (access(compare->input, R_OK) != 0) {
        tool_error(compare->who, "--input: '%s': %s", compare->input, strerror(errno));
        return TOOL_BAD_INPUT;
    }
    return 0;
}

int compare_main(int argc, char **argv)
{
    static allocators_t allocators;
    compare_t compare = {.who = argv[0], .runs = RUNS_DEFAULT, .base = ALLOCATOR_SYSTEM, .input = "/dev/null"};
    tool_parse(&compare_argp, argc, argv, &compare);
    uint16_t drawn = 0; // short enough to be typed again
    if (!compare.is_seeded && getrandom(&drawn, sizeof drawn, 0) == sizeof drawn)
        compare.seed = drawn;
    int status = command_check(&compare);
    if (status == 0)
        status = allocators_choose(compare.who, compare.list, compare.library, &allocators);
    if (status == 0)
        status = compare_run(&compare, &allocators);
    allocators_free(&allocators);
    return status;
}
