// tools/text.h - what the reports for people share: short names, wrapped lines.
#ifndef TARN_TOOLS_TEXT_H
#define TARN_TOOLS_TEXT_H

#include "profile.h"

#include <stdio.h>

#define TEXT_COLUMNS 110 // what a report is wide at most: a terminal beside something else
#define TEXT_COLUMNS_LEAST 80 // a narrower terminal breaks its lines

// Makes reports as wide as the terminal that the descriptor `file` is, within these bounds; no terminal: TEXT_COLUMNS.
void text_fit(int file);

// How wide reports are.
int text_columns(void);

// What is left of a line behind `column`, which is less than TEXT_COLUMNS_LEAST.
size_t text_room(int column);

// How many bytes of `text` fit into `room`, whole characters of UTF-8.
size_t text_cut(const char *text, size_t room);

// `text` wrapped at spaces into lines of `width` columns, each behind `indent` spaces.
void text_wrap(FILE *out, const char *text, int indent, int width);

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
