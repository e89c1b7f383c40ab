// tools/text.h - what the reports for people share: short names, wrapped lines.
#ifndef TARN_TOOLS_TEXT_H
#define TARN_TOOLS_TEXT_H

#include "profile.h"

#include <stdio.h>

#define TEXT_COLUMNS 110 // what a report is wide at most: a terminal beside something else

// `text` wrapped at spaces into lines of `columns`, each behind `indent` spaces.
void text_wrap(FILE *out, const char *text, int indent, int columns);

// A command as one would type it into a shell, cut to `room` columns. Kept.
const char *text_command(const char *const *words, uint32_t count, size_t room);

// "s", or nothing for one: "1 thread", "2 threads".
const char *text_plural(uint64_t count);

// "function (file:line)" in at most `room` columns: what stands in <> goes first, then the end. Kept.
const char *text_site(const char *site, size_t room);

// The callers of the frame to blame: "< handle (server.c:120) < main (server.c:233)", on at most two lines behind
// `indent` spaces. Nothing when there are none.
void text_callers(FILE *out, const profile_t *profile, const profile_stack_t *stack, int indent);

// The name of a moment: "at exit", "at the last snapshot", "at the peak (9.1 s)"; kept.
const char *text_moment(const profile_t *profile, profile_moment_t moment);

// What only printable characters are left of: names are the program's, a terminal obeys what it is sent. Kept.
const char *text_printable(const char *text);

#endif
