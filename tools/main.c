// tools/main.c - the tarn command: picks the subcommand.
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct subcommand {
    const char *name;
    const char *full_name; // argv[0] of the subcommand: what its messages begin with
    int (*run)(int argc, char **argv);
} subcommand_t;

static const subcommand_t subcommands[] = {
    {"run", "tarn run", run_main},
    {"report", "tarn report", report_main},
    {"diff", "tarn diff", diff_main},
    {"top", "tarn top", top_main},
    {"compare", "tarn compare", compare_main},
};

enum { SUBCOMMANDS = sizeof subcommands / sizeof subcommands[0] };

// The words of the command line from the subcommand's name on.
typedef struct words {
    int count;
    char **first;
} words_t;

static error_t main_parse(int key, char *argument, struct argp_state *state)
{
    words_t *words = state->input;
    (void)argument;
    switch (key) {
    case ARGP_KEY_INIT:
        return tool_parse_quietly(state);
    case ARGP_KEY_ARGS:
        words->count = state->argc - state->next;
        words->first = state->argv + state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        tool_error("tarn", "which subcommand? (see tarn --help)");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp main_argp = {
    .parser = main_parse,
    .args_doc = "SUBCOMMAND [ARGUMENT...]",
    .doc = "Run programs under tarn, a malloc replacement that says where every resident byte went."
           "\vSubcommands:\n"
           "  run        run a command under libtarn.so\n"
           "  report     what a recording says: where the memory is, and which code holds it\n"
           "  diff       what grew from one recording to another\n"
           "  top        a process that runs with a recording, live\n"
           "  compare    run a command under several allocators, and say which suits it\n"
           "\n"
           "`tarn SUBCOMMAND --help' tells about each of them. The exit status is the subcommand's, "
           "or 2 when the command line is wrong.",
};

static const subcommand_t *subcommand_find(const char *name)
{
    for (int i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(subcommands[i].name, name) == 0)
            return &subcommands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    words_t words = {0, NULL};
    if (argc > 0)
        argv[0] = "tarn";
    argp_program_version = "tarn " TARN_VERSION;
    tool_parse(&main_argp, argc, argv, &words);
    if (words.count == 0) // argc was 0
        return TOOL_BAD_INPUT;
    const subcommand_t *subcommand = subcommand_find(words.first[0]);
    if (subcommand == NULL) {
        tool_error("tarn", "no subcommand '%s' (see tarn --help)", words.first[0]);
        return TOOL_BAD_INPUT;
    }
    words.first[0] = (char *)subcommand->full_name;
    return subcommand->run(words.count, words.first);
}
