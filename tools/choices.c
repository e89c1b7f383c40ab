// tools/choices.c - see choices.h.
#include "choices.h"

#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOP_MAX 1000 // more is no table for people

error_t choice_refuse(const char *who, const char *option, const char *accepted, const char *value)
{
    tool_error(who, "%s is %s, not '%s'", option, accepted, value);
    return EINVAL;
}

error_t choice_top(const char *who, const char *value, unsigned *top)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || number == 0 || number > TOP_MAX)
        return choice_refuse(who, "--top", "a number from 1 to 1000", value);
    *top = (unsigned)number;
    return 0;
}

error_t choice_moment(const char *who, const char *value, profile_moment_t *moment)
{
    if (strcmp(value, "last") != 0 && strcmp(value, "peak") != 0)
        return choice_refuse(who, "--at", "last or peak", value);
    *moment = *value == 'p' ? MOMENT_PEAK : MOMENT_LAST;
    return 0;
}
