// preload/writer.c - see writer.h.
#include "writer.h"

#include <stdint.h>

#include "text.h"

#define DIGITS_MAX 32 // 20 digits of 2^64 and 6 commas, or "0x" and 16

// One conversion of a format: %['-][width][.precision][l|z]type
typedef struct conversion {
    bool grouped, left;
    unsigned width;
    int precision; // -1: none
    bool is_long;  // l or z: 64 bits on every machine this is built for
    char type;
} conversion_t;

void writer_bytes(writer_t *writer, const char *bytes, size_t length)
{
    size_t room = writer->capacity - writer->length - 1;
    if (length > room) {
        writer->truncated = true;
        length = room;
    }
    text_copy(writer->buffer + writer->length, bytes, length);
    writer->length += length;
    writer->buffer[writer->length] = '\0';
}

void writer_text(writer_t *writer, const char *text)
{
    writer_bytes(writer, text, text_length(text));
}

static void writer_spaces(writer_t *writer, size_t count)
{
    while (count-- > 0)
        writer_bytes(writer, " ", 1);
}

static void writer_field(writer_t *writer, const conversion_t *conversion, const char *text, size_t length)
{
    size_t padding = conversion->width > length ? conversion->width - length : 0;
    if (!conversion->left)
        writer_spaces(writer, padding);
    writer_bytes(writer, text, length);
    if (conversion->left)
        writer_spaces(writer, padding);
}

// Digits are made from the last to the first: `end` is behind the buffer. Returns the first.
static char *digits_decimal(char *end, uint64_t value, bool grouped)
{
    unsigned count = 0;
    do {
        if (grouped && count != 0 && count % 3 == 0)
            *--end = ',';
        *--end = (char)('0' + value % 10);
        value /= 10;
        count++;
    } while (value != 0);
    return end;
}

static char *digits_hex(char *end, uint64_t value)
{
    do {
        *--end = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    return end;
}

static void writer_number(writer_t *writer, const conversion_t *conversion, uint64_t value)
{
    char digits[DIGITS_MAX], *end = digits + DIGITS_MAX, *first;
    bool negative = conversion->type == 'd' && (int64_t)value < 0;
    if (conversion->type == 'x' || conversion->type == 'p')
        first = digits_hex(end, value);
    else
        first = digits_decimal(end, negative ? -value : value, conversion->grouped);
    if (negative)
        *--first = '-';
    if (conversion->type == 'p') {
        *--first = 'x';
        *--first = '0';
    }
    writer_field(writer, conversion, first, (size_t)(end - first));
}

static uint64_t value_take(const conversion_t *conversion, va_list *values)
{
    if (conversion->type == 'p')
        return (uintptr_t)va_arg(*values, void *);
    if (conversion->type == 'd')
        return conversion->is_long ? (uint64_t)va_arg(*values, long) : (uint64_t)va_arg(*values, int);
    return conversion->is_long ? va_arg(*values, unsigned long) : va_arg(*values, unsigned);
}

static unsigned width_parse(const char **format, va_list *values)
{
    unsigned width = 0;
    if (**format == '*') {
        (*format)++;
        return (unsigned)va_arg(*values, int);
    }
    for (; **format >= '0' && **format <= '9'; (*format)++)
        width = width * 10 + (unsigned)(**format - '0');
    return width;
}

// *format stands behind the %, and is left behind the conversion.
static conversion_t conversion_parse(const char **format, va_list *values)
{
    conversion_t conversion = {.precision = -1};
    for (; **format == '\'' || **format == '-'; (*format)++) {
        conversion.grouped |= **format == '\'';
        conversion.left |= **format == '-';
    }
    conversion.width = width_parse(format, values);
    if (**format == '.') {
        (*format)++;
        conversion.precision = (int)width_parse(format, values);
    }
    for (; **format == 'l' || **format == 'z'; (*format)++)
        conversion.is_long = true;
    conversion.type = *(*format)++;
    return conversion;
}

static void writer_conversion(writer_t *writer, const conversion_t *conversion, va_list *values)
{
    if (conversion->type == 's') {
        const char *text = va_arg(*values, const char *);
        size_t length = conversion->precision >= 0 ? text_length_within(text, (size_t)conversion->precision) : text_length(text);
        writer_field(writer, conversion, text, length);
    } else if (conversion->type == 'c') {
        char letter = (char)va_arg(*values, int);
        writer_field(writer, conversion, &letter, 1);
    } else if (conversion->type == '%') {
        writer_bytes(writer, "%", 1);
    } else {
        writer_number(writer, conversion, value_take(conversion, values));
    }
}

void writer_format_list(writer_t *writer, const char *format, va_list list)
{
    va_list values; // a copy, for its address may be passed on; a parameter's may not
    va_copy(values, list);
    while (*format != '\0') {
        const char *percent = text_find(format, '%');
        writer_bytes(writer, format, (size_t)(percent - format));
        if (*percent == '\0')
            break;
        format = percent + 1;
        conversion_t conversion = conversion_parse(&format, &values);
        writer_conversion(writer, &conversion, &values);
    }
    va_end(values);
}

void writer_format(writer_t *writer, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    writer_format_list(writer, format, values);
    va_end(values);
}
