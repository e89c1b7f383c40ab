// tools/tool.c - see tool.h.
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void tool_error(const char *who, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", who);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

// getopt's own message goes straight to stderr and stays; what argp would add goes to err_stream.
error_t tool_parse_quietly(struct argp_state *state)
{
    state->err_stream = NULL;
    return 0;
}

void tool_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    if (argp_parse(argp, argc, argv, ARGP_IN_ORDER, NULL, input) != 0)
        exit(TOOL_BAD_INPUT);
}

void tool_parse_all(const struct argp *argp, int argc, char **argv, void *input)
{
    if (argp_parse(argp, argc, argv, 0, NULL, input) != 0)
        exit(TOOL_BAD_INPUT);
}
