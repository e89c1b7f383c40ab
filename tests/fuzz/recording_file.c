// tests/fuzz/recording_file.c - fuzz target: the input is a recording, read by `tarn report` in one of its forms. It is
// read or refused with one line; what is printed is what its form allows, and the sums in it add up.
//
//   | form, 1 byte | recording |
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "apart.h"
#include "tool.h"

#define PATH_ROOM 64u

// What a sanitizer says is not part of what is printed. Not there without one.
void __sanitizer_set_report_fd(void *file) __attribute__((weak));

static char *const forms[][2] = {
    {"--json", NULL},           {"--top=5", NULL},     {"--folded", "pinned"}, {"--openmetrics", NULL},
    {"--prometheus", NULL},     {"--folded", "live"},  {"--at", "last"},      {"--at", "peak"},
    {"--pprof", "/dev/null"},
};

__attribute__((noreturn)) static void fail(const char *what, const char *detail)
{
    dprintf(STDERR_FILENO, "FAILED: %s: %s\n", what, detail);
    abort();
}

static int memory_file(const char *name, char path[PATH_ROOM])
{
    int file = memfd_create(name, 0);
    if (file < 0)
        fail("memfd_create", strerror(errno));
    snprintf(path, PATH_ROOM, "/proc/self/fd/%d", file);
    return file;
}

static void write_all(int file, const uint8_t *data, size_t size)
{
    while (size != 0) {
        ssize_t written = write(file, data, size);
        if (written <= 0)
            fail("write", strerror(errno));
        data += written;
        size -= (size_t)written;
    }
}

// What has been written to a file, with a 0 behind it.
static char *text_of(int file, size_t *length)
{
    off_t end = lseek(file, 0, SEEK_END);
    char *text = malloc((size_t)end + 1);
    if (text == NULL || pread(file, text, (size_t)end, 0) != end)
        fail("read", strerror(errno));
    text[end] = '\0';
    *length = (size_t)end;
    return text;
}

// --- what is printed -------------------------------------------------------------------------------------------------

// A terminal obeys control characters, and a recording's names are anybody's.
static void plain_verify(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 127)
            fail("a control character is printed", text);
}

static uint64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        fail("not a number", key);
    return (uint64_t)json_integer_value(value);
}

// As docs/statistics.md has them.
static void balance_verify(const json_t *snapshot)
{
    uint64_t parts = number(snapshot, "requested_bytes") + number(snapshot, "rounding_bytes") +
                     number(snapshot, "holes_bytes") + number(snapshot, "tail_bytes") +
                     number(snapshot, "retained_bytes") + number(snapshot, "pending_bytes") +
                     number(snapshot, "metadata_bytes") - number(snapshot, "untouched_bytes");
    if (parts != number(snapshot, "heap_rss_bytes"))
        fail("the parts are not the heap", json_dumps(snapshot, 0));
    if (number(snapshot, "other_rss_bytes") + number(snapshot, "heap_rss_bytes") != number(snapshot, "rss_bytes"))
        fail("heap and rest are not the whole", json_dumps(snapshot, 0));
    if (number(snapshot, "requested_bytes") + number(snapshot, "rounding_bytes") != number(snapshot, "live_bytes"))
        fail("requested and rounding are not live", json_dumps(snapshot, 0));
}

static void json_verify(const char *text, size_t length)
{
    json_error_t error;
    json_t *report = json_loadb(text, length, 0, &error), *snapshot;
    size_t i;
    if (report == NULL)
        fail("no JSON", error.text);
    json_t *snapshots = json_object_get(report, "snapshots");
    if (json_array_size(snapshots) == 0)
        fail("no snapshots", text);
    json_array_foreach(snapshots, i, snapshot) {
        balance_verify(snapshot);
    }
}

// --- the input -------------------------------------------------------------------------------------------------------

static void report_run(const uint8_t *data, size_t size)
{
    char path[PATH_ROOM], out_path[PATH_ROOM], error_path[PATH_ROOM];
    unsigned form = data[0] % (sizeof forms / sizeof forms[0]);
    int file = memory_file("recording", path), out = memory_file("out", out_path);
    int error = memory_file("error", error_path), error_before = dup(STDERR_FILENO);
    size_t length, error_length;
    write_all(file, data + 1, size - 1);
    dup2(out, STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    if (__sanitizer_set_report_fd != NULL)
        __sanitizer_set_report_fd((void *)(intptr_t)error_before);
    char *arguments[] = {"tarn report", forms[form][0], path, forms[form][1], NULL};
    if (forms[form][1] != NULL) {
        arguments[2] = forms[form][1];
        arguments[3] = path;
    }
    int status = report_main(forms[form][1] != NULL ? 4 : 3, arguments);
    fflush(NULL);
    dup2(error_before, STDERR_FILENO);
    char *text = text_of(out, &length), *error_text = text_of(error, &error_length);
    if (status != 0 && status != TOOL_BAD_INPUT)
        fail("an unexpected status", error_text);
    if (status == TOOL_BAD_INPUT && (length != 0 || strchr(error_text, '\n') != error_text + error_length - 1))
        fail("a refusal is not one line", error_text);
    plain_verify(error_text, error_length);
    if (form != 0)
        plain_verify(text, length);
    else if (status == 0)
        json_verify(text, length);
    free(text);
    free(error_text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 1)
        apart_run(report_run, data, size);
    return 0;
}
