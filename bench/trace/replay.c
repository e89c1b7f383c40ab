// trace/replay.c - `replay TRACE`: makes a trace's calls again, and says how much stays resident for what lives.
//
// The same calls in the same order by as many threads, whatever malloc is underneath. Each thread reads the events that
// are its own and hands over when the next is another's, so that only one runs at a time. A block is touched when it is
// made, in each OS page, and what a realloc adds likewise: what lives is then what must be resident, and the rest is
// the allocator's.
//
// Every SAMPLES-th part of the events, its anonymous resident memory is read, less the replayer's own tables:
//
//   fragmentation_percent  the sum of these over the sum of what lived: 100 would be nothing lost
//   rss_mean_bytes         their mean
//   rss_end_bytes          the last
//   live_bytes             what lived then
//   busy_ns                from the first event to the last
//   checksum               the marks read from all blocks before they were freed or moved
//
// A mark stands at the start of each block that has room for it: of its slot, so that a block that was given out twice,
// or that lost its content in a realloc, is noticed.
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../bench.h"
#include "trace.h"

enum {
    SAMPLES = 400,
    READ_BYTES = 64 * KIB,
    STATM_BYTES = 128,
};

typedef struct block {
    void *start;
    size_t size;
} block_t;

typedef struct worker {
    sem_t turn;
    bool is_started;
} worker_t;

static struct {
    int file;
    trace_t trace;
    unsigned char *buffer; // mapped
    size_t at, length;     // of what is in it
    block_t *blocks;       // [slots], mapped
    worker_t *workers;     // [threads], mapped
    uint64_t event, begin_ns;
    uint64_t live_bytes, checksum;
    size_t own_bytes; // the mapped tables, all touched
    double resident_sum, live_sum;
    uint64_t samples;
    size_t resident_last;
} replay;

// --- the events ----------------------------------------------------------------------------------------------------

static bool buffer_fill(void)
{
    ssize_t length = read(replay.file, replay.buffer, READ_BYTES);
    replay.at = 0;
    replay.length = length > 0 ? (size_t)length : 0;
    return length > 0;
}

static unsigned byte_read(void)
{
    if (replay.at == replay.length && !buffer_fill()) {
        fail("the trace ends too soon");
    }
    return replay.buffer[replay.at++];
}

static uint64_t number_read(void)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned byte = byte_read();
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return number;
        }
    }
    fail("a number in the trace has no end");
}

static block_t *slot_read(void)
{
    uint64_t slot = number_read();
    if (slot >= replay.trace.slots) {
        fail("the trace names a slot that it does not have");
    }
    return &replay.blocks[slot];
}

// --- resident memory -----------------------------------------------------------------------------------------------

// Resident less what files back: the second and third number of statm.
static size_t anonymous_bytes(void)
{
    char text[STATM_BYTES] = {0};
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) {
        fail("cannot read /proc/self/statm");
    }
    close(file);
    char *end;
    strtoull(text, &end, 10);
    unsigned long long resident = strtoull(end, &end, 10);
    unsigned long long shared = strtoull(end, NULL, 10);
    return (size_t)(resident - shared) * OS_PAGE_BYTES;
}

static void sample_take(void)
{
    size_t anonymous = anonymous_bytes();
    replay.resident_last = anonymous > replay.own_bytes ? anonymous - replay.own_bytes : 0;
    replay.resident_sum += (double)replay.resident_last;
    replay.live_sum += (double)replay.live_bytes;
    replay.samples++;
}

// --- blocks --------------------------------------------------------------------------------------------------------

static uint64_t mark_of(const block_t *block)
{
    return (uint64_t)(block - replay.blocks) + 1;
}

static void block_touch(block_t *block, size_t from)
{
    volatile char *bytes = block->start;
    for (size_t offset = (from + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES * OS_PAGE_BYTES; offset < block->size;
         offset += OS_PAGE_BYTES) {
        bytes[offset] = 1;
    }
    if (block->size > 0) {
        bytes[block->size - 1] = 1;
    }
    if (block->size >= MARK_BYTES) {
        block_mark(block->start, mark_of(block));
    }
}

static void block_check(block_t *block)
{
    if (block->size < MARK_BYTES) {
        return;
    }
    if (block_read(block->start) != mark_of(block)) {
        fail("a block has lost its mark: it was given out twice, or a realloc lost its content");
    }
    replay.checksum += mark_of(block);
}

static void block_made(block_t *block, void *start, size_t size)
{
    if (start == NULL) {
        fail("no memory");
    }
    *block = (block_t){start, size};
    replay.live_bytes += size;
    block_touch(block, 0);
}

// Only calls with a power of two and a size that is none of its multiples are posix_memalign's alone: it takes all.
static void *aligned(size_t size, uint64_t logarithm)
{
    void *start = NULL;
    size_t alignment = (size_t)1 << logarithm;
    if (alignment < sizeof(void *)) {
        alignment = sizeof(void *);
    }
    return posix_memalign(&start, alignment, size) == 0 ? start : NULL;
}

static void block_resize(block_t *block, size_t size)
{
    size_t before = block->size;
    block_check(block);
    void *start = realloc(block->start, size);
    if (start == NULL) {
        fail("no memory");
    }
    *block = (block_t){start, size};
    replay.live_bytes += size - before;
    if (before >= MARK_BYTES && size >= MARK_BYTES && block_read(start) != mark_of(block)) {
        fail("a realloc lost a block's content");
    }
    block_touch(block, before);
}

static void block_end(block_t *block)
{
    block_check(block);
    free(block->start);
    replay.live_bytes -= block->size;
    *block = (block_t){NULL, 0};
}

static void event_replay(operation_t operation)
{
    block_t *block = slot_read();
    uint64_t size = operation == OPERATION_FREE ? 0 : number_read();
    switch (operation) {
    case OPERATION_MALLOC:
        block_made(block, malloc(size), size);
        break;
    case OPERATION_CALLOC:
        block_made(block, calloc(1, size), size);
        break;
    case OPERATION_MEMALIGN:
        block_made(block, aligned(size, number_read()), size);
        break;
    case OPERATION_REALLOC:
        block_resize(block, size);
        break;
    default:
        block_end(block);
    }
}

// --- threads -------------------------------------------------------------------------------------------------------

static void *worker_run(void *argument);

// Lets another thread go on, which begins if this is its first event.
static void turn_give(uint64_t thread)
{
    if (thread >= replay.trace.threads) {
        fail("the trace names a thread that it does not have");
    }
    worker_t *worker = &replay.workers[thread];
    if (worker->is_started) {
        sem_post(&worker->turn);
        return;
    }
    worker->is_started = true;
    pthread_detach(thread_start(worker_run, worker));
}

static void turn_await(worker_t *worker)
{
    while (sem_wait(&worker->turn) != 0) {
    }
}

// Whichever thread makes the last call reports; the others may still wait for a turn that never comes.
static _Noreturn void replay_end(void)
{
    uint64_t busy_ns = time_ns() - replay.begin_ns;
    if (replay.samples == 0) {
        sample_take();
    }
    report("busy_ns", busy_ns);
    report("fragmentation_percent",
           replay.live_sum > 0 ? (uint64_t)(100 * replay.resident_sum / replay.live_sum + 0.5) : 0);
    report("rss_mean_bytes", (uint64_t)(replay.resident_sum / (double)replay.samples));
    report("rss_end_bytes", replay.resident_last);
    report("live_bytes", replay.live_bytes);
    report("checksum", replay.checksum);
    _exit(0);
}

static void event_count(void)
{
    uint64_t step = replay.trace.events / SAMPLES + 1;
    if (++replay.event % step == 0) {
        sample_take();
    }
    if (replay.event == replay.trace.events) {
        replay_end();
    }
}

// One thread's own events, to its end; the trace may be over before.
static void events_replay(worker_t *worker)
{
    for (;;) {
        operation_t operation = (operation_t)byte_read();
        if (operation == OPERATION_THREAD) {
            turn_give(number_read());
            turn_await(worker);
            continue;
        }
        if (operation >= OPERATIONS || operation == OPERATION_LEAVE) {
            fail("the trace has an event of no known operation");
        }
        if (operation != OPERATION_END) {
            event_replay(operation);
        }
        event_count();
        if (operation == OPERATION_END) {
            return;
        }
    }
}

static void *worker_run(void *argument)
{
    events_replay(argument);
    if (byte_read() != OPERATION_THREAD) {
        fail("a thread of the trace goes on after its end");
    }
    turn_give(number_read());
    return NULL;
}

// --- the whole -----------------------------------------------------------------------------------------------------

static void trace_open(const char *name)
{
    replay.file = open(name, O_RDONLY | O_CLOEXEC);
    if (replay.file < 0 || read(replay.file, &replay.trace, sizeof replay.trace) != sizeof replay.trace ||
        replay.trace.magic != TRACE_MAGIC) {
        fail("not a trace");
    }
    if (replay.trace.threads > TRACE_THREADS_MAX || replay.trace.events == 0) {
        fail("a trace of nothing, or of too many threads");
    }
}

static void *table_map(size_t count, size_t bytes)
{
    void *table = array_map(count, bytes);
    memset(table, 0, count * bytes); // touched: the same from here to the end
    replay.own_bytes += (count * bytes + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES * OS_PAGE_BYTES;
    return table;
}

static void tables_make(void)
{
    replay.buffer = table_map(READ_BYTES, 1);
    replay.blocks = table_map(replay.trace.slots + 1, sizeof *replay.blocks);
    replay.workers = table_map(replay.trace.threads, sizeof *replay.workers);
    for (uint64_t i = 0; i < replay.trace.threads; i++) {
        sem_init(&replay.workers[i].turn, 0, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fail("usage: replay TRACE");
    }
    trace_open(argv[1]);
    tables_make();
    replay.begin_ns = time_ns();
    replay.workers[0].is_started = true;
    worker_run(&replay.workers[0]);
    pthread_exit(NULL); // the first thread ended before the others
}
