// tools/tool.h - what the subcommands of the tarn command share.
//
// A subcommand is one file and one function `int NAME_main(int argc, char **argv)`, entered with argv[0] == "tarn
// NAME"; what it returns is tarn's exit status. Bad input is always one line on stderr and TOOL_BAD_INPUT, never a
// guess.
#ifndef TARN_TOOLS_TOOL_H
#define TARN_TOOLS_TOOL_H

#include <argp.h>

enum {
    TOOL_BAD_INPUT = 2,        // wrong option, value or subcommand, or no libtarn.so where it was said to be
    TOOL_FAILED = 125,         // tarn itself could not go on; 126, 127 and 128+n are the command's, as in the shell
    TOOL_NOT_EXECUTABLE = 126,
    TOOL_NOT_FOUND = 127,
    TOOL_BY_SIGNAL = 128,      // plus the signal's number
};

// One line on stderr: "tarn run: MESSAGE". `who` is argv[0] of the subcommand.
void tool_error(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

// For ARGP_KEY_INIT of every parser: an error is then one line, without argp's second one that points to --help.
error_t tool_parse_quietly(struct argp_state *state);

// Parses the options up to the first other word, or exits with TOOL_BAD_INPUT. A parser that finds fault with a value
// calls tool_error and returns EINVAL.
void tool_parse(const struct argp *argp, int argc, char **argv, void *input);

// The same with options anywhere among the other words.
void tool_parse_all(const struct argp *argp, int argc, char **argv, void *input);

int run_main(int argc, char **argv);
int report_main(int argc, char **argv);
int diff_main(int argc, char **argv);
int top_main(int argc, char **argv);
int compare_main(int argc, char **argv);

#endif
