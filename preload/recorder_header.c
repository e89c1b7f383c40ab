// preload/recorder_header.c - see recorder_header.h.
#include "recorder_header.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "options.h"
#include "process.h"
#include "procfs.h"
#include "recorder.h"
#include "recorder_file.h"
#include "recorder_sites.h"
#include "writer.h"

// A clock of samples is no finer than some of them: young is what dies within 16 of their mean distances, 8 MiB by
// default, old what outlives 128, 64 MiB.
#define YOUNG_SAMPLES 16u
#define OLD_SAMPLES 128u

// What is read at the start, one after the other: so one OS page of it becomes resident. One recording begins at a time.
static char words[16384]; // the rest of a longer command line is left out
_Static_assert(sizeof words >= PATH_MAX, "a path fits");

static recording_text_t link_text(const char *link)
{
    ssize_t length = kernel_readlink(link, words, PATH_MAX);
    return length > 0 ? recorder_text(words, (size_t)length) : (recording_text_t){0, 0};
}

static recording_text_t directory_text(void)
{
    long length = kernel_getcwd(words, PATH_MAX); // with its 0
    return length > 1 ? recorder_text(words, (size_t)length - 1) : (recording_text_t){0, 0};
}

static recording_text_t command_line_text(void)
{
    ssize_t length = 0, got = 0;
    int fd = kernel_open("/proc/self/cmdline", O_RDONLY, 0);
    while (fd >= 0 && (got = kernel_read(fd, words + length, sizeof words - (size_t)length)) > 0)
        length += got;
    if (fd >= 0)
        kernel_close(fd);
    if (length == (ssize_t)sizeof words)
        recorder_header->flags |= RECORDING_FULL_TEXT;
    return length > 0 ? recorder_text(words, (size_t)length) : (recording_text_t){0, 0};
}

static void kernel_write_name(void)
{
    struct utsname name;
    writer_t writer = WRITER(recorder_header->kernel);
    if (kernel_system_name(&name))
        writer_format(&writer, "%s %s %s", name.sysname, name.release, name.machine);
}

static void process_write(recording_header_t *header, bool forked)
{
    header->pid = (uint32_t)process.pid;
    header->parent_pid = (uint32_t)kernel_getppid();
    header->forked = forked;
    header->page_bytes = (uint32_t)getpagesize();
    header->start_ticks = procfs_start_ticks();
    header->start_realtime_ns = recorder_clock_ns(CLOCK_REALTIME);
    header->waste_percent = options.waste_percent;
    memcpy(header->program, process.name, sizeof header->program - 1);
    memcpy(header->writer_version, TARN_VERSION, sizeof TARN_VERSION);
    kernel_write_name();
    header->executable = link_text("/proc/self/exe");
    header->command_line = command_line_text();
    header->directory = directory_text();
}

static void profile_write(recording_header_t *header)
{
    header->profile = options.profile;
    header->sample_bytes = header->sample_bytes_now = options.profile ? options.sample_bytes : 0;
    header->young_bytes = options.sample_bytes * YOUNG_SAMPLES;
    header->old_bytes = options.sample_bytes * OLD_SAMPLES;
    header->pinned_worst = 1;
}

// The empty records that index 0 means: holes of the file, until something is counted there.
static void tables_begin(void)
{
    recording_table_t *tables = recorder_header->tables;
    tables[RECORDING_MODULES].count = tables[RECORDING_THREADS].count = 1;
    recorder_sites_start();
}

void recorder_header_write(bool forked)
{
    process_write(recorder_header, forked);
    profile_write(recorder_header);
    tables_begin();
    recorder_header->major = RECORDING_MAJOR;
    recorder_header->minor = RECORDING_MINOR;
    recorder_header->header_bytes = sizeof(recording_header_t);
    __atomic_store_n(&recorder_header->magic, RECORDING_MAGIC, __ATOMIC_RELEASE);
}
