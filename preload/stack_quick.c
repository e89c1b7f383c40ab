// preload/stack_quick.c - see stack_quick.h.
#include "stack_quick.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "recorder_sites.h"
#include "stack_rule.h"
#include "stack_tables.h"

// --- what is remembered ----------------------------------------------------------------------------------------------
//
// Sets of four, a cache line each. Threads read and write them at any time: of an entry that is half another one's, the
// key does not fit its rule. The first OS page alone is used until so many were pushed out that it is too small, then
// twice as much, and so on: what then has another place is learnt again. 4096 are enough for 2000 addresses, with 5 % of
// their sets full.

#define SETS_FIRST 64u // 4 KiB
#define SETS_MOST 1024u
#define WAYS 4u
#define LOST_SHIFT 2 // one for every four sets: at two addresses a set, a twentieth of the sets are full

typedef struct entry {
    _Atomic uint64_t check; // key ^ rule [atomic] relaxed, as the rule
    _Atomic uint64_t rule;  // 0: none yet
} entry_t;

static _Alignas(4096) entry_t entries[SETS_MOST][WAYS];
static _Atomic uint32_t sets_used = SETS_FIRST, lost; // [atomic] relaxed; lost: pushed out, since sets_used is so

// Different addresses of one module have different keys.
static uint64_t key_of(uintptr_t address, uint64_t identity)
{
    return (address ^ identity) * 0x9e3779b97f4a7c15u;
}

static entry_t *set_of(uint64_t key)
{
    return entries[(key >> 32) & (atomic_load_explicit(&sets_used, memory_order_relaxed) - 1)];
}

static stack_rule_t rule_remembered(uint64_t key)
{
    entry_t *set = set_of(key);
    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t rule = atomic_load_explicit(&set[i].rule, memory_order_relaxed);
        if ((atomic_load_explicit(&set[i].check, memory_order_relaxed) ^ rule) == key && rule != 0)
            return (stack_rule_t){rule};
    }
    return (stack_rule_t){RULE_NONE};
}

// Of two threads that double it at once, both write the same.
static void one_is_lost(void)
{
    uint32_t used = atomic_load_explicit(&sets_used, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed) < used >> LOST_SHIFT || used == SETS_MOST)
        return;
    atomic_store_explicit(&sets_used, used * 2, memory_order_relaxed);
    atomic_store_explicit(&lost, 0, memory_order_relaxed);
}

// In a free place, or in that of any other.
static void rule_remember(uint64_t key, stack_rule_t rule)
{
    entry_t *set = set_of(key);
    unsigned at = 0;
    while (at < WAYS && atomic_load_explicit(&set[at].rule, memory_order_relaxed) != 0)
        at++;
    if (at == WAYS) {
        one_is_lost();
        at = (unsigned)(key % WAYS);
    }
    atomic_store_explicit(&set[at].rule, rule.word, memory_order_relaxed);
    atomic_store_explicit(&set[at].check, key ^ rule.word, memory_order_relaxed);
}

// Without a build-id a library that was built again, closed and opened once more cannot be told from what it was, if it is
// as long and comes to the same place. The program itself, whose name the loader has as "", is never closed.
static bool is_lasting(const module_seen_t *module)
{
    return module->build_id_bytes >= sizeof module->identity || module->path[0] == '\0';
}

// Where its tables are, if what is read of them can be let go.
static uintptr_t tables_of(const module_seen_t *module)
{
    return module_constants(module).end != 0 ? module->tables : 0;
}

// module: NULL, or where the tables are
static stack_rule_t rule_of(uintptr_t address, uint64_t identity, const module_seen_t *module)
{
    uint64_t key = key_of(address, identity);
    stack_rule_t rule = rule_remembered(key);
    if (unlikely(rule_kind(rule) == RULE_NONE)) {
        rule = stack_rule_of(address, module != NULL ? tables_of(module) : 0);
        rule_remember(key, rule);
    }
    return rule;
}

// --- the walk --------------------------------------------------------------------------------------------------------

typedef struct frame {
    uintptr_t address, sp, bp; // where a call returns to, and the registers then
} frame_t;

static uintptr_t word_at(uintptr_t address)
{
    uintptr_t word;
    memcpy(&word, (const void *)address, sizeof word);
    return word;
}

// False: not this way. Stacks grow downwards: a frame that is left for a lower one is on another stack.
static bool frame_leave(frame_t *frame, stack_rule_t rule)
{
    uintptr_t base = rule_base_is_bp(rule) ? frame->bp : frame->sp, cfa = base + rule_cfa_offset(rule);
    if (cfa <= frame->sp || cfa % sizeof(uintptr_t) != 0)
        return false;
    if (rule_saves_bp(rule))
        frame->bp = word_at(cfa + (uintptr_t)rule_bp_offset(rule));
    frame->address = word_at(cfa - sizeof(uintptr_t));
    frame->sp = cfa;
    return true;
}

// Whether the walk goes on behind this frame.
static bool frame_note(stack_walk_t *walk, uintptr_t address)
{
    if (address == 0)
        return false;
    walk->outside = true;
    walk->cut = walk->depth == walk->most;
    if (!walk->cut)
        walk->address[walk->depth++] = address;
    return !walk->cut;
}

static bool walk_from(stack_walk_t *walk, stack_modules_t *modules, frame_t frame)
{
    stack_own_t own = stack_own();
    stack_rule_t rule;
    do {
        bool is_ours = frame.address - own.start < own.end - own.start;
        uint32_t module = is_ours ? 0 : stack_module(modules, frame.address - 1);
        if (walk->outside || !is_ours) {
            if (!frame_note(walk, frame.address))
                return true;
        }
        if (module == MODULES_A_STACK)
            return false;
        if (is_ours)
            rule = rule_of(frame.address, own.identity, NULL);
        else if (is_lasting(&modules->seen[module]))
            rule = rule_of(frame.address, modules->seen[module].identity, &modules->seen[module]);
        else
            rule = stack_rule_of(frame.address, 0);
    } while (rule_kind(rule) == RULE_STEP && frame_leave(&frame, rule));
    return rule_kind(rule) == RULE_END;
}

#ifndef NDEBUG
static bool is_as_unwound(const stack_walk_t *walk)
{
    uintptr_t address[STACK_DEPTH_MAX];
    stack_walk_t other = {.address = address, .most = walk->most};
    stack_walk(&other);
    return other.depth == walk->depth && other.cut == walk->cut &&
           memcmp(address, walk->address, walk->depth * sizeof *address) == 0;
}
#endif

bool stack_walk_quick(stack_walk_t *walk, stack_modules_t *modules)
{
    const uintptr_t *here = __builtin_frame_address(0); // our caller's bp, then where we return to
    bool done = STACK_RULES &&
                walk_from(walk, modules, (frame_t){.bp = here[0], .address = here[1], .sp = (uintptr_t)(here + 2)});
    assert(!done || is_as_unwound(walk));
    stack_tables_settle(modules);
    if (done)
        return true;
    walk->depth = 0;
    walk->cut = walk->outside = false;
    return false;
}
