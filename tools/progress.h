// tools/progress.h - one line on a terminal while something takes long; nothing where stderr is no terminal.
#ifndef TARN_TOOLS_PROGRESS_H
#define TARN_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

// "tarn: looking up names, 37 %": after the first second, a few times a second.
void progress_show(const char *what, uint64_t done, uint64_t of);

// Takes the line away.
void progress_end(void);

// Never a line: for a command that draws the screen itself.
void progress_forbid(void);

#endif
