// tools/top.c - `tarn top`: a process that runs with a recording, looked at while it runs.
#include "choices.h"
#include "live.h"
#include "memory.h"
#include "output_file.h"
#include "profile_build.h"
#include "progress.h"
#include "report_json.h"
#include "text.h"
#include "tool.h"
#include "top_text.h"

#include <errno.h>
#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_ONCE = 256, OPTION_JSON };
enum { TOP_DEFAULT = 12, INTERVAL_DEFAULT_MS = 1000, INTERVAL_MIN_MS = 100, INTERVAL_MAX_MS = 3600000 };

typedef struct top {
    const char *who;
    pid_t pid;
    bool once, json;
    unsigned sites;
    int interval_ms;
    char *path; // of the recording
} top_t;

static const struct argp_option top_options[] = {
    {"once", OPTION_ONCE, NULL, 0, "Print one screen and end; so it is where standard output is no terminal", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object, as `tarn report --json' does, and end", 0},
    {"interval", 'd', "SECONDS", 0, "How often to look (default 1)", 0},
    {"top", 'n', "N", 0, "Call sites to show (default 12)", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t top_set_interval(top_t *top, const char *value)
{
    char *end;
    double ms = strtod(value, &end) * 1000;
    if (*value < '0' || *value > '9' || *end != '\0' || !(ms >= INTERVAL_MIN_MS && ms <= INTERVAL_MAX_MS))
        return choice_refuse(top->who, "--interval", "a number of seconds from 0.1 to 3600", value);
    top->interval_ms = (int)ms;
    return 0;
}

static error_t top_set_pid(top_t *top, const char *value)
{
    char *end;
    long pid = strtol(value, &end, 10);
    if (top->pid != 0) {
        tool_error(top->who, "one process at a time, not '%s' as well", value);
        return EINVAL;
    }
    if (*value < '0' || *value > '9' || *end != '\0' || pid <= 0 || pid > INT32_MAX)
        return choice_refuse(top->who, "PID", "the number of a process", value);
    top->pid = (pid_t)pid;
    return 0;
}

static error_t top_parse(int key, char *value, struct argp_state *state)
{
    top_t *top = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARG:
        return top_set_pid(top, value);
    case ARGP_KEY_NO_ARGS:
        tool_error(top->who, "which process? (see %s --help)", top->who);
        return EINVAL;
    case OPTION_ONCE:
        top->once = true;
        return 0;
    case OPTION_JSON:
        top->json = true;
        return 0;
    case 'd':
        return top_set_interval(top, value);
    case 'n':
        return choice_top(top->who, value, &top->sites);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp top_argp = {
    .options = top_options,
    .parser = top_parse,
    .args_doc = "PID",
    .doc = "Show where the memory of a running process is: resident by cause, rates, size classes, call sites."
           "\vThe process must have been started with a recording (`tarn run', or record=PATH in TARN_OPTIONS). Keys: "
           "arrows and page keys scroll, q ends. Exit status: 0; 2 when the command line is wrong, or there is no such "
           "process or recording.",
};

// --- one look --------------------------------------------------------------------------------------------------------

// NULL: *fault_text says why, to be freed.
static profile_t *look(const top_t *top, char **fault_text)
{
    bool foreign;
    return profile_read(top->path, &foreign, fault_text);
}

static char *screen_text(const top_t *top, const profile_t *profile, int columns)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        return NULL;
    top_text(out, profile, live_look(top->pid), top->sites, columns);
    return fclose(out) == 0 ? text : NULL;
}

static int print_once(const top_t *top)
{
    char *fault_text;
    size_t length;
    text_fit(STDOUT_FILENO);
    profile_t *profile = look(top, &fault_text);
    if (profile == NULL) {
        tool_error(top->who, "%s", fault_text);
        return TOOL_BAD_INPUT;
    }
    char *text = top->json ? report_json(&profile, 1, &length) : screen_text(top, profile, text_columns());
    int status = text != NULL ? output_print(top->who, text, strlen(text)) : TOOL_FAILED;
    free(text);
    profile_free(profile);
    return status;
}

// --- the screen ------------------------------------------------------------------------------------------------------

// Draws the lines of `text` from number `first` on. Returns how many lines it has.
static int screen_draw(const char *text, int first)
{
    int line = 0;
    erase();
    for (const char *next = text; *next != '\0'; line++) {
        int length = (int)strcspn(next, "\n");
        if (line >= first && line - first < LINES)
            mvaddnstr(line - first, 0, next, length < COLS ? length : COLS);
        next += length + (next[length] == '\n');
    }
    refresh();
    return line;
}

static int scrolled(int first, int key, int lines)
{
    int step = key == KEY_DOWN ? 1 : key == KEY_UP ? -1 : key == KEY_NPAGE ? LINES : key == KEY_PPAGE ? -LINES : 0;
    int last = lines > LINES ? lines - LINES : 0;
    first = key == KEY_HOME ? 0 : key == KEY_END ? last : first + step;
    return first < 0 ? 0 : first > last ? last : first;
}

static void screen_begin(const top_t *top)
{
    setlocale(LC_CTYPE, "");
    progress_forbid();
    initscr();
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    timeout(top->interval_ms);
}

// Shows what can be read; what cannot (a snapshot that is being written) waits for the next look.
static int screen_run(const top_t *top)
{
    int first = 0, lines = 0, key = ERR;
    char *text = NULL;
    do {
        char *fault_text = NULL;
        bool anew = key == ERR || key == KEY_RESIZE || text == NULL;
        profile_t *profile = anew ? look(top, &fault_text) : NULL;
        if (profile != NULL) {
            free(text);
            text = screen_text(top, profile, COLS < TEXT_COLUMNS ? COLS : TEXT_COLUMNS);
        }
        free(fault_text);
        profile_free(profile);
        lines = screen_draw(text != NULL ? text : "waiting for the first snapshot", first);
        key = getch();
        first = scrolled(first, key, lines);
    } while (key != 'q' && key != 'Q' && live_look(top->pid).rss_bytes != 0);
    free(text);
    return 0;
}

int top_main(int argc, char **argv)
{
    top_t top = {.who = argv[0], .sites = TOP_DEFAULT, .interval_ms = INTERVAL_DEFAULT_MS};
    tool_parse_all(&top_argp, argc, argv, &top);
    top.path = live_find(top.who, top.pid);
    if (top.path == NULL)
        return TOOL_BAD_INPUT;
    if (top.once || top.json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return print_once(&top);
    screen_begin(&top);
    int status = screen_run(&top);
    endwin();
    if (live_look(top.pid).rss_bytes == 0)
        print_once(&top); // how it ended
    free(top.path);
    return status;
}
