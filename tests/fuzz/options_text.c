// tests/fuzz/options_text.c - fuzz target: the input is the value of TARN_OPTIONS. Whatever it is, each complaint is one
// short printable line, all options stay within their bounds, and four simple options are what a naive reader of the
// same list makes of them.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apart.h"
#include "options.h"
#include "output.h"
#include "writer.h"

#define TEXT_BYTES_MAX 20000u
#define DEFAULT_WASTE 3u

static unsigned lines;

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "FAILED: %s: %s\n", what, text);
    abort();
}

// In place of preload/output.c's.
void output_line(const char *format, ...)
{
    char text[1000];
    writer_t writer = WRITER(text);
    va_list values;
    va_start(values, format);
    writer_format_list(&writer, format, values);
    va_end(values);
    lines++;
    if (writer.length == 0)
        fail("an empty line", format);
    for (const char *letter = text; *letter != '\0'; letter++)
        if ((unsigned char)*letter < ' ' || *letter == 127) // UTF-8 may pass
            fail("a letter that a terminal obeys", text);
}

// --- the naive reader ------------------------------------------------------------------------------------------------

typedef struct expected {
    unsigned waste_percent;
    stats_format_t stats;
    bool abort_on_misuse, requested_exact;
    unsigned items;
} expected_t;

static void item_expect(expected_t *expected, const char *item)
{
    static const struct {
        const char *item;
        stats_format_t stats;
    } formats[] = {{"stats=text", STATS_TEXT}, {"stats=json", STATS_JSON}, {"stats=off", STATS_OFF}};
    expected->items += *item != '\0';
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(item, formats[i].item) == 0)
            expected->stats = formats[i].stats;
    if (strcmp(item, "on_error=abort") == 0 || strcmp(item, "on_error=report") == 0)
        expected->abort_on_misuse = item[9] == 'a';
    if (strcmp(item, "requested=exact") == 0 || strcmp(item, "requested=sampled") == 0)
        expected->requested_exact = item[10] == 'e';
    const char *digits = item + 6;
    if (strncmp(item, "waste=", 6) == 0 && *digits != '\0' && strspn(digits, "0123456789") == strlen(digits) &&
        strtod(digits, NULL) <= 1000)
        expected->waste_percent = (unsigned)strtod(digits, NULL);
}

static expected_t expect(char *list)
{
    expected_t expected = {.waste_percent = DEFAULT_WASTE, .abort_on_misuse = true};
    for (char *item; (item = strsep(&list, ":")) != NULL;)
        item_expect(&expected, item);
    return expected;
}

// --- the input -------------------------------------------------------------------------------------------------------

static bool path_is_good(const char *path)
{
    return path == NULL || (path[0] == '/' && memchr(path, 0, PATH_MAX) != NULL);
}

static void bounds_verify(const char *text)
{
    const char *wrong = options.waste_percent > 1000                        ? "waste"
                        : options.sample_bytes > (size_t)1 << 30            ? "sample"
                        : options.record_max_bytes > (size_t)16 << 30       ? "record_max"
                        : options.record_signal < 0 || options.record_signal > 64 ? "record_signal"
                        : options.stats > STATS_OFF                         ? "stats"
                        : !path_is_good(options.record)                     ? "record"
                        : !path_is_good(options.stats_file)                 ? "stats_file"
                                                                            : NULL;
    if (wrong != NULL)
        fail(wrong, text);
}

static void text_run(const char *text)
{
    static char variable[TEXT_BYTES_MAX + 32], copy[TEXT_BYTES_MAX + 1];
    char *environment[] = {variable, NULL}, **before = environ;
    snprintf(variable, sizeof variable, "TARN_OPTIONS=%s", text);
    memset(&options, 0, sizeof options);
    options.waste_percent = DEFAULT_WASTE;
    options.abort_on_misuse = true;
    lines = 0;
    environ = environment;
    options_complain();
    environ = before;
    expected_t expected = expect(strcpy(copy, text));
    bounds_verify(text);
    if (options.stats != expected.stats || options.abort_on_misuse != expected.abort_on_misuse ||
        options.waste_percent != expected.waste_percent || options.requested_exact != expected.requested_exact)
        fail("not what a naive reader takes it for", text);
    if (lines > expected.items || options.faulty != (lines != 0))
        fail("complaints do not match", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_BYTES_MAX + 1];
    size = size < TEXT_BYTES_MAX ? size : TEXT_BYTES_MAX;
    memcpy(text, data, size);
    text[size] = '\0';
    text_run(text); // to the first 0
    return 0;
}
