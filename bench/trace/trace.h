// trace/trace.h - the calls of one program to its allocator, in order: the two files in which they are kept.
//
//   recorder.so  writes a log while the program runs        one fixed-size entry a call, with addresses
//   pack         makes a trace of it                        slots in place of addresses, a few bytes a call
//   replay       makes the same calls again                 under whatever malloc it is given
//
// The log.  Threads take the next entry by one atomic addition, so the entries' order is the order of the calls, with
// two rules that make it one in which each address has one owner at a time: what returns a block is entered after the
// call, what gives one up before it. realloc does both and has two entries.
//
//   | log_t | entry 0 | entry 1 | ... entry count - 1 | holes in the file up to LOG_ENTRIES_MAX |
//
// The trace.  A slot is a number for a live block, reused after its free: as many as there were blocks at most. Each
// event is an operation and its numbers, seven bits a byte, the lowest first, the eighth bit set when more follow.
//
//   | trace_t | operation slot size | operation slot | ...
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdatomic.h>
#include <stdint.h>

#define LOG_MAGIC   0x31474f4c4e524154ULL // "TARNLOG1" as it stands in the file of a little-endian machine
#define TRACE_MAGIC 0x314352544e524154ULL // "TARNTRC1"

enum {
    LOG_ENTRIES_MAX = 1 << 26, // 1.6 GB: minutes of a busy program; the file has holes until they are written
    TRACE_THREADS_MAX = 4096,
};

typedef enum operation {
    OPERATION_MALLOC,   // slot, size
    OPERATION_CALLOC,   // slot, size
    OPERATION_MEMALIGN, // slot, size, logarithm of the alignment
    OPERATION_REALLOC,  // slot, new size; in the log: the new address, after an OPERATION_LEAVE of the same thread
    OPERATION_FREE,     // slot
    OPERATION_LEAVE,    // in the log alone: a realloc begins, the address may be anybody's until its end
    OPERATION_THREAD,   // in the trace alone: what follows is this thread's, until the next such event
    OPERATION_END,      // the thread ends
    OPERATIONS,
} operation_t;

typedef struct entry {
    uint64_t address;
    uint64_t size;
    uint32_t thread;
    uint16_t operation; // plus one: 0 is an entry that was taken and never written
    uint16_t alignment; // its logarithm
} entry_t;

typedef struct log {
    uint64_t magic;
    _Atomic uint64_t count; // entries taken; above LOG_ENTRIES_MAX they were lost
    entry_t entries[];
} log_t;

typedef struct trace {
    uint64_t magic;
    uint64_t events; // without OPERATION_THREAD
    uint64_t slots;
    uint64_t threads;
    uint64_t peak_bytes; // the most that was asked for and held at one time
} trace_t;

#endif
