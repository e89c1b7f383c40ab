// tools/recording_reader.c - see recording_reader.h.
#include "recording_reader.h"

#include "memory.h"
#include "strings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// The highest that the option record_max can be: a length beyond is no recording's, and not to be allocated.
#define FILE_BYTES_MAX ((uint64_t)16 << 30)

// The header of the first version ended here; what is behind was added, and is 0 where a recording has it not.
#define HEADER_BYTES_MIN offsetof(recording_header_t, snapshots_cpu_ns)

// All records but texts hold 64-bit words.
#define ALIGNMENT 8u

// The frames of a program that recurses without end, cut: more is damage.
#define DEPTH_MAX 4096u

static const struct {
    const char *name;
    uint32_t row_bytes; // a record is at least as long
} table_kinds[RECORDING_TABLES] = {
    [RECORDING_TEXT] = {"text", 1},
    [RECORDING_MODULES] = {"modules", sizeof(recording_module_t)},
    [RECORDING_THREADS] = {"threads", sizeof(recording_thread_t)},
    [RECORDING_SIZES] = {"sizes", sizeof(recording_size_t)},
    [RECORDING_SNAPSHOTS] = {"snapshots", sizeof(recording_snapshot_t)},
    [RECORDING_SITES] = {"sites", sizeof(recording_site_t)},
    [RECORDING_FRAMES] = {"frames", sizeof(uint64_t)},
    [RECORDING_SAMPLES] = {"samples", sizeof(recording_sample_t)},
};

// --- the file --------------------------------------------------------------------------------------------------------

// All of it or false: errno is 0 where the file ends before.
static bool bytes_read(int file, void *bytes, uint64_t length, uint64_t offset)
{
    char *next = bytes;
    while (length != 0) {
        ssize_t got = pread(file, next, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got == 0 ? 0 : errno;
            return false;
        }
        next += got;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
    return true;
}

static recording_fault_t fault(recording_fault_t kind, char **text, char *message)
{
    *text = message;
    return kind;
}

static recording_fault_t fault_of_read(const char *path, char **text)
{
    return fault(RECORDING_BAD, text,
                 errno == 0 ? memory_format("%s: the recording is cut off", path)
                            : memory_format("cannot read %s: %s", path, strerror(errno)));
}

static recording_fault_t header_check(const recording_header_t *header, const char *path, uint64_t length, char **text)
{
    if (header->major != RECORDING_MAJOR)
        return fault(RECORDING_BAD, text,
                     memory_format("%s is a recording of format %u.%u; this tarn reads format %u", path, header->major,
                                   header->minor, RECORDING_MAJOR));
    if (header->header_bytes < HEADER_BYTES_MIN || header->table_count < RECORDING_TABLES ||
        header->table_count > RECORDING_TABLES_ROOM || header->file_bytes > FILE_BYTES_MAX)
        return fault(RECORDING_BAD, text, memory_format("%s: the recording is damaged: its header", path));
    if (length < header->file_bytes)
        return fault(RECORDING_BAD, text,
                     memory_format("%s: the recording is cut off: %" PRIu64 " of %" PRIu64 " bytes", path, length,
                                   header->file_bytes));
    return RECORDING_GOOD;
}

static uint32_t row_bytes(const recording_header_t *header, recording_table_id_t id)
{
    uint64_t bytes = table_kinds[id].row_bytes;
    if (id == RECORDING_SNAPSHOTS)
        bytes += (uint64_t)header->snapshot_classes * sizeof(recording_class_t) +
                 (uint64_t)header->snapshot_cells * sizeof(recording_cell_t);
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

static bool table_is_good(const recording_header_t *header, recording_table_id_t id)
{
    const recording_table_t *table = &header->tables[id];
    return table->count == 0 ||
           (table->stride >= row_bytes(header, id) && (id == RECORDING_TEXT || table->stride % ALIGNMENT == 0) &&
            table->offset <= header->file_bytes &&
            table->count <= (header->file_bytes - table->offset) / table->stride);
}

static recording_fault_t table_read(recording_t *recording, int file, recording_table_id_t id, char **text)
{
    const recording_table_t *table = &recording->header.tables[id];
    recording_rows_t *rows = &recording->tables[id];
    if (!table_is_good(&recording->header, id))
        return fault(RECORDING_BAD, text,
                     memory_format("%s: the recording is damaged: its table of %s", recording->path,
                                   table_kinds[id].name));
    rows->count = table->count;
    rows->stride = table->stride;
    rows->bytes = memory_get(table->count, table->count != 0 ? table->stride : 1);
    return bytes_read(file, rows->bytes, rows->count * rows->stride, table->offset)
               ? RECORDING_GOOD : fault_of_read(recording->path, text);
}

// --- a file that is being written ------------------------------------------------------------------------------------

// A file is read from front to back, the writer changes what was read already: a second look at the first `seen_bytes` of each
// record tells. What has changed meanwhile counts as empty: its first word, its number, becomes 0.
static void rows_settle(recording_t *recording, int file, recording_table_id_t id, size_t seen_bytes)
{
    recording_rows_t *rows = &recording->tables[id];
    uint64_t length = rows->count * rows->stride;
    char *again = memory_get(length, 1);
    bool readable = bytes_read(file, again, length, recording->header.tables[id].offset);
    for (uint64_t i = 0; i < rows->count; i++) {
        char *row = rows->bytes + i * rows->stride;
        if (!readable || memcmp(row, again + i * rows->stride, seen_bytes) != 0)
            memset(row, 0, sizeof(uint64_t));
    }
    free(again);
}

// A complete snapshot stays as it is until its place is used anew, so all of it is compared; what is known of a sample's page
// changes while it lives.
static void tables_settle(recording_t *recording, int file)
{
    rows_settle(recording, file, RECORDING_SNAPSHOTS, recording->tables[RECORDING_SNAPSHOTS].stride);
    rows_settle(recording, file, RECORDING_SAMPLES, sizeof((recording_sample_t *)0)->birth_number);
}

// A field of /proc/PID/stat, by its number in proc(5); 0: it is not there. They begin behind the last parenthesis, since a program's
// name, the second, can hold any byte.
static uint64_t stat_field(const char *name_end, int number)
{
    const char *field = name_end;
    for (int at = 2; field != NULL && at < number; at++)
        field = strchr(field + 1, ' ');
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

// Whose first thread has ended while others go on is a zombie, too, and that thread counts until the last one has ended.
static bool process_lives(const recording_header_t *header)
{
    char path[40], line[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", header->pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *name_end = strrchr(line, ')');
    if (name_end == NULL || name_end[1] != ' ' || stat_field(name_end, 22) != header->start_ticks)
        return false;
    char state = name_end[2];
    return state != 'X' && (state != 'Z' || stat_field(name_end, 20) > 1);
}

static recording_fault_t contents_read(recording_t *recording, int file, uint64_t length, char **text)
{
    recording_header_t *header = &recording->header;
    if (length < sizeof header->magic || !bytes_read(file, header, sizeof header->magic, 0) ||
        header->magic != RECORDING_MAGIC)
        return fault(RECORDING_FOREIGN, text, memory_format("%s is not a recording of tarn", recording->path));
    if (length < sizeof *header)
        return fault(RECORDING_BAD, text, memory_format("%s: the recording is cut off: %" PRIu64 " bytes", recording->path,
                                                        length));
    if (!bytes_read(file, header, sizeof *header, 0))
        return fault_of_read(recording->path, text);
    recording_fault_t kind = header_check(header, recording->path, length, text);
    recording->running = kind == RECORDING_GOOD && header->end == RECORDING_RUNNING && process_lives(header);
    for (recording_table_id_t id = 0; kind == RECORDING_GOOD && id < RECORDING_TABLES; id++)
        kind = table_read(recording, file, id, text);
    if (kind != RECORDING_GOOD)
        return kind;
    if (header->header_bytes < sizeof *header)
        memset((char *)header + header->header_bytes, 0, sizeof *header - header->header_bytes);
    if (recording->running)
        tables_settle(recording, file);
    return RECORDING_GOOD;
}

recording_fault_t recording_open(recording_t *recording, const char *path, char **fault_text)
{
    struct stat status;
    *recording = (recording_t){.path = strings_keep(path)};
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return fault(RECORDING_BAD, fault_text, memory_format("cannot open %s: %s", path, strerror(errno)));
    recording_fault_t kind = RECORDING_FOREIGN;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
        *fault_text = memory_format("%s is not a recording of tarn", path);
    else
        kind = contents_read(recording, file, (uint64_t)status.st_size, fault_text);
    close(file);
    if (kind != RECORDING_GOOD)
        recording_close(recording);
    return kind;
}

void recording_close(recording_t *recording)
{
    for (recording_table_id_t id = 0; id < RECORDING_TABLES; id++)
        free(recording->tables[id].bytes);
    memset(recording->tables, 0, sizeof recording->tables);
}

// --- records ---------------------------------------------------------------------------------------------------------

const void *recording_row(const recording_t *recording, recording_table_id_t table, uint64_t index)
{
    const recording_rows_t *rows = &recording->tables[table];
    return index < rows->count ? rows->bytes + index * rows->stride : NULL;
}

uint64_t recording_count(const recording_t *recording, recording_table_id_t table)
{
    return recording->tables[table].count;
}

size_t recording_text_bytes(const recording_t *recording, recording_text_t text, const char **bytes)
{
    const recording_rows_t *rows = &recording->tables[RECORDING_TEXT];
    bool inside = rows->stride == 1 && text.offset <= rows->count && text.length <= rows->count - text.offset;
    *bytes = inside ? rows->bytes + text.offset : "";
    return inside ? text.length : 0;
}

const char *recording_text(const recording_t *recording, recording_text_t text)
{
    const char *bytes;
    size_t length = recording_text_bytes(recording, text, &bytes);
    return strings_keep_part(bytes, length);
}

const char *recording_field(const char *field, size_t room)
{
    return strings_keep_part(field, room);
}

static bool snapshot_is_complete(const recording_t *recording, const recording_snapshot_t *snapshot)
{
    return snapshot->number_begin != 0 && snapshot->number_begin == snapshot->number_end &&
           snapshot->class_count <= recording->header.snapshot_classes &&
           snapshot->cell_count <= recording->header.snapshot_cells;
}

static int snapshots_compare(const void *left, const void *right)
{
    const recording_snapshot_t *const *first = left, *const *second = right;
    return ((*first)->number_begin > (*second)->number_begin) - ((*first)->number_begin < (*second)->number_begin);
}

const recording_snapshot_t **recording_snapshots(const recording_t *recording, uint32_t *count)
{
    uint64_t places = recording_count(recording, RECORDING_SNAPSHOTS);
    const recording_snapshot_t **snapshots = memory_get(places, sizeof(recording_snapshot_t *));
    *count = 0;
    for (uint64_t i = 0; i < places; i++) {
        const recording_snapshot_t *snapshot = recording_row(recording, RECORDING_SNAPSHOTS, i);
        if (snapshot_is_complete(recording, snapshot))
            snapshots[(*count)++] = snapshot;
    }
    qsort(snapshots, *count, sizeof(recording_snapshot_t *), snapshots_compare);
    return snapshots;
}

const recording_class_t *recording_classes(const recording_t *recording, const recording_snapshot_t *snapshot,
                                           uint32_t *count)
{
    (void)recording;
    *count = (uint32_t)snapshot->class_count;
    return (const recording_class_t *)(snapshot + 1);
}

const recording_cell_t *recording_cells(const recording_t *recording, const recording_snapshot_t *snapshot,
                                        uint32_t *count)
{
    const recording_class_t *classes = (const recording_class_t *)(snapshot + 1);
    *count = (uint32_t)snapshot->cell_count;
    return (const recording_cell_t *)(classes + recording->header.snapshot_classes);
}

const uint64_t *recording_frames(const recording_t *recording, const recording_site_t *site, uint32_t *count)
{
    const recording_rows_t *rows = &recording->tables[RECORDING_FRAMES];
    bool inside = rows->stride == sizeof(uint64_t) && site->depth <= DEPTH_MAX && site->frames_first <= rows->count &&
                  site->depth <= rows->count - site->frames_first;
    *count = inside ? site->depth : 0;
    return inside ? (const uint64_t *)rows->bytes + site->frames_first : NULL;
}
