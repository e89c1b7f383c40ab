// tests/tools/test_recording_reader.c - a recording whose process goes on while it is read. What a writer does between two reads
// of the reader's is done here in the reader's own pread, so that no chance is in it.
#include "../../tools/recording_reader.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SNAPSHOTS_AT = 4096, PLACES = 3, CLASSES = 1 };

typedef struct place {
    recording_snapshot_t snapshot;
    recording_class_t class;
} place_t;

static char path[] = "/tmp/test-recording-reader-XXXXXX";
static int file = -1;
static pid_t process;
static void (*meanwhile)(void); // once, when the snapshots have been read for the first time

ssize_t pread(int from, void *bytes, size_t length, off_t offset)
{
    ssize_t got = syscall(SYS_pread64, from, bytes, length, offset);
    void (*act)(void) = offset == SNAPSHOTS_AT ? meanwhile : NULL;
    if (act != NULL) {
        meanwhile = NULL;
        act();
    }
    return got;
}

static void put(const void *bytes, size_t length, off_t offset)
{
    cr_assert_eq(pwrite(file, bytes, length, offset), (ssize_t)length);
}

static off_t place_at(uint64_t index)
{
    return SNAPSHOTS_AT + (off_t)(index * sizeof(place_t));
}

// From the space before field 3 of /proc/PID/stat on.
static const char *stat_of(pid_t pid)
{
    static char line[1024];
    char name[40];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *stat = fopen(name, "re");
    cr_assert_not_null(stat);
    line[fread(line, 1, sizeof line - 1, stat)] = '\0';
    fclose(stat);
    const char *name_end = strrchr(line, ')');
    cr_assert_not_null(name_end);
    return name_end + 1;
}

static uint64_t start_ticks(pid_t pid)
{
    const char *field = stat_of(pid);
    for (int number = 3; number < 22; number++)
        field = strchr(field + 1, ' ');
    return strtoull(field, NULL, 10);
}

static void *wait_forever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

// Until SIGUSR1 by its first thread, from then on by another alone.
static void live(const sigset_t *signals)
{
    int got;
    pthread_t other;
    if (sigwait(signals, &got) != 0 || pthread_create(&other, NULL, wait_forever, NULL) != 0)
        _exit(1);
    syscall(SYS_exit, 0);
}

// Of a process that lives, with the snapshots 1, 2 and 3.
static void recording_make(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    process = fork();
    if (process == 0)
        live(&signals);
    recording_header_t header = {.magic = RECORDING_MAGIC, .major = RECORDING_MAJOR, .header_bytes = sizeof header,
                                 .file_bytes = SNAPSHOTS_AT + PLACES * sizeof(place_t), .table_count = RECORDING_TABLES,
                                 .snapshot_classes = CLASSES, .pid = (uint32_t)process, .start_ticks = start_ticks(process)};
    header.tables[RECORDING_SNAPSHOTS] = (recording_table_t){.offset = SNAPSHOTS_AT, .count = PLACES, .capacity = PLACES,
                                                             .stride = sizeof(place_t)};
    file = mkstemp(path);
    cr_assert_geq(file, 0);
    put(&header, sizeof header, 0);
    for (uint64_t i = 0; i < PLACES; i++) {
        place_t place = {.snapshot = {.number_begin = i + 1, .number_end = i + 1, .class_count = CLASSES}};
        put(&place, sizeof place, place_at(i));
    }
}

static void process_end(void)
{
    kill(process, SIGKILL);
    waitpid(process, NULL, 0);
}

static void recording_remove(void)
{
    process_end();
    close(file);
    unlink(path);
}

// The writer begins snapshot 4 in the place of 2. Had it done so a moment earlier, between the head and the classes, then the
// reader would have the head of 2 and classes of 4.
static void second_is_begun_anew(void)
{
    uint64_t none = 0, next = PLACES + 1;
    put(&none, sizeof none, place_at(1) + (off_t)offsetof(recording_snapshot_t, number_end));
    put(&next, sizeof next, place_at(1));
}

static void second_is_begun_anew_and_the_process_ends(void)
{
    second_is_begun_anew();
    process_end();
}

// Number 2 was complete when the reader came to its end, and not yet when it read the classes.
static void second_had_other_classes(void)
{
    recording_class_t class = {.live_blocks = 1};
    put(&class, sizeof class, place_at(1) + (off_t)offsetof(place_t, class));
}

// The numbers of the snapshots that are taken for complete, as digits.
static unsigned numbers_read(void (*act)(void), bool *running)
{
    recording_t recording;
    char *fault_text = NULL;
    meanwhile = act;
    cr_assert_eq(recording_open(&recording, path, &fault_text), RECORDING_GOOD, "%s", fault_text);
    cr_assert_null(meanwhile, "the snapshots are not read where this test thinks");
    uint32_t count;
    const recording_snapshot_t **snapshots = recording_snapshots(&recording, &count);
    unsigned digits = 0;
    for (uint32_t i = 0; i < count; i++)
        digits = 10 * digits + (unsigned)snapshots[i]->number_begin;
    *running = recording.running;
    free(snapshots);
    recording_close(&recording);
    return digits;
}

static void nothing(void)
{
}

TestSuite(recording_reader, .init = recording_make, .fini = recording_remove, .timeout = 30);

Test(recording_reader, snapshots_that_nobody_touches_are_complete)
{
    bool running;
    cr_assert_eq(numbers_read(nothing, &running), 123);
    cr_assert(running);
}

Test(recording_reader, one_that_is_begun_anew_meanwhile_is_none)
{
    bool running;
    cr_assert_eq(numbers_read(second_is_begun_anew, &running), 13);
    cr_assert(running);
}

Test(recording_reader, nor_where_the_process_has_ended_before_the_second_look)
{
    bool running;
    cr_assert_eq(numbers_read(second_is_begun_anew_and_the_process_ends, &running), 13);
    cr_assert(running, "it did not end before its header was read");
}

Test(recording_reader, one_that_was_finished_meanwhile_is_none)
{
    bool running;
    cr_assert_eq(numbers_read(second_had_other_classes, &running), 13);
    cr_assert(running);
}

static void signal_until_zombie(int number)
{
    kill(process, number);
    while (stat_of(process)[1] != 'Z')
        usleep(1000);
}

Test(recording_reader, a_process_whose_first_thread_has_ended_goes_on)
{
    bool running;
    signal_until_zombie(SIGUSR1);
    cr_assert_eq(numbers_read(second_is_begun_anew, &running), 13);
    cr_assert(running);
}

Test(recording_reader, a_zombie_without_threads_has_ended)
{
    bool running;
    signal_until_zombie(SIGKILL);
    cr_assert_eq(numbers_read(nothing, &running), 123);
    cr_assert_not(running);
}
