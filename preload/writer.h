// preload/writer.h - text into a fixed buffer, without stdio and without memory of its own.
//
// What does not fit is left out, and `truncated` says so; the text is terminated from the first call on. Signal safe.
#ifndef TARN_WRITER_H
#define TARN_WRITER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "../pool/bits.h"

typedef struct writer {
    char *buffer;
    size_t capacity; // of buffer, with the terminating 0
    size_t length;   // of the text so far; < capacity
    bool truncated;
} writer_t;

#define WRITER(array) ((writer_t){.buffer = (array), .capacity = sizeof(array)})

RARE void writer_bytes(writer_t *writer, const char *bytes, size_t length);
RARE void writer_text(writer_t *writer, const char *text);

// As printf, for %s %.*s %c %d %u %x %p %%, with l and z, a width, - and ' (thousands get a comma, in every locale).
RARE void writer_format(writer_t *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
RARE void writer_format_list(writer_t *writer, const char *format, va_list values) __attribute__((format(printf, 2, 0)));

#endif
