// tools/rollup.c - see rollup.h.
#include "rollup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../preload/recording.h"

enum { SHOWN_MAX = 5 };

typedef struct process {
    char program[64];
    uint32_t pid, end;
    int32_t end_value;
    uint64_t peak_rss_bytes;
} process_t;

typedef struct processes {
    process_t *list;
    int count;
    uint64_t disk_bytes;
} processes_t;

// The highest that any complete snapshot saw.
static uint64_t peak_rss_bytes(const recording_header_t *header, size_t bytes)
{
    const recording_table_t *table = &header->tables[RECORDING_SNAPSHOTS];
    uint64_t peak = 0;
    for (uint64_t i = 0; i < table->count; i++) {
        uint64_t offset = table->offset + i * table->stride;
        const recording_snapshot_t *snapshot = (const void *)((const char *)header + offset);
        if (table->stride < sizeof *snapshot || offset > bytes || bytes - offset < sizeof *snapshot)
            return peak;
        if (snapshot->number_end != 0 && snapshot->number_end == snapshot->number_begin &&
            snapshot->peak_rss_bytes > peak)
            peak = snapshot->peak_rss_bytes;
    }
    return peak;
}

static int is_recording(const recording_header_t *header, uint64_t since_ns)
{
    return header->magic == RECORDING_MAGIC && header->major == RECORDING_MAJOR &&
           header->start_realtime_ns >= since_ns;
}

static void process_read(processes_t *processes, const recording_header_t *header, size_t bytes)
{
    process_t *longer = realloc(processes->list, (size_t)(processes->count + 1) * sizeof *longer);
    if (longer == NULL)
        return;
    processes->list = longer;
    process_t *process = &longer[processes->count++];
    memcpy(process->program, header->program, sizeof process->program);
    process->program[sizeof process->program - 1] = '\0';
    process->pid = header->pid;
    process->end = header->end;
    process->end_value = header->end_value;
    process->peak_rss_bytes = peak_rss_bytes(header, bytes);
}

static void file_read(processes_t *processes, int fd, uint64_t since_ns)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || (size_t)status.st_size < sizeof(recording_header_t))
        return;
    size_t bytes = (size_t)status.st_size;
    const recording_header_t *header = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (header == MAP_FAILED)
        return;
    if (is_recording(header, since_ns)) {
        process_read(processes, header, bytes);
        processes->disk_bytes += (uint64_t)status.st_blocks * 512;
    }
    munmap((void *)header, bytes);
}

static void directory_read(processes_t *processes, const char *directory, uint64_t since_ns)
{
    DIR *files = opendir(directory);
    if (files == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(files)) != NULL;) {
        int fd = openat(dirfd(files), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0) {
            file_read(processes, fd, since_ns);
            close(fd);
        }
    }
    closedir(files);
}

static int larger_first(const void *a, const void *b)
{
    const process_t *one = a, *other = b;
    return (one->peak_rss_bytes < other->peak_rss_bytes) - (one->peak_rss_bytes > other->peak_rss_bytes);
}

static void end_print(const process_t *process)
{
    const char *signal = process->end == RECORDING_SIGNAL ? sigabbrev_np(process->end_value) : NULL;
    if (process->end == RECORDING_RUNNING)
        fputs("no end: killed, or still running", stderr);
    else if (signal != NULL)
        fprintf(stderr, "SIG%s", signal);
    else
        fprintf(stderr, process->end == RECORDING_SIGNAL ? "signal %d" : "exit status %d", process->end_value);
}

static void process_print(const process_t *process)
{
    fprintf(stderr, "  peak %8.1f MiB  %s (pid %u), ", (double)process->peak_rss_bytes / (1 << 20), process->program,
            process->pid);
    end_print(process);
    fputc('\n', stderr);
}

int rollup_print(const char *directory, uint64_t since_ns)
{
    processes_t processes = {0};
    directory_read(&processes, directory, since_ns);
    if (processes.count > 0) {
        fprintf(stderr, "tarn: %d process%s recorded in %s (%.1f MiB)\n", processes.count,
                processes.count == 1 ? "" : "es", directory, (double)processes.disk_bytes / (1 << 20));
        qsort(processes.list, (size_t)processes.count, sizeof *processes.list, larger_first);
    }
    for (int i = 0; processes.count > 1 && i < processes.count && i < SHOWN_MAX; i++)
        process_print(&processes.list[i]);
    if (processes.count > SHOWN_MAX)
        fprintf(stderr, "  and %d more\n", processes.count - SHOWN_MAX);
    free(processes.list);
    return processes.count;
}
