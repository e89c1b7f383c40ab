// tools/compare.c - `tarn compare`: runs a command under several allocators in turn, and says which suits it.
//
//   allocators.c   who takes part          contest.c     all runs in turn
//   presence.c     did the library load    measure.c     one run, from outside
//   comparison*.c  what the runs say       statistics.c  medians, intervals, tests
#include "allocators.h"
#include "comparison.h"
#include "contest.h"
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
    bool is_other = stat(compare->html, &facts) == 0 && !S_ISREG(facts.st_mode); // a folder, a device, a pipe
    if (asprintf(&compare->html_partial, "%s.%d.partial", compare->html, (int)getpid()) < 0)
        return TOOL_FAILED;
    if (is_other) {
        tool_error(compare->who, "cannot write '%s': it is there, and no regular file", compare->html);
        return TOOL_BAD_INPUT;
    }
    int file = open(compare->html_partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
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
            status = CONTEST_COMMAND_FAILED;
    return status;
}

static int runs_make(compare_t *compare, comparison_t *comparison)
{
    contest_t contest = {.who = compare->who,
                         .output_is_shown = compare->output_is_shown,
                         .failure_is_ignored = compare->failure_is_ignored};
    int status = contest_run(&contest, comparison);
    if (status != 0)
        return status;
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
