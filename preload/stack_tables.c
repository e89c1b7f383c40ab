// preload/stack_tables.c - see stack_tables.h.
#include "stack_tables.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "kernel.h"

#define OS_PAGE_BYTES ((uintptr_t)4096) // x86-64's; elsewhere no tables are read (stack_rule.h)

// What the kernel maps around a page of a file that is touched (fault_around_bytes): 64 KiB, aligned.
#define PART_BYTES ((uintptr_t)64 << 10)
#define PART_PAGES (PART_BYTES / OS_PAGE_BYTES)

// 640 KiB, of the 1 MiB that a profile may have beside the recording. Down to half of them at once, since the way to the kernel
// costs as much as letting seven go. With 8 and 4 gcc's cc1 would pay half as much again.
#define PARTS_MOST 10u
#define PARTS_KEPT 5u
#define PARTS_ROOM 32u // a stack may read more before it is taken
#define PARTS_A_LOOK 8u // 1 KiB of what the kernel says of their pages: it may be a signal handler's stack

typedef struct part {
    _Atomic uintptr_t start; // 0: none [atomic] relaxed, as the rest
    _Atomic uint64_t read;   // the clock then
} part_t;

typedef struct range {
    uintptr_t start, end;
} range_t;

// Threads read and write them at any time. What gets lost by that stays resident until it is read again, no more.
static part_t parts[PARTS_ROOM];
static _Atomic uint64_t reads;   // the clock
static _Atomic uintptr_t latest; // the part that was read last, for what is read next is mostly in it
static _Atomic bool noted;       // something, since it was settled last

// --- what was read ---------------------------------------------------------------------------------------------------

static uint64_t read_of(const part_t *part)
{
    return atomic_load_explicit(&part->read, memory_order_relaxed);
}

static uintptr_t start_of(const part_t *part)
{
    return atomic_load_explicit(&part->start, memory_order_relaxed);
}

static void part_set(part_t *part, uintptr_t start, uint64_t read)
{
    atomic_store_explicit(&part->start, start, memory_order_relaxed);
    atomic_store_explicit(&part->read, read, memory_order_relaxed);
}

// In a free place, whose clock is 0, or in that of the one read longest ago.
void stack_tables_note(uintptr_t address)
{
    uintptr_t start = address / PART_BYTES * PART_BYTES;
    part_t *place = &parts[0];
    if (start == atomic_load_explicit(&latest, memory_order_relaxed))
        return;
    for (unsigned i = 0; i < PARTS_ROOM; i++) {
        if (start_of(&parts[i]) == start) {
            place = &parts[i];
            break;
        }
        if (read_of(&parts[i]) < read_of(place))
            place = &parts[i];
    }
    part_set(place, start, atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed) + 1);
    atomic_store_explicit(&latest, start, memory_order_relaxed);
    atomic_store_explicit(&noted, true, memory_order_relaxed);
}

static unsigned parts_count(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PARTS_ROOM; i++)
        count += start_of(&parts[i]) != 0;
    return count;
}

static bool is_kept(const part_t *part)
{
    unsigned later = 0;
    for (unsigned i = 0; i < PARTS_ROOM; i++)
        later += read_of(&parts[i]) > read_of(part);
    return later < PARTS_KEPT;
}

// --- what is let go --------------------------------------------------------------------------------------------------

// As pagemap(4) has them: where the page is, and whether it is the file's.
#define PAGE_PRESENT ((uint64_t)1 << 63)
#define PAGE_SWAPPED ((uint64_t)1 << 62)
#define PAGE_OF_FILE ((uint64_t)1 << 61)

// Whether some of them are resident, and all that there is of them is the file's own.
static bool is_clean(const uint64_t *words, size_t pages)
{
    uint64_t any = 0;
    for (size_t i = 0; i < pages; i++) {
        if (words[i] & (PAGE_PRESENT | PAGE_SWAPPED) && !(words[i] & PAGE_OF_FILE))
            return false;
        any |= words[i];
    }
    return any & PAGE_PRESENT;
}

static part_t *part_at(uintptr_t start)
{
    for (unsigned i = 0; i < PARTS_ROOM; i++)
        if (start_of(&parts[i]) == start)
            return &parts[i];
    return NULL;
}

// The first OS pages of a range, as far as they are in so many parts.
static range_t range_first(range_t range, unsigned count)
{
    uintptr_t end = range.start / PART_BYTES * PART_BYTES + count * PART_BYTES;
    return (range_t){range.start, end < range.end ? end : range.end};
}

// words: of its OS pages. Locked memory stays: the kernel refuses.
static void part_let_go(range_t range, const uint64_t *words)
{
    part_t *part = part_at(range.start / PART_BYTES * PART_BYTES);
    if (part != NULL && is_kept(part))
        return;
    if (part != NULL)
        part_set(part, 0, 0);
    if (is_clean(words, (range.end - range.start) / OS_PAGE_BYTES))
        kernel_madvise(range.start, range.end - range.start, MADV_DONTNEED);
}

// All that is not kept, for not only what was read is resident: a file that is cached in larger pieces is mapped by them.
static void range_let_go(range_t range, int pagemap)
{
    uint64_t words[PARTS_A_LOOK * PART_PAGES];
    for (range_t look, part; range.start < range.end; range.start = look.end) {
        uintptr_t first = range.start / OS_PAGE_BYTES;
        look = range_first(range, PARTS_A_LOOK);
        ssize_t bytes = (ssize_t)((look.end - look.start) / OS_PAGE_BYTES * sizeof *words);
        if (kernel_pread(pagemap, words, (size_t)bytes, first * sizeof *words) != bytes)
            return;
        for (range_t rest = look; rest.start < rest.end; rest.start = part.end) {
            part = range_first(rest, 1);
            part_let_go(part, words + (part.start / OS_PAGE_BYTES - first));
        }
    }
}

// The OS pages of a module's tables, up to the last part that was read: what is behind may be something else. Empty, if all
// that was read of them is kept.
static range_t range_due(const module_seen_t *module)
{
    uintptr_t first = (module->tables + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES * OS_PAGE_BYTES, last = first;
    uintptr_t end = module_constants(module).end / OS_PAGE_BYTES * OS_PAGE_BYTES;
    bool due = false;
    for (unsigned i = 0; i < PARTS_ROOM; i++) {
        uintptr_t start = start_of(&parts[i]), behind = start + PART_BYTES < end ? start + PART_BYTES : end;
        if (start >= end || behind <= first)
            continue;
        last = behind > last ? behind : last;
        due |= !is_kept(&parts[i]);
    }
    return (range_t){first, due ? last : first};
}

static void modules_let_go(const stack_modules_t *modules)
{
    int pagemap = kernel_open("/proc/self/pagemap", O_RDONLY, 0);
    for (uint32_t i = 0; pagemap >= 0 && i < modules->count; i++)
        range_let_go(range_due(&modules->seen[i]), pagemap);
    if (pagemap >= 0)
        kernel_close(pagemap);
}

void stack_tables_settle(const stack_modules_t *modules)
{
    if (!atomic_load_explicit(&noted, memory_order_relaxed))
        return;
    atomic_store_explicit(&noted, false, memory_order_relaxed);
    if (parts_count() > PARTS_MOST && !kernel_is_filtered()) // an open may end a process with a filter
        modules_let_go(modules);
}
