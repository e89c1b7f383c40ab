// preload/output.h - the only way out: a write to standard error, as long as it is still what it was at the start.
//
// A program may close descriptor 2 and open something else there: a socket, its database. Nothing of ours may get
// into that, so the file behind the descriptor is remembered and compared before each write. Signal safe.
#ifndef TARN_OUTPUT_H
#define TARN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "../pool/bits.h"
#include "writer.h"

// Remembers what standard error is. Once, at the start.
void output_start(void);

// Whether it was open at the start.
bool output_exists(void);

// exit() has begun. Programs close stderr in exit handlers (to see write errors), which is no wish for silence: from
// here to output_end a second descriptor keeps it open.
RARE void output_keep(void);
RARE void output_end(void);
bool output_is_kept(void);

// One write(2), more only where the kernel takes less. Silent if standard error is not what it was; no signal comes
// of it (SIGPIPE, SIGTTOU, SIGXFSZ).
RARE void output_stderr(const char *text, size_t length);

// The same to any descriptor; 0, or the errno of what came before all was written.
RARE int output_write(int fd, const char *text, size_t length);

// One line, "tarn: " before it and a newline behind it; what is over 1000 bytes is cut.
RARE void output_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
