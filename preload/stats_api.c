// preload/stats_api.c - mallinfo and its kin: glibc's shapes, filled with what the survey found.
//
//   uordblks + fordblks = arena     small and medium blocks: live, free
//   hblks, hblkhd                   large blocks: how many, their bytes
//   fsmblks                         freed by another thread and not yet taken back (in fordblks too)
//   keepcost                        what malloc_trim can give back
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../pool/pool.h"
#include "../pool/survey.h"
#include "cancel.h"
#include "export.h"
#include "kernel.h"
#include "stats_api.h"

// --- the survey ------------------------------------------------------------------------------------------------------

// One for all callers, since it is too large for a small stack and must not change the heap that it describes.
static RARE_DATA survey_t shared;
static _Atomic int shared_owner; // thread id; 0: free. [atomic] take: acquire, give: release
static int shared_state;         // [shared_owner] its owner's cancellation, as it was before

// Taken once more by its owner (a stream of the program's own that asks while malloc_info writes to it), it gives way. Until
// it is given the thread is not cancelled: streams are written by cancellation points.
static bool shared_take(void)
{
    int self = kernel_gettid(), state = cancel_disable();
    for (;;) {
        int owner = 0;
        if (atomic_compare_exchange_weak_explicit(&shared_owner, &owner, self, memory_order_acquire,
                                                  memory_order_relaxed)) {
            shared_state = state;
            return true;
        }
        if (owner == self) {
            cancel_restore(state);
            return false;
        }
        kernel_yield();
    }
}

static void shared_give(bool taken)
{
    int state = shared_state;
    if (!taken)
        return;
    atomic_store_explicit(&shared_owner, 0, memory_order_release);
    cancel_restore(state);
}

void stats_api_forked(void)
{
    atomic_store_explicit(&shared_owner, 0, memory_order_relaxed);
}

// --- mallinfo --------------------------------------------------------------------------------------------------------

static uint64_t used_bytes(const survey_t *survey)
{
    return survey->live_bytes - survey->large_bytes;
}

static uint64_t free_bytes(const survey_t *survey)
{
    return survey->holes_bytes + survey->tail_bytes + survey->retained_bytes + survey->pending_bytes;
}

static uint64_t free_blocks(const survey_t *survey)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < survey->class_count; i++)
        count += survey->classes[i].holes_bytes / survey_block_bytes(i);
    return count;
}

static struct mallinfo2 info_of(const survey_t *survey)
{
    uint64_t used = used_bytes(survey), unused = free_bytes(survey);
    return (struct mallinfo2){
        .arena = used + unused,
        .ordblks = free_blocks(survey),
        .hblks = survey->large_blocks,
        .hblkhd = survey->large_bytes,
        .fsmblks = survey->pending_bytes,
        .uordblks = used,
        .fordblks = unused,
        .keepcost = survey->retained_bytes,
    };
}

EXPORT RARE struct mallinfo2 mallinfo2(void)
{
    bool taken = shared_take();
    survey_take(&shared);
    struct mallinfo2 info = info_of(&shared);
    shared_give(taken);
    return info;
}

// Its fields are too small for large heaps, in glibc as here.
EXPORT RARE struct mallinfo mallinfo(void)
{
    struct mallinfo2 info = mallinfo2();
    return (struct mallinfo){
        .arena = (int)info.arena,
        .ordblks = (int)info.ordblks,
        .hblks = (int)info.hblks,
        .hblkhd = (int)info.hblkhd,
        .fsmblks = (int)info.fsmblks,
        .uordblks = (int)info.uordblks,
        .fordblks = (int)info.fordblks,
        .keepcost = (int)info.keepcost,
    };
}

// --- malloc_info, malloc_stats -------------------------------------------------------------------------------------

// glibc lists free chunks by size; these are the classes with free blocks in used pages.
static void write_sizes(FILE *stream, const survey_t *survey)
{
    uint64_t below = 0;
    fputs("<sizes>\n", stream);
    for (unsigned i = 0; i < survey->class_count; i++) {
        uint64_t block_bytes = survey_block_bytes(i), count = survey->classes[i].holes_bytes / block_bytes;
        if (count != 0)
            fprintf(stream, "  <size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\"/>\n", below + 1,
                    block_bytes, count * block_bytes, count);
        below = block_bytes;
    }
    fputs("</sizes>\n", stream);
}

static void write_memory(FILE *stream, const survey_t *survey)
{
    fprintf(stream, "<total type=\"fast\" count=\"0\" size=\"%lu\"/>\n", survey->pending_bytes);
    fprintf(stream, "<total type=\"rest\" count=\"%lu\" size=\"%lu\"/>\n", free_blocks(survey),
            free_bytes(survey) - survey->pending_bytes);
}

static void write_system(FILE *stream, const survey_t *survey)
{
    uint64_t peak = survey->mapped_peak_bytes, now = used_bytes(survey) + free_bytes(survey);
    fprintf(stream, "<system type=\"current\" size=\"%lu\"/>\n", now);
    fprintf(stream, "<system type=\"max\" size=\"%lu\"/>\n", peak > now ? peak : now);
    fprintf(stream, "<aspace type=\"total\" size=\"%lu\"/>\n", survey->mapped_bytes);
    fprintf(stream, "<aspace type=\"mprotect\" size=\"%lu\"/>\n", survey->mapped_bytes);
}

static void write_document(FILE *stream, const survey_t *survey)
{
    fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n", stream);
    write_sizes(stream, survey);
    write_memory(stream, survey);
    write_system(stream, survey);
    fputs("</heap>\n", stream);
    write_memory(stream, survey);
    fprintf(stream, "<total type=\"mmap\" count=\"%lu\" size=\"%lu\"/>\n", survey->large_blocks, survey->large_bytes);
    write_system(stream, survey);
    fputs("</malloc>\n", stream);
}

EXPORT RARE int malloc_info(int options, FILE *stream)
{
    if (options != 0)
        return EINVAL;
    bool taken = shared_take();
    survey_take(&shared);
    write_document(stream, &shared);
    shared_give(taken);
    return 0;
}

static void write_use(const char *title, uint64_t system_bytes, uint64_t used_bytes)
{
    fprintf(stderr, "%s\nsystem bytes     = %10lu\nin use bytes     = %10lu\n", title, system_bytes, used_bytes);
}

EXPORT RARE void malloc_stats(void)
{
    bool taken = shared_take();
    survey_take(&shared);
    survey_t *survey = &shared;
    uint64_t system_bytes = used_bytes(survey) + free_bytes(survey);
    write_use("Arena 0:", system_bytes, used_bytes(survey));
    write_use("Total (incl. mmap):", system_bytes + survey->large_bytes, survey->live_bytes);
    fprintf(stderr, "max mmap regions = %10lu\nmax mmap bytes   = %10lu\n", survey->large_allocated_total,
            survey->large_bytes);
    shared_give(taken);
}

// --- malloc_trim, mallopt ------------------------------------------------------------------------------------------

EXPORT RARE int malloc_trim(size_t pad)
{
    return pool_trim(pad);
}

// glibc's limits: fast bins up to 80 words of 4 bytes, and half an arena of 64 MiB.
#define MXFAST_MAX ((int)(80 * sizeof(size_t) / 4))
#define MMAP_THRESHOLD_MAX (32 << 20)

// Hints on how glibc is to do its work are accepted, and nothing comes of them. What a program could count on (filling
// memory with a pattern) is refused.
EXPORT RARE int mallopt(int parameter, int value)
{
    switch (parameter) {
    case M_MXFAST:
        return value >= 0 && value <= MXFAST_MAX;
    case M_MMAP_THRESHOLD:
        return value >= 0 && value <= MMAP_THRESHOLD_MAX;
    case M_PERTURB:
        return value == 0;
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}
