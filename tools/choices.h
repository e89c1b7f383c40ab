// tools/choices.h - values of options that subcommands share. Each returns 0, or EINVAL after one line on stderr.
#ifndef TARN_TOOLS_CHOICES_H
#define TARN_TOOLS_CHOICES_H

#include "profile.h"

#include <argp.h>

// "--top is a number from 1 to 1000, not 'x'"
error_t choice_refuse(const char *who, const char *option, const char *accepted, const char *value);

// How many call sites a table has.
error_t choice_top(const char *who, const char *value, unsigned *top);

// last or peak.
error_t choice_moment(const char *who, const char *value, profile_moment_t *moment);

#endif
