// trace/pack.c - `pack LOG TRACE`: makes a trace of a log (see trace.h) and says what is in it.
//
// Addresses become slots. A hash table from address to slot holds the blocks that live at the entry being read: open
// addressing, linear probing, half full at most; a removed address is closed by moving its followers up.
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace.h"

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, TABLE_FIRST = 1 << 16 };

#define NO_SLOT UINT32_MAX

typedef struct place {
    uint64_t address; // 0: free
    uint32_t slot;
} place_t;

typedef struct table {
    place_t *places;
    size_t capacity; // a power of two
    size_t count;
} table_t;

typedef struct pack {
    table_t live;
    uint64_t *sizes;      // of the block in each slot
    uint32_t *free_slots; // a stack: the last one freed is used first
    size_t free_count;
    size_t slot_capacity;
    uint32_t leaving[TRACE_THREADS_MAX]; // the slot whose realloc each thread is in, or NO_SLOT
    uint64_t ends[TRACE_THREADS_MAX];    // the last entry of each thread that ended, plus one; 0: it did not
    uint32_t thread;                     // whose events are being written
    uint64_t live_bytes;
    uint64_t unknown; // entries about blocks that were there before the log
    trace_t trace;
    FILE *output;
} pack_t;

static _Noreturn void fail(const char *what, const char *name)
{
    fprintf(stderr, "pack: %s: %s\n", name, what);
    exit(STATUS_FAILED);
}

static void *grown(void *old, size_t count, size_t bytes)
{
    void *memory = realloc(old, count * bytes);
    if (memory == NULL) {
        fail("no memory", "slots");
    }
    return memory;
}

// --- addresses to slots --------------------------------------------------------------------------------------------

static size_t place_first(const table_t *table, uint64_t address)
{
    return (address >> 4) * 0x9E3779B97F4A7C15ULL >> 20 & (table->capacity - 1);
}

static place_t *place_find(const table_t *table, uint64_t address)
{
    size_t at = place_first(table, address);
    while (table->places[at].address != 0 && table->places[at].address != address) {
        at = (at + 1) & (table->capacity - 1);
    }
    return &table->places[at];
}

static void table_resize(table_t *table, size_t capacity)
{
    table_t larger = {calloc(capacity, sizeof(place_t)), capacity, table->count};
    if (larger.places == NULL) {
        fail("no memory", "addresses");
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->places[i].address != 0) {
            *place_find(&larger, table->places[i].address) = table->places[i];
        }
    }
    free(table->places);
    *table = larger;
}

static void table_put(table_t *table, uint64_t address, uint32_t slot)
{
    if (table->count * 2 >= table->capacity) {
        table_resize(table, table->capacity * 2);
    }
    *place_find(table, address) = (place_t){address, slot};
    table->count++;
}

// Closes the gap: a follower moves up unless that would bring it before its first place.
static uint32_t table_take(table_t *table, uint64_t address)
{
    size_t mask = table->capacity - 1;
    place_t *found = place_find(table, address);
    if (found->address == 0) {
        return NO_SLOT;
    }
    uint32_t slot = found->slot;
    size_t gap = (size_t)(found - table->places);
    for (size_t at = (gap + 1) & mask; table->places[at].address != 0; at = (at + 1) & mask) {
        size_t first = place_first(table, table->places[at].address);
        if (((at - first) & mask) >= ((at - gap) & mask)) {
            table->places[gap] = table->places[at];
            gap = at;
        }
    }
    table->places[gap].address = 0;
    table->count--;
    return slot;
}

static uint32_t slot_take(pack_t *pack)
{
    if (pack->free_count > 0) {
        return pack->free_slots[--pack->free_count];
    }
    if (pack->trace.slots == pack->slot_capacity) {
        pack->slot_capacity = pack->slot_capacity * 2 + 1024;
        pack->sizes = grown(pack->sizes, pack->slot_capacity, sizeof *pack->sizes);
        pack->free_slots = grown(pack->free_slots, pack->slot_capacity, sizeof *pack->free_slots);
    }
    return (uint32_t)pack->trace.slots++;
}

// --- events --------------------------------------------------------------------------------------------------------

static void number_write(FILE *file, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) {
        putc_unlocked((int)(number & 0x7f) | 0x80, file);
    }
    putc_unlocked((int)number, file);
}

static void event_begin(pack_t *pack, const entry_t *entry, operation_t operation)
{
    if (entry->thread != pack->thread) {
        putc_unlocked(OPERATION_THREAD, pack->output);
        number_write(pack->output, entry->thread);
        pack->thread = entry->thread;
    }
    if (entry->thread >= pack->trace.threads) {
        pack->trace.threads = entry->thread + 1;
    }
    putc_unlocked(operation, pack->output);
    pack->trace.events++;
}

static void live_change(pack_t *pack, uint32_t slot, uint64_t size)
{
    pack->live_bytes += size - pack->sizes[slot];
    pack->sizes[slot] = size;
    if (pack->live_bytes > pack->trace.peak_bytes) {
        pack->trace.peak_bytes = pack->live_bytes;
    }
}

static void allocation_pack(pack_t *pack, const entry_t *entry, operation_t operation)
{
    uint32_t slot = slot_take(pack);
    pack->sizes[slot] = 0;
    table_take(&pack->live, entry->address); // a call that was not seen had freed it
    table_put(&pack->live, entry->address, slot);
    event_begin(pack, entry, operation);
    number_write(pack->output, slot);
    number_write(pack->output, entry->size);
    if (operation == OPERATION_MEMALIGN) {
        number_write(pack->output, entry->alignment);
    }
    live_change(pack, slot, entry->size);
}

static void free_pack(pack_t *pack, const entry_t *entry)
{
    uint32_t slot = table_take(&pack->live, entry->address);
    if (slot == NO_SLOT) {
        pack->unknown++;
        return;
    }
    event_begin(pack, entry, OPERATION_FREE);
    number_write(pack->output, slot);
    live_change(pack, slot, 0);
    pack->free_slots[pack->free_count++] = slot;
}

// A block that was there before the log enters it here, as a fresh one.
static void realloc_pack(pack_t *pack, const entry_t *entry)
{
    uint32_t slot = pack->leaving[entry->thread];
    pack->leaving[entry->thread] = NO_SLOT;
    if (slot == NO_SLOT) {
        pack->unknown++;
        if (entry->size > 0) {
            allocation_pack(pack, entry, OPERATION_MALLOC);
        }
        return;
    }
    table_take(&pack->live, entry->address);
    table_put(&pack->live, entry->address, slot);
    if (entry->size == 0) {
        return; // it failed
    }
    event_begin(pack, entry, OPERATION_REALLOC);
    number_write(pack->output, slot);
    number_write(pack->output, entry->size);
    live_change(pack, slot, entry->size);
}

static void entry_pack(pack_t *pack, const entry_t *entry)
{
    operation_t operation = (operation_t)(entry->operation - 1);
    if (entry->operation == 0 || entry->thread >= TRACE_THREADS_MAX) {
        return; // the program ended between taking and writing it; or one of very many threads
    }
    switch (operation) {
    case OPERATION_MALLOC:
    case OPERATION_CALLOC:
    case OPERATION_MEMALIGN:
        allocation_pack(pack, entry, operation);
        break;
    case OPERATION_FREE:
        free_pack(pack, entry);
        break;
    case OPERATION_LEAVE:
        pack->leaving[entry->thread] = table_take(&pack->live, entry->address);
        break;
    case OPERATION_REALLOC:
        realloc_pack(pack, entry);
        break;
    case OPERATION_END:
        break; // see ends_find
    default:
        fail("an entry of no known operation", "log");
    }
}

// --- files ---------------------------------------------------------------------------------------------------------

static const log_t *log_map(const char *name)
{
    struct stat facts;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &facts) != 0) {
        fail(strerror(errno), name);
    }
    if ((size_t)facts.st_size < sizeof(log_t)) {
        fail("not a log", name);
    }
    const log_t *log = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (log == MAP_FAILED) {
        fail(strerror(errno), name);
    }
    uint64_t room = ((size_t)facts.st_size - sizeof(log_t)) / sizeof(entry_t);
    if (log->magic != LOG_MAGIC || (log->count < LOG_ENTRIES_MAX ? log->count : LOG_ENTRIES_MAX) > room) {
        fail("not a log", name);
    }
    return log;
}

// A thread goes on after it has entered its end: what else ends with it frees its blocks. Its end is its last entry.
static void ends_find(pack_t *pack, const log_t *log, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        const entry_t *entry = &log->entries[i];
        bool is_end = entry->operation == OPERATION_END + 1;
        if (entry->thread < TRACE_THREADS_MAX && (is_end || pack->ends[entry->thread] > 0)) {
            pack->ends[entry->thread] = i + 1;
        }
    }
}

static void log_pack(pack_t *pack, const log_t *log)
{
    uint64_t count = log->count < LOG_ENTRIES_MAX ? log->count : LOG_ENTRIES_MAX;
    for (int i = 0; i < TRACE_THREADS_MAX; i++) {
        pack->leaving[i] = NO_SLOT;
    }
    table_resize(&pack->live, TABLE_FIRST);
    ends_find(pack, log, count);
    for (uint64_t i = 0; i < count; i++) {
        const entry_t *entry = &log->entries[i];
        entry_pack(pack, entry);
        if (entry->thread < TRACE_THREADS_MAX && pack->ends[entry->thread] == i + 1) {
            event_begin(pack, entry, OPERATION_END);
        }
    }
    if (log->count > LOG_ENTRIES_MAX) {
        fprintf(stderr, "pack: the log was full: the last %llu calls are missing\n",
                (unsigned long long)(log->count - LOG_ENTRIES_MAX));
    }
}

// The header comes last, into its place at the front: a trace that was not finished has none.
static void trace_write(pack_t *pack, const log_t *log, const char *name)
{
    pack->output = fopen(name, "we");
    if (pack->output == NULL) {
        fail(strerror(errno), name);
    }
    fwrite(&pack->trace, sizeof pack->trace, 1, pack->output);
    log_pack(pack, log);
    pack->trace.magic = TRACE_MAGIC;
    rewind(pack->output);
    fwrite(&pack->trace, sizeof pack->trace, 1, pack->output);
    bool failed = ferror(pack->output) != 0;
    if (fclose(pack->output) != 0 || failed) {
        fail("cannot be written", name);
    }
}

int main(int argc, char **argv)
{
    static pack_t pack;
    if (argc != 3) {
        fputs("usage: pack LOG TRACE\n", stderr);
        return STATUS_USAGE;
    }
    trace_write(&pack, log_map(argv[1]), argv[2]);
    printf("events %llu\nslots %llu\nthreads %llu\npeak_live_bytes %llu\nunknown %llu\n",
           (unsigned long long)pack.trace.events, (unsigned long long)pack.trace.slots,
           (unsigned long long)pack.trace.threads, (unsigned long long)pack.trace.peak_bytes,
           (unsigned long long)pack.unknown);
    return 0;
}
