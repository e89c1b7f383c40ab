// tools/report.c - `tarn report`: what a recording says, as text, JSON, HTML, for pprof, flame graphs and monitoring.
#include "choices.h"
#include "directory.h"
#include "memory.h"
#include "output_file.h"
#include "profile_set.h"
#include "report_folded.h"
#include "report_html.h"
#include "report_json.h"
#include "report_metrics.h"
#include "report_pprof.h"
#include "report_text.h"
#include "text.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OPTION_HTML = 256, // above every character: no short form
    OPTION_PPROF,
    OPTION_FOLDED,
    OPTION_JSON,
    OPTION_OPENMETRICS,
    OPTION_PROMETHEUS,
    OPTION_AT,
};

enum { TOP_DEFAULT = 5 };

// What is printed; the files of --html and --pprof come beside it.
typedef enum report_form {
    FORM_NONE,
    FORM_TEXT,
    FORM_FOLDED,
    FORM_JSON,
    FORM_OPENMETRICS,
    FORM_PROMETHEUS
} report_form_t;

typedef struct report {
    const char *who, *path;
    const char *html, *pprof, *output; // files, or NULL
    const char *metric;                // of FORM_FOLDED
    report_form_t form;
    report_text_options_t text;
} report_t;

static const struct argp_option report_options[] = {
    {"html", OPTION_HTML, "OUT", 0, "Write the report as one HTML page", 0},
    {"pprof", OPTION_PPROF, "OUT.pb.gz", 0, "Write the call stacks for `go tool pprof', Pyroscope and others", 0},
    {"folded", OPTION_FOLDED, "METRIC", 0,
     "Print folded stacks for flame graph tools; METRIC is pinned, rounding, live, requested, live_blocks, allocated, "
     "allocated_blocks, peak_live, peak_rounding, peak_requested, peak_live_blocks or worst_pinned",
     0},
    {"json", OPTION_JSON, NULL, 0, "Print everything as one JSON object", 0},
    {"openmetrics", OPTION_OPENMETRICS, NULL, 0, "Print every snapshot, with its time, as OpenMetrics", 0},
    {"prometheus", OPTION_PROMETHEUS, NULL, 0,
     "Print the last snapshot, without a time, for Prometheus' textfile collector", 0},
    {"output", 'o', "FILE", 0, "Write there what would be printed: whole or not at all", 0},
    {"top", 'n', "N", 0, "Call sites in each table (default 5)", 0},
    {"at", OPTION_AT, "MOMENT", 0,
     "Call sites as of the last snapshot (last) or the peak (peak); default: whichever the "
     "verdict is about; with --pprof the last",
     0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t set_form(report_t *report, report_form_t form)
{
    if (report->form != FORM_NONE && report->form != form) {
        tool_error(report->who, "only one of --folded, --json, --openmetrics and --prometheus can be printed");
        return EINVAL;
    }
    report->form = form;
    return 0;
}

static error_t set_moment(report_t *report, const char *value)
{
    report->text.moment_given = true;
    return choice_moment(report->who, value, &report->text.moment);
}

static error_t set_metric(report_t *report, const char *value)
{
    if (!report_folded_knows(value))
        return choice_refuse(report->who, "--folded", report_folded_names, value);
    report->metric = value;
    return set_form(report, FORM_FOLDED);
}

static error_t set_file(const report_t *report, const char *option, const char **file, const char *value)
{
    if (*value == '\0')
        return choice_refuse(report->who, option, "the name of a file", value);
    *file = value;
    return 0;
}

static error_t report_parse_option(report_t *report, int key, char *value)
{
    switch (key) {
    case OPTION_HTML:
        return set_file(report, "--html", &report->html, value);
    case OPTION_PPROF:
        return set_file(report, "--pprof", &report->pprof, value);
    case 'o':
        return set_file(report, "--output", &report->output, value);
    case OPTION_FOLDED:
        return set_metric(report, value);
    case OPTION_JSON:
        return set_form(report, FORM_JSON);
    case OPTION_OPENMETRICS:
        return set_form(report, FORM_OPENMETRICS);
    case OPTION_PROMETHEUS:
        return set_form(report, FORM_PROMETHEUS);
    case 'n':
        return choice_top(report->who, value, &report->text.top);
    case OPTION_AT:
        return set_moment(report, value);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t report_parse(int key, char *value, struct argp_state *state)
{
    report_t *report = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARG:
        if (report->path != NULL) {
            tool_error(report->who, "one recording or directory at a time, not '%s' as well", value);
            return EINVAL;
        }
        report->path = value;
        return 0;
    case ARGP_KEY_NO_ARGS:
        report->path = directory_latest();
        if (report->path != NULL)
            return 0;
        tool_error(report->who, "which recording? There is none of an earlier `tarn run' (see %s --help)", report->who);
        return EINVAL;
    default:
        return report_parse_option(report, key, value);
    }
}

static const struct argp report_argp = {
    .options = report_options,
    .parser = report_parse,
    .args_doc = "[FILE|DIR]",
    .doc =
        "Say what a recording tells of its process's memory: what is wrong, where every resident byte is, and which "
        "call sites hold it. Of a directory: all its processes in a line each, then the biggest. Without a name: the "
        "directory of the last `tarn run'."
        "\vRecordings are written by `tarn run' and by record=PATH in TARN_OPTIONS; a process may still be running. "
        "Files are replaced whole or left as they were. Exit status: 0; 2 when the command line is wrong, the "
        "recording cannot be read or a file cannot be written.",
};

// --- writing ---------------------------------------------------------------------------------------------------------

static void form_write(FILE *out, const report_t *report, const profile_set_t *set)
{
    switch (report->form) {
    case FORM_FOLDED:
        report_folded(out, set->profiles[0], report->metric);
        break;
    case FORM_OPENMETRICS:
        report_openmetrics(out, set->profiles, set->count, report->text.top);
        break;
    case FORM_PROMETHEUS:
        report_prometheus(out, set->profiles, set->count, report->text.top);
        break;
    default:
        if (set->count > 1)
            report_text_processes(out, set->profiles, set->count);
        report_text(out, set->profiles[0], &report->text);
    }
}

static char *form_text(const report_t *report, const profile_set_t *set, size_t *length)
{
    char *text = NULL;
    if (report->form == FORM_JSON)
        return report_json(set->profiles, set->count, length);
    FILE *out = open_memstream(&text, length);
    if (out == NULL)
        return NULL;
    form_write(out, report, set);
    return fclose(out) == 0 ? text : NULL;
}

static int form_print(const report_t *report, const profile_set_t *set)
{
    size_t length;
    if (report->output == NULL)
        text_fit(STDOUT_FILENO);
    char *text = form_text(report, set, &length);
    if (text == NULL) {
        tool_error(report->who, "out of memory");
        return TOOL_FAILED;
    }
    int status = report->output != NULL ? output_file_write(report->who, report->output, text, length)
                                        : output_print(report->who, text, length);
    free(text);
    return status;
}

static int html_write(const report_t *report, const profile_set_t *set)
{
    size_t length;
    char *json = report_json(set->profiles, set->count, &length);
    int status = report_html_write(report->who, report->html, json, length);
    free(json);
    return status;
}

int report_main(int argc, char **argv)
{
    report_t report = {.who = argv[0], .text.top = TOP_DEFAULT};
    profile_set_t set;
    tool_parse_all(&report_argp, argc, argv, &report);
    if (report.html != NULL && !report_html_built())
        return report_html_write(report.who, report.html, "", 0); // its line, before long work
    int status = profile_set_read(report.who, report.path, &set);
    if (status == 0 && report.html != NULL)
        status = html_write(&report, &set);
    if (status == 0 && report.pprof != NULL)
        status = report_pprof_write(report.who, report.pprof, set.profiles[0], report.text.moment);
    bool printed = report.form != FORM_NONE || (report.html == NULL && report.pprof == NULL) || report.output != NULL;
    return status == 0 && printed ? form_print(&report, &set) : status;
}
