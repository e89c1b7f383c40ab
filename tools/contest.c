// tools/contest.c - all runs of a comparison, in turn: see contest.h.
#include "contest.h"
#include "measure.h"
#include "presence.h"
#include "process_tree.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- one run ---------------------------------------------------------------------------------------------------------

static void progress_show(const contest_t *contest, const char *format, int round, int rounds, const char *name)
{
    if (contest->output_is_shown || !isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr); // to the line's start, and clear it
    if (format != NULL)
        fprintf(stderr, format, round, rounds, name);
    fflush(stderr);
}

static int exec_failed(const contest_t *contest, const comparison_t *comparison, int error)
{
    tool_error(contest->who, "cannot run '%s': %s", comparison->command[0], strerror(error));
    return error == ENOENT ? TOOL_NOT_FOUND : TOOL_NOT_EXECUTABLE;
}

// The base row's failure is everybody's; another row is left out of what follows.
static int run_failed(const contest_t *contest, comparison_t *comparison, row_t *row)
{
    const char *name = row->allocator->name;
    char how[64] = "";
    if (row->status > TOOL_BY_SIGNAL)
        snprintf(how, sizeof how, " (%s)", strsignal(row->status - TOOL_BY_SIGNAL));
    if (row == &comparison->rows[comparison->base]) {
        tool_error(contest->who,
                   "'%s' ended with status %d%s under %s: nothing is compared (--show-output shows what it writes, "
                   "--ignore-failure goes on)",
                   comparison->command[0], row->status, how, name);
        return CONTEST_COMMAND_FAILED;
    }
    comparison_note(comparison, "%s is left out: '%s' ended with status %d%s under it", name, comparison->command[0],
                    row->status, how);
    row->is_out = true;
    return 0;
}

// Runs the command once under the row's allocator. Returns 0, or the status with which tarn is to end.
static int row_run(contest_t *contest, comparison_t *comparison, row_t *row, const observer_t *observer,
                   measurement_t *measurement)
{
    command_t command = {.argv = comparison->command,
                         .input = comparison->input,
                         .output_is_shown = contest->output_is_shown,
                         .library = row->library,
                         .observer = observer};
    int stopped = measure_run(&command, measurement);
    if (stopped > 0) {
        progress_show(contest, NULL, 0, 0, NULL);
        tool_error(contest->who, "stopped by a signal (%s); the command has been ended", strsignal(stopped));
        return TOOL_BY_SIGNAL + stopped;
    }
    if (stopped < 0) {
        tool_error(contest->who, "cannot fork: %s", strerror(errno));
        return TOOL_FAILED;
    }
    if (measurement->exec_error != 0)
        return exec_failed(contest, comparison, measurement->exec_error);
    if (measurement->left_behind > contest->left_behind)
        contest->left_behind = measurement->left_behind;
    if (measurement->status == 0)
        return 0;
    if (row->failed++ == 0)
        row->status = measurement->status;
    return contest->failure_is_ignored ? 0 : run_failed(contest, comparison, row);
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

static int presence_judge(const contest_t *contest, comparison_t *comparison, const presence_t *presence)
{
    const char *without = presence_program_without(presence);
    if (presence->library == NULL || without == NULL)
        return 0;
    if (presence_is_nowhere(presence)) {
        tool_error(contest->who, "LD_PRELOAD has no effect on '%s': %s ran without %s", comparison->command[0], without,
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

static int row_warm_up(contest_t *contest, comparison_t *comparison, row_t *row)
{
    static measurement_t measurement;
    static presence_t presence;
    presence = (presence_t){.library = row->library != NULL ? realpath(row->library, NULL) : NULL};
    observer_t observer = {presence_observe, &presence};
    int status = row_run(contest, comparison, row, &observer, &measurement);
    if (status == 0)
        status = presence_judge(contest, comparison, &presence);
    if (status == 0 && system_is_displaced(comparison, row, &presence))
        status = row_run(contest, comparison, row, NULL, &measurement);
    free((char *)presence.library);
    return status;
}

static int warm_up(contest_t *contest, comparison_t *comparison)
{
    int status = 0;
    for (int row = 0; status == 0 && row < comparison->count; row++) {
        progress_show(contest, "warming up %d/%d: %s", row + 1, comparison->count,
                      comparison->rows[row].allocator->name);
        status = row_warm_up(contest, comparison, &comparison->rows[row]);
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

static int round_run(contest_t *contest, comparison_t *comparison, int round, const int *order)
{
    for (int i = 0; i < comparison->count; i++) {
        row_t *row = &comparison->rows[order[i]];
        if (row->is_out)
            continue;
        progress_show(contest, "round %d/%d: %s", round, comparison->runs, row->allocator->name);
        int status = row_run(contest, comparison, row, NULL, &row->runs[row->count]);
        if (status != 0)
            return status;
        row->count++;
    }
    return 0;
}

static int rounds_run(contest_t *contest, comparison_t *comparison)
{
    enum { SEED_OFFSET = 0x2545F491 }; // so that 0 is a seed like any other
    uint64_t state = comparison->seed + SEED_OFFSET;
    int order[ALLOCATORS_MAX];
    int status = 0;
    for (int i = 0; i < 8; i++)
        random_next(&state); // a small seed has few bits at first
    for (int round = 1; status == 0 && round <= comparison->runs; round++) {
        order_draw(order, comparison->count, &state);
        status = round_run(contest, comparison, round, order);
    }
    return status;
}

// --- the whole -------------------------------------------------------------------------------------------------------

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

static void notes_last(const contest_t *contest, comparison_t *comparison)
{
    peaks_note(comparison);
    if (contest->left_behind > 0)
        comparison_note(comparison, "up to %d processes were left when the command had ended: they were ended as well",
                        contest->left_behind);
    for (int i = 0; contest->failure_is_ignored && i < comparison->count; i++) {
        const row_t *row = &comparison->rows[i];
        if (row->failed > 0)
            comparison_note(comparison, "under %s, %d of %d runs ended with another status than 0, the first with %d",
                            row->allocator->name, row->failed, comparison->runs + 1, row->status);
    }
}

int contest_run(contest_t *contest, comparison_t *comparison)
{
    measure_begin();
    notes_first(comparison);
    int status = warm_up(contest, comparison);
    if (status == 0)
        status = rounds_run(contest, comparison);
    progress_show(contest, NULL, 0, 0, NULL);
    measure_end();
    if (status == 0)
        notes_last(contest, comparison);
    return status;
}
