// pool/trap.c - see trap.h.
#include "trap.h"

#include <stdatomic.h>
#include <string.h>

#include "budget.h"
#include "misuse.h"
#include "os_linux.h"

// With 256 slots, half of them live at most, the one that is reused was freed 128 samples ago at least: at one in 5,000,
// 640,000 allocations. What is known of them is 76 KiB, their addresses 5 MiB; live ones hold 128 times 16 KiB at most.
// Where guards split mappings they cost two each, of 65,530.
#define SLOTS 256u
static const unsigned live_most = SLOTS / 2;
static const unsigned slot_os_pages = 4;
static const unsigned tries_most = 4; // when other threads take the same slot
static const unsigned char slack_byte = 0xa5;

typedef enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_BUSY, SLOT_RETIRED } slot_state_t;

#define STATE_BITS 2u

typedef struct slot {
    char *block;       // [owner] these until it is LIVE; [const] while it is
    size_t size_bytes;
    trap_stack_t allocated, freed;
    _Atomic bool spoiled; // a guard of it was opened: it retires when it is freed. [atomic]
} slot_t;

typedef struct table {
    _Atomic uint64_t word[SLOTS]; // [atomic] slot_state_t, and above it the number of the free that made it FREE; take:
                                  // acquire, let go: release
    slot_t slot[SLOTS];
} table_t;

uintptr_t trap_base;
size_t trap_bytes;
static table_t *table; // [const] after the start
static unsigned every;           // [const] after the start
static _Atomic unsigned live_count;
static _Atomic uint64_t allocated_total, freed_total;

static size_t slot_bytes(void)
{
    return slot_os_pages * os_page_bytes();
}

static size_t stride_bytes(void)
{
    return slot_bytes() + os_page_bytes();
}

// The end of its addresses, where the guard behind it begins.
static char *slot_end(unsigned index)
{
    return (char *)trap_base + (index + 1) * stride_bytes();
}

void trap_start(unsigned every_wanted)
{
    size_t bytes = SLOTS * stride_bytes() + os_page_bytes(), table_bytes = align_up(sizeof(table_t), os_page_bytes());
    table = os_map(table_bytes, os_page_bytes());
    char *base = table == NULL ? NULL : os_map(bytes, os_page_bytes());
    if (base == NULL)
        return;
    os_name(table, table_bytes, "tarn metadata");
    os_name(base, bytes, "tarn traps");
    os_no_huge_pages(base, bytes);
    if (!os_guard(base, bytes)) {
        os_unmap(base, bytes);
        return;
    }
    every = every_wanted;
    trap_base = (uintptr_t)base;
    trap_bytes = bytes;
}

uint32_t trap_gap(uint64_t random)
{
    return trap_bytes == 0 || every == 0 ? 0 : (uint32_t)(1 + (random >> 32) % (2 * (uint64_t)every - 1));
}

// --- slots -----------------------------------------------------------------------------------------------------------

static slot_state_t slot_state(uint64_t word)
{
    return (slot_state_t)(word & (((uint64_t)1 << STATE_BITS) - 1));
}

static bool slot_change(unsigned index, uint64_t from, slot_state_t state)
{
    return atomic_compare_exchange_strong_explicit(&table->word[index], &from, state, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void slot_set(unsigned index, uint64_t number, slot_state_t state)
{
    atomic_store_explicit(&table->word[index], number << STATE_BITS | state, memory_order_release);
}

static uint64_t slot_word(unsigned index)
{
    return atomic_load_explicit(&table->word[index], memory_order_acquire);
}

// The one that is free for the longest. SLOTS: there is none.
static unsigned slot_oldest(uint64_t *word)
{
    unsigned oldest = SLOTS;
    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t seen = slot_word(i);
        if (slot_state(seen) == SLOT_FREE && (oldest == SLOTS || seen < *word)) {
            oldest = i;
            *word = seen;
        }
    }
    return oldest;
}

static unsigned slot_take(void)
{
    uint64_t word = 0;
    for (unsigned tries = 0; tries < tries_most; tries++) {
        unsigned index = slot_oldest(&word);
        if (index == SLOTS || slot_change(index, word, SLOT_BUSY))
            return index;
    }
    return SLOTS;
}

static RARE void stack_take(trap_stack_t *stack)
{
    stack->thread = (uint32_t)os_thread_id();
    stack->depth = trap_hook_stack ? trap_hook_stack(stack->frame, TRAP_FRAMES) : 0;
}

static char *slot_open_from(const slot_t *slot)
{
    return (char *)align_down((uintptr_t)slot->block, os_page_bytes());
}

// --- allocation ------------------------------------------------------------------------------------------------------

static bool slot_open(unsigned index, size_t alignment, size_t size_bytes)
{
    slot_t *slot = &table->slot[index];
    char *end = slot_end(index);
    slot->block = (char *)align_down((uintptr_t)end - size_bytes, alignment);
    slot->size_bytes = size_bytes;
    char *open = slot_open_from(slot);
    size_t bytes = (size_t)(end - open);
    if (!budget_take(bytes))
        return false;
    if (!os_guard_open(open, bytes)) {
        budget_unuse(bytes);
        return false;
    }
    char *slack = slot->block + size_bytes;
    memset(slack, slack_byte, (size_t)(end - slack));
    slot->freed = (trap_stack_t){0};
    stack_take(&slot->allocated);
    return true;
}

void *trap_alloc(size_t alignment, size_t size_bytes)
{
    size_bytes = size_max(size_bytes, 1);
    alignment = size_max(alignment, GRANULE_BYTES);
    if (trap_bytes == 0 || alignment > os_page_bytes() || size_bytes > slot_bytes())
        return NULL;
    if (atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed) < live_most) {
        unsigned index = slot_take();
        if (index != SLOTS && slot_open(index, alignment, size_bytes)) {
            slot_set(index, 0, SLOT_LIVE);
            atomic_fetch_add_explicit(&allocated_total, 1, memory_order_relaxed);
            return table->slot[index].block;
        }
        if (index != SLOTS)
            slot_set(index, 0, SLOT_FREE); // as one that was never used
    }
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    return NULL;
}

// --- pointers --------------------------------------------------------------------------------------------------------

// The slot whose block may start at the address. SLOTS: none, since it lies in a guard.
static unsigned slot_of(const void *address)
{
    size_t offset = (uintptr_t)address - trap_base;
    size_t index = offset / stride_bytes();
    return offset % stride_bytes() < os_page_bytes() || index >= SLOTS ? SLOTS : (unsigned)index;
}

static const char *pointer_wrong(unsigned index, const void *address, uint64_t word)
{
    const slot_t *slot = index == SLOTS ? NULL : &table->slot[index];
    if (slot == NULL || slot->block == NULL)
        return "not from this heap";
    if (slot->block != (const char *)address)
        return "not the start of a block";
    return slot_state(word) == SLOT_LIVE ? NULL : "double free";
}

size_t trap_usable(const void *block, const char **wrong)
{
    unsigned index = slot_of(block);
    uint64_t word = index == SLOTS ? 0 : slot_word(index);
    *wrong = pointer_wrong(index, block, word);
    return *wrong == NULL ? table->slot[index].size_bytes : 0;
}

// --- free ------------------------------------------------------------------------------------------------------------

static bool is_all(const char *from, const char *to, unsigned char byte)
{
    for (; from < to; from++)
        if ((unsigned char)*from != byte)
            return false;
    return true;
}

static const char *damage(const slot_t *slot, const char *end)
{
    if (!is_all(slot->block + slot->size_bytes, end, slack_byte))
        return "its end was written over";
    return is_all(slot_open_from(slot), slot->block, 0) ? NULL : "what is before it was written over";
}

static void slot_close(unsigned index)
{
    slot_t *slot = &table->slot[index];
    char *open = slot_open_from(slot), *end = slot_end(index);
    bool closed = os_guard(open, (size_t)(end - open)), spoiled = atomic_load(&slot->spoiled);
    if (!closed) // its memory goes, and it is not used again
        os_withdraw(open, (size_t)(end - open));
    budget_unuse((size_t)(end - open));
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    uint64_t number = atomic_fetch_add_explicit(&freed_total, 1, memory_order_relaxed) + 1;
    slot_set(index, number, closed && !spoiled ? SLOT_FREE : SLOT_RETIRED);
}

const char *trap_free(void *block)
{
    unsigned index = slot_of(block);
    uint64_t word = index == SLOTS ? 0 : slot_word(index);
    const char *wrong = pointer_wrong(index, block, word);
    if (wrong != NULL)
        return wrong;
    if (!slot_change(index, word, SLOT_BUSY))
        return "double free"; // by another thread, just now
    slot_t *slot = &table->slot[index];
    wrong = damage(slot, slot_end(index));
    stack_take(&slot->freed);
    slot_close(index);
    return wrong;
}

// --- faults ----------------------------------------------------------------------------------------------------------

// Whose fault it is that a guard was touched: that of the block that ends there, rather than of the one behind.
static unsigned slot_blamed(const void *address)
{
    size_t offset = (uintptr_t)address - trap_base;
    unsigned index = (unsigned)(offset / stride_bytes()); // of the slot behind the guard
    if (offset % stride_bytes() >= os_page_bytes())
        return index < SLOTS ? index : SLOTS;
    if (index > 0 && table->slot[index - 1].block != NULL)
        return index - 1;
    return index < SLOTS ? index : SLOTS;
}

static void place_explain(const slot_t *slot, bool live, const char *address, trap_report_t *report)
{
    const char *end = slot->block + slot->size_bytes;
    if (address < slot->block) {
        report->where = live ? "before the start of a live block" : "before the start of a freed block";
        report->distance_bytes = (size_t)(slot->block - address);
    } else if (address >= end) {
        report->where = live ? "behind the end of a live block" : "behind the end of a freed block";
        report->distance_bytes = (size_t)(address - end);
    } else {
        report->where = live ? "in a live block" : "in a freed block"; // live: by now
        report->distance_bytes = (size_t)(address - slot->block);
    }
}

bool trap_explain(const void *address, trap_report_t *report)
{
    unsigned index = slot_blamed(address);
    const slot_t *slot = index == SLOTS ? NULL : &table->slot[index];
    if (slot == NULL || slot->block == NULL)
        return false;
    *report = (trap_report_t){.block = slot->block, .size_bytes = slot->size_bytes, .allocated = slot->allocated,
                              .freed = slot->freed};
    place_explain(slot, slot_state(slot_word(index)) == SLOT_LIVE, address, report);
    return true;
}

bool trap_forgive(const void *address)
{
    unsigned index = slot_blamed(address);
    if (index == SLOTS)
        return false;
    atomic_store(&table->slot[index].spoiled, true);
    uint64_t word = slot_word(index);
    if (slot_state(word) == SLOT_FREE)
        slot_change(index, word, SLOT_RETIRED);
    return os_guard_open((void *)align_down((uintptr_t)address, os_page_bytes()), os_page_bytes());
}

// --- what surveys see ------------------------------------------------------------------------------------------------

unsigned trap_slots(void)
{
    return trap_bytes == 0 ? 0 : SLOTS;
}

uint64_t trap_allocated_total(void)
{
    return atomic_load_explicit(&allocated_total, memory_order_relaxed);
}

bool trap_look(unsigned index, trap_view_t *view)
{
    const slot_t *slot = &table->slot[index];
    if (slot_state(slot_word(index)) != SLOT_LIVE)
        return false;
    *view = (trap_view_t){slot_open_from(slot), slot->block, slot_end(index), slot->size_bytes};
    return true;
}

void trap_table_bounds(char **start, char **end)
{
    *start = (char *)table;
    *end = table == NULL ? NULL : (char *)table + align_up(sizeof(table_t), os_page_bytes());
}
