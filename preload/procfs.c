// preload/procfs.c - see procfs.h.
#include "procfs.h"

#include "kernel.h"
#include "text.h"
#include "writer.h"

typedef bool line_visit_t(const char *line, void *context);

// Hands over the complete lines in buffer[0..length) and moves the rest to the front. Returns its length, or -1: stop.
static ssize_t lines_visit(char *buffer, size_t length, line_visit_t *visit, void *context)
{
    char *line = buffer;
    for (size_t line_length; (line_length = text_find_within(line, '\n', length)) < length; length -= line_length + 1) {
        line[line_length] = '\0';
        if (!visit(line, context))
            return -1;
        line += line_length + 1;
    }
    text_copy(buffer, line, length); // from the first byte on, so they may overlap
    return (ssize_t)length;
}

bool procfs_lines(const char *path, procfs_buffer_t *buffer, line_visit_t *visit, void *context)
{
    const size_t room = sizeof buffer->bytes;
    ssize_t rest = 0, got;
    int fd = kernel_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    while (rest >= 0 && (got = kernel_read(fd, buffer->bytes + rest, room - (size_t)rest)) > 0) {
        rest = lines_visit(buffer->bytes, (size_t)(rest + got), visit, context);
        if (rest == (ssize_t)room) { // no newline in all of it
            buffer->bytes[room - 1] = '\n';
            rest = lines_visit(buffer->bytes, room, visit, context);
        }
    }
    kernel_close(fd);
    return true;
}

static uint64_t number_parse(const char **text, unsigned base)
{
    uint64_t value = 0;
    for (;; (*text)++) {
        char letter = **text;
        unsigned digit = letter >= '0' && letter <= '9' ? (unsigned)(letter - '0')
                         : letter >= 'a' && letter <= 'f' ? (unsigned)(letter - 'a') + 10 : base;
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

// 7f12a000-7f12c000 rw-p 00001000 fe:00 1234      /path
static procfs_mapping_t mapping_parse(const char *line)
{
    procfs_mapping_t mapping = {0};
    mapping.start = number_parse(&line, 16);
    line += *line == '-';
    mapping.end = number_parse(&line, 16);
    line += *line == ' ';
    if (text_length_within(line, 4) == 4) {
        mapping.readable = line[0] == 'r';
        mapping.writable = line[1] == 'w';
        mapping.executable = line[2] == 'x';
        mapping.is_private = line[3] == 'p';
    }
    for (int field = 0; field < 4; field++) { // permissions, offset, device, inode
        line = text_skip(text_find(line, ' '), ' ');
    }
    mapping.name = line;
    return mapping;
}

typedef struct mapping_visitor {
    bool (*visit)(const procfs_mapping_t *mapping, void *context);
    void *context;
} mapping_visitor_t;

static RARE bool mapping_visit(const char *line, void *context)
{
    const mapping_visitor_t *visitor = context;
    procfs_mapping_t mapping = mapping_parse(line);
    return visitor->visit(&mapping, visitor->context);
}

bool procfs_mappings(pid_t pid, bool (*visit)(const procfs_mapping_t *mapping, void *context), void *context)
{
    char path[64];
    procfs_buffer_t buffer;
    writer_t writer = WRITER(path);
    mapping_visitor_t visitor = {visit, context};
    if (pid == 0)
        writer_text(&writer, "/proc/self/maps");
    else
        writer_format(&writer, "/proc/%d/maps", (int)pid);
    return procfs_lines(path, &buffer, mapping_visit, &visitor);
}

// "KEY:   1234 kB": true and the number, if line has this key.
static RARE bool field_parse(const char *line, const char *key, uint64_t *value)
{
    if (!text_begins(line, key))
        return false;
    for (line += text_length(key); *line == ' ' || *line == '\t';)
        line++;
    *value = number_parse(&line, 10);
    return true;
}

static RARE bool status_visit(const char *line, void *context)
{
    procfs_status_t *status = context;
    uint64_t value;
    if (field_parse(line, "VmHWM:", &value))
        status->peak_rss_bytes = value * 1024;
    else if (field_parse(line, "VmRSS:", &value))
        status->rss_bytes = value * 1024;
    else if (field_parse(line, "Threads:", &value))
        status->threads = (uint32_t)value;
    return status->threads == 0; // it comes last
}

procfs_status_t procfs_status(procfs_buffer_t *buffer)
{
    procfs_status_t status = {0};
    procfs_lines("/proc/self/status", buffer, status_visit, &status);
    return status;
}

static RARE bool rollup_visit(const char *line, void *context)
{
    uint64_t value;
    if (!field_parse(line, "Rss:", &value))
        return true;
    *(uint64_t *)context = value * 1024;
    return false;
}

static const char *last_of(const char *text, char letter)
{
    const char *last = NULL;
    for (; *text != '\0'; text++)
        last = *text == letter ? text : last;
    return last;
}

// Field 22 of stat; field 2, the name, stands in parentheses and may hold more of them.
static RARE bool stat_visit(const char *line, void *context)
{
    const char *field = last_of(line, ')');
    for (int number = 2; field != NULL && number < 22; number++) {
        field = text_find(field, ' ');
        field += *field != '\0';
    }
    if (field != NULL)
        *(uint64_t *)context = number_parse(&field, 10);
    return false;
}

uint64_t procfs_start_ticks(procfs_buffer_t *buffer)
{
    uint64_t ticks = 0;
    procfs_lines("/proc/self/stat", buffer, stat_visit, &ticks);
    return ticks;
}

// In pages: size, resident, ...
static RARE bool statm_visit(const char *line, void *context)
{
    const char *field = text_skip(text_find(line, ' '), ' ');
    *(uint64_t *)context = number_parse(&field, 10) * (uint64_t)getpagesize();
    return false;
}

uint64_t procfs_rss_quick(procfs_buffer_t *buffer)
{
    uint64_t bytes = 0;
    procfs_lines("/proc/self/statm", buffer, statm_visit, &bytes);
    return bytes;
}

uint64_t procfs_rss_bytes(procfs_buffer_t *buffer)
{
    // status reads counters that each processor updates in batches; smaps_rollup walks the page tables and is exact.
    // It cannot be opened in a process that gave up being dumpable: status must do then.
    uint64_t rss_bytes = 0;
    procfs_lines("/proc/self/smaps_rollup", buffer, rollup_visit, &rss_bytes);
    return rss_bytes != 0 ? rss_bytes : procfs_status(buffer).rss_bytes;
}
