// preload/recorder_file.c - see recorder_file.h.
#include "recorder_file.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../pool/survey.h"
#include "kernel.h"
#include "options.h"
#include "path.h"
#include "process.h"

#define OWNER_ONLY (S_IRUSR | S_IWUSR)
#define NAMES_TRIED 100        // a process may exec as often and keep its id
#define PART_BYTES ((size_t)4096) // tables begin at multiples
#define STEP_BYTES PART_BYTES // a table grows so: each page of a file on a disk costs 6.5 us, and the system call 0.3
#define START_BYTES (2 * PART_BYTES) // the header and the text's first page, which any recording fills: with one system call
#define BYTES_MIN ((size_t)1 << 20)
#define BYTES_WITHOUT_POPULATE ((size_t)4 << 20) // allocated whole, so less

// Of what the small tables leave: half for samples, and so on.
#define SNAPSHOTS_SHIFT 2
#define SITES_SHIFT 3
#define FRAMES_SHIFT 3
#define SAMPLES_SHIFT 1

#define TEXT_BYTES ((size_t)64 << 10)
#define MODULES_MAX 1024u
#define THREADS_MAX 256u
#define SNAPSHOTS_MAX 256u
#define SNAPSHOTS_WANTED 64u // rather fewer cells of the heap map than fewer snapshots
#define CELLS_MAX 4096u
#define CELLS_MIN 128u

recording_header_t *recorder_header;

static char path[PATH_MAX];
static size_t file_bytes;
static bool can_populate;
static bool disk_full;
static size_t ready_bytes[RECORDING_TABLES]; // of each table, from its start

const char *recorder_file_path(void)
{
    return path;
}

// --- the file --------------------------------------------------------------------------------------------------------

// A recording of ours, of a process that has ended or is no more.
static bool is_replaceable(void)
{
    recording_header_t header;
    struct stat status;
    int fd = kernel_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool ours = kernel_file(fd, &status) && S_ISREG(status.st_mode) && status.st_uid == kernel_geteuid() &&
                kernel_read(fd, &header, sizeof header) == (ssize_t)sizeof header && header.magic == RECORDING_MAGIC;
    kernel_close(fd);
    bool ended = header.end != RECORDING_RUNNING || (pid_t)header.pid == process.pid; // this one has called exec
    return ours && (ended || !kernel_process_exists((pid_t)header.pid));
}

static int file_create(void)
{
    int fd = kernel_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, OWNER_ONLY);
    errno = fd < 0 ? -fd : errno;
    return fd;
}

// A process that execs keeps its id: then the name has been taken by itself.
static int file_create_numbered(writer_t *writer)
{
    size_t length = writer->length;
    int fd = file_create();
    for (unsigned i = 2; fd < 0 && errno == EEXIST && i < NAMES_TRIED; i++) {
        writer->length = length;
        writer_format(writer, ".%u", i);
        if (writer->truncated) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = file_create();
    }
    return fd;
}

static int file_create_any(void)
{
    writer_t writer = WRITER(path);
    if (!path_expand(&writer, options.record)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (path_has_pid(options.record))
        return file_create_numbered(&writer);
    int fd = file_create();
    if (fd >= 0 || errno != EEXIST)
        return fd;
    if (!process_is_topmost() || !is_replaceable()) {
        errno = EEXIST;
        return -1;
    }
    kernel_unlink(path);
    return file_create();
}

// As long as it may be: beyond RLIMIT_FSIZE a signal would come.
static size_t bytes_allowed(void)
{
    struct rlimit64 limit;
    size_t most = options.record_max_bytes;
    if (kernel_limit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < most)
        most = limit.rlim_cur;
    return most / PART_BYTES * PART_BYTES;
}

// At the first fault in each part of a file on a disk, the kernel would read megabytes of its holes ahead: 4 ms of
// processor time and 10 ms of waiting for each table, where the fault alone takes 0.05 ms.
static void *map(int fd, size_t bytes)
{
    void *start = ftruncate(fd, (off_t)bytes) != 0
                      ? MAP_FAILED
                      : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (start == MAP_FAILED)
        return NULL;
    madvise(start, bytes, MADV_RANDOM);
    return start;
}

// Halved while there are too few addresses (RLIMIT_AS).
static void *map_most(int fd)
{
    void *start = NULL;
    errno = EFBIG;
    size_t bytes = bytes_allowed();
    for (; start == NULL && bytes >= BYTES_MIN; bytes = bytes / 2 / PART_BYTES * PART_BYTES) {
        start = map(fd, bytes);
        file_bytes = bytes;
        if (start == NULL && errno != ENOMEM)
            return NULL;
    }
    return start;
}

// An old kernel: every block now.
static void *map_allocated(int fd, void *start)
{
    size_t bytes = file_bytes < BYTES_WITHOUT_POPULATE ? file_bytes : BYTES_WITHOUT_POPULATE;
    munmap(start, file_bytes);
    file_bytes = bytes;
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    if (error != 0) {
        errno = error;
        return NULL;
    }
    return map(fd, bytes);
}

static void *map_with_header(int fd)
{
    void *start = map_most(fd);
    if (start == NULL)
        return NULL;
    can_populate = true;
    disk_full = false;
    if (recorder_populate(start, START_BYTES))
        return start;
    if (errno == EINVAL) {
        can_populate = false;
        return map_allocated(fd, start);
    }
    munmap(start, file_bytes);
    errno = ENOSPC;
    return NULL;
}

// --- the layout ------------------------------------------------------------------------------------------------------

static size_t table_place(recording_header_t *header, recording_table_id_t id, size_t offset, size_t stride,
                          uint64_t capacity)
{
    header->tables[id] = (recording_table_t){.offset = offset, .capacity = capacity, .stride = (uint32_t)stride};
    return (offset + stride * capacity + PART_BYTES - 1) / PART_BYTES * PART_BYTES;
}

static size_t snapshot_stride(size_t cells)
{
    size_t bytes = sizeof(recording_snapshot_t) + SURVEY_CLASSES_MAX * sizeof(recording_class_t) +
                   cells * sizeof(recording_cell_t);
    return (bytes + PART_BYTES - 1) / PART_BYTES * PART_BYTES;
}

static void layout(recording_header_t *header)
{
    size_t at = PART_BYTES, cells = CELLS_MAX;
    at = table_place(header, RECORDING_TEXT, at, 1, TEXT_BYTES);
    at = table_place(header, RECORDING_MODULES, at, sizeof(recording_module_t), MODULES_MAX);
    at = table_place(header, RECORDING_THREADS, at, sizeof(recording_thread_t), THREADS_MAX);
    at = table_place(header, RECORDING_SIZES, at, sizeof(recording_size_t), RECORDING_SIZES_MAX);
    size_t rest = file_bytes - at - RECORDING_TABLES * PART_BYTES, share = rest >> SNAPSHOTS_SHIFT;
    while (cells > CELLS_MIN && share / snapshot_stride(cells) < SNAPSHOTS_WANTED)
        cells /= 2;
    size_t snapshots = share / snapshot_stride(cells);
    snapshots = snapshots < SNAPSHOTS_MAX ? snapshots : SNAPSHOTS_MAX;
    at = table_place(header, RECORDING_SNAPSHOTS, at, snapshot_stride(cells), snapshots);
    at = table_place(header, RECORDING_SITES, at, sizeof(recording_site_t),
                     (rest >> SITES_SHIFT) / sizeof(recording_site_t));
    at = table_place(header, RECORDING_FRAMES, at, sizeof(uint64_t), (rest >> FRAMES_SHIFT) / sizeof(uint64_t));
    table_place(header, RECORDING_SAMPLES, at, sizeof(recording_sample_t),
                (rest >> SAMPLES_SHIFT) / sizeof(recording_sample_t));
    header->snapshot_classes = SURVEY_CLASSES_MAX;
    header->snapshot_cells = (uint32_t)cells;
    header->table_count = RECORDING_TABLES;
    header->file_bytes = file_bytes;
}

bool recorder_file_open(void)
{
    int fd = file_create_any();
    if (fd < 0)
        return false;
    recording_header_t *header = map_with_header(fd);
    int error = errno;
    kernel_close(fd);
    if (header == NULL) {
        kernel_unlink(path);
        errno = error;
        return false;
    }
    madvise(header, file_bytes, MADV_DONTDUMP); // the core file is the program's
    memset(ready_bytes, 0, sizeof ready_bytes);
    layout(header);
    ready_bytes[RECORDING_TEXT] = START_BYTES - header->tables[RECORDING_TEXT].offset;
    recorder_header = header;
    return true;
}

void recorder_file_close(void)
{
    if (recorder_header != NULL)
        munmap(recorder_header, file_bytes);
    recorder_header = NULL;
}

void recorder_file_discard(void)
{
    recorder_file_close();
    kernel_unlink(path);
}

// --- growth ----------------------------------------------------------------------------------------------------------

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

bool recorder_populate(const void *start, size_t bytes)
{
    uintptr_t os_page = (uintptr_t)getpagesize(), from = (uintptr_t)start / os_page * os_page;
    size_t length = ((uintptr_t)start + bytes - from + os_page - 1) / os_page * os_page;
    if (!can_populate)
        return true;
    if (disk_full)
        return false;
    int result;
    do
        result = kernel_madvise(from, length, MADV_POPULATE_WRITE);
    while (result == -EINTR);
    if (result != 0 && result != -EINVAL) {
        disk_full = true;
        if (recorder_header != NULL)
            recorder_header->flags |= RECORDING_FULL_DISK;
    }
    return result == 0;
}

bool recorder_reserve(recording_table_id_t id, uint64_t count)
{
    recording_table_t *table = &recorder_header->tables[id];
    size_t wanted = count * table->stride, all = table->capacity * table->stride;
    if (wanted <= ready_bytes[id])
        return true;
    if (count > table->capacity)
        return false;
    size_t end = (wanted + STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
    end = end < all ? end : all;
    if (!recorder_populate((char *)recorder_header + table->offset + ready_bytes[id], end - ready_bytes[id]))
        return false;
    ready_bytes[id] = end;
    return true;
}

recording_text_t recorder_text(const char *text, size_t length)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_TEXT];
    uint64_t start = table->count;
    if (length > table->capacity - start || !recorder_reserve(RECORDING_TEXT, start + length)) {
        recorder_header->flags |= RECORDING_FULL_TEXT;
        return (recording_text_t){0, 0};
    }
    memcpy(recorder_record(RECORDING_TEXT, start), text, length);
    __atomic_store_n(&table->count, start + length, __ATOMIC_RELEASE);
    return (recording_text_t){(uint32_t)start, (uint32_t)length};
}
