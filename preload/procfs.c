// preload/procfs.c - see procfs.h.
#include "procfs.h"

#include <errno.h>
#include <sys/ioctl.h>

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

static void maps_path(writer_t *writer, pid_t pid)
{
    if (pid == 0)
        writer_text(writer, "/proc/self/maps");
    else
        writer_format(writer, "/proc/%d/maps", (int)pid);
}

bool procfs_mappings(pid_t pid, bool (*visit)(const procfs_mapping_t *mapping, void *context), void *context)
{
    char path[64];
    procfs_buffer_t buffer;
    writer_t writer = WRITER(path);
    mapping_visitor_t visitor = {visit, context};
    maps_path(&writer, pid);
    return procfs_lines(path, &buffer, mapping_visit, &visitor);
}

// --- single mappings ---------------------------------------------------------------------------------------------------

// PROCMAP_QUERY of <linux/fs.h>, which is not that new everywhere.
typedef struct query {
    uint64_t bytes, flags, address;                          // asked
    uint64_t start, end, access, page_bytes, offset, inode;  // answered
    uint32_t device_major, device_minor;
    uint32_t name_bytes, build_id_bytes; // there is room for so many; answered: of the name with its 0
    uint64_t name, build_id;             // addresses
} query_t;
_Static_assert(sizeof(query_t) == 104, "the kernel's");

#define QUERY _IOWR('f', 17, query_t)
enum {
    QUERY_READABLE = 1 << 0,
    QUERY_WRITABLE = 1 << 1,
    QUERY_EXECUTABLE = 1 << 2,
    QUERY_SHARED = 1 << 3,
    QUERY_OR_NEXT = 1 << 4, // if none is at the address
    QUERY_OF_FILE = 1 << 5,
};

static procfs_mapping_t mapping_of(const query_t *query)
{
    return (procfs_mapping_t){.start = query->start,
                              .end = query->end,
                              .readable = (query->access & QUERY_READABLE) != 0,
                              .writable = (query->access & QUERY_WRITABLE) != 0,
                              .executable = (query->access & QUERY_EXECUTABLE) != 0,
                              .is_private = (query->access & QUERY_SHARED) == 0,
                              .name = query->name_bytes != 0 ? (const char *)(uintptr_t)query->name : "",
                              .inode = query->inode,
                              .device = (uint64_t)query->device_major << 32 | query->device_minor};
}

static int query_ask(int fd, query_t *query, uint64_t address, const procfs_buffer_t *name)
{
    *query = (query_t){.bytes = sizeof *query,
                       .flags = QUERY_EXECUTABLE | QUERY_OF_FILE | QUERY_OR_NEXT,
                       .address = address,
                       .name = (uintptr_t)name->bytes,
                       .name_bytes = sizeof name->bytes};
    return kernel_ioctl(fd, QUERY, query);
}

// A filter of system calls may end a process for an ioctl, where it let it open and read.
bool procfs_code(pid_t pid, uintptr_t from, bool (*visit)(const procfs_mapping_t *mapping, void *context), void *context)
{
    char path[64];
    procfs_buffer_t name;
    writer_t writer = WRITER(path);
    query_t query = {.end = from};
    bool goes_on = true;
    int result = 0;
    maps_path(&writer, pid);
    int fd = kernel_is_filtered() ? -1 : kernel_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    while (goes_on && (result = query_ask(fd, &query, query.end, &name)) == 0) {
        procfs_mapping_t mapping = mapping_of(&query);
        goes_on = visit(&mapping, context);
    }
    kernel_close(fd);
    return result == 0 || result == -ENOENT;
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

// Files of one line: what is wanted is near its start, so a little of the stack will do.
#define START_BYTES ((size_t)512) // 21 numbers of up to 20 digits, and a name

// "", if it cannot be read.
static void start_read(const char *path, char text[START_BYTES])
{
    int fd = kernel_open(path, O_RDONLY, 0);
    ssize_t length = fd < 0 ? 0 : kernel_read(fd, text, START_BYTES - 1);
    if (fd >= 0)
        kernel_close(fd);
    text[length < 0 ? 0 : length] = '\0';
}

// Field 22 of stat; field 2, the name, stands in parentheses and may hold more of them.
uint64_t procfs_start_ticks(void)
{
    char text[START_BYTES];
    start_read("/proc/self/stat", text);
    const char *field = last_of(text, ')');
    for (int number = 2; field != NULL && number < 22; number++) {
        field = text_find(field, ' ');
        field += *field != '\0';
    }
    return field != NULL ? number_parse(&field, 10) : 0;
}

// In pages: size, resident, ...
uint64_t procfs_rss_quick(void)
{
    char text[START_BYTES];
    start_read("/proc/self/statm", text);
    const char *field = text_skip(text_find(text, ' '), ' ');
    return number_parse(&field, 10) * (uint64_t)getpagesize();
}

uint64_t procfs_rss_bytes(procfs_buffer_t *buffer)
{
    // status reads counters that each processor updates in batches; smaps_rollup walks the page tables and is exact.
    // It cannot be opened in a process that gave up being dumpable: status must do then.
    uint64_t rss_bytes = 0;
    procfs_lines("/proc/self/smaps_rollup", buffer, rollup_visit, &rss_bytes);
    return rss_bytes != 0 ? rss_bytes : procfs_status(buffer).rss_bytes;
}
