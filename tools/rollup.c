// tools/rollup.c - see rollup.h.
#include "rollup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/recording.h"
#include "successor.h"

enum { SHOWN_MAX = 5 };

typedef struct process {
    recording_header_t header;
    uint64_t peak_rss_bytes;
} process_t;

typedef struct processes {
    process_t *list;
    int count;
    uint64_t disk_bytes;
    pid_t command; // the command's own process, and how it ended
    int status;
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
    process->header = *header;
    process->header.program[sizeof header->program - 1] = '\0';
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

// What the process became by exec; NULL: nothing that was recorded.
static const recording_header_t *successor_of(const processes_t *processes, const recording_header_t *header)
{
    const recording_header_t *next = NULL;
    for (int i = 0; i < processes->count; i++) {
        const recording_header_t *one = &processes->list[i].header;
        if (successor_is(header, one) && (next == NULL || one->start_realtime_ns < next->start_realtime_ns))
            next = one;
    }
    return next;
}

static void signal_print(int number)
{
    const char *name = sigabbrev_np(number);
    if (name != NULL)
        fprintf(stderr, "SIG%s", name);
    else
        fprintf(stderr, "signal %d", number);
}

// SIGKILL leaves no word, and an exec of a program that is not recorded none either. Of the command itself it is known
// how it ended, of what it started it is not.
static void silence_print(const processes_t *processes, const recording_header_t *header)
{
    if ((pid_t)header->pid != processes->command)
        fputs("no end: killed, still running, or went on as what is not recorded (exec)", stderr);
    else if (WIFSIGNALED(processes->status))
        signal_print(WTERMSIG(processes->status));
    else
        fprintf(stderr, "exit status %d, not recorded: it went on as another program (exec), or ended past the C "
                "library", WEXITSTATUS(processes->status));
}

static void end_print(const processes_t *processes, const recording_header_t *header)
{
    const recording_header_t *next = header->end == RECORDING_RUNNING ? successor_of(processes, header) : NULL;
    if (next != NULL)
        fprintf(stderr, "went on as %s (exec)", next->program);
    else if (header->end == RECORDING_RUNNING)
        silence_print(processes, header);
    else if (header->end == RECORDING_SIGNAL)
        signal_print(header->end_value);
    else
        fprintf(stderr, "exit status %d", header->end_value);
}

static void process_print(const processes_t *processes, const process_t *process)
{
    fprintf(stderr, "  peak %8.1f MiB  %s (pid %u), ", (double)process->peak_rss_bytes / (1 << 20),
            process->header.program, process->header.pid);
    end_print(processes, &process->header);
    fputc('\n', stderr);
}

// A process that called exec has several recordings.
static int processes_count(const processes_t *processes)
{
    int count = 0;
    for (int i = 0; i < processes->count; i++)
        count += successor_of(processes, &processes->list[i].header) == NULL;
    return count;
}

// One alone is shown where its end is not what everybody sees.
static bool is_shown(const processes_t *processes)
{
    return processes->count > 1 || processes->list[0].header.end == RECORDING_RUNNING;
}

int rollup_print(const char *directory, uint64_t since_ns, pid_t pid, int status)
{
    processes_t processes = {.command = pid, .status = status};
    directory_read(&processes, directory, since_ns);
    if (processes.count > 0) {
        int count = processes_count(&processes);
        fprintf(stderr, "tarn: %d process%s recorded in %s (%.1f MiB)\n", count, count == 1 ? "" : "es", directory,
                (double)processes.disk_bytes / (1 << 20));
        qsort(processes.list, (size_t)processes.count, sizeof *processes.list, larger_first);
    }
    for (int i = 0; i < processes.count && is_shown(&processes) && i < SHOWN_MAX; i++)
        process_print(&processes, &processes.list[i]);
    if (processes.count > SHOWN_MAX)
        fprintf(stderr, "  and %d more\n", processes.count - SHOWN_MAX);
    free(processes.list);
    return processes.count;
}
