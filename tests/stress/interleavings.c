// tests/stress/interleavings.c - the protocol of frees by other threads, of pages given up to the commons, of orphans and
// of adoption, run through every interleaving: 3 threads, 2 pages of 2 blocks.
//
//   interleavings                all scenarios; fails if any interleaving ends wrong
//   interleavings --plant NAME   the same with a fault in the protocol; fails if no interleaving shows it
//
// Each step is one access to what is shared, as heap.c and registry.c make it; remote.c's two transitions are the real
// ones, on real pages. Steps are explored depth first; a world that was seen before is not looked at again. What is
// modelled is sequentially consistent: the protocol's accesses are (remote.h, heap.h), ThreadSanitizer looks at the rest.
//
// At every end all blocks have come back: to their page, or to a page in the inbox of a thread that lives and will look
// there. Nothing is stranded with an orphan, no page is in two inboxes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote.h"

#define THREADS 3u
#define PAGES 2u
#define BLOCKS 2u // a page
#define STACK 9u
#define SCRIPT 4u

enum { HEAP_A, HEAP_B, HEAP_C, HEAP_COMMONS, HEAPS, NOBODY = HEAPS };

typedef enum proc { NOTHING, FREE, INBOX_PUSH, DRAIN_ORPHAN, DRAIN, ADOPT, END, GIVE_UP, LOOK } proc_t;

typedef struct frame {
    uint8_t proc, at, page, block, heap, id;
} frame_t;

typedef struct thread {
    frame_t stack[STACK];
    uint8_t depth, next, saw_orphan; // calls under way; next line of the script
} thread_t;

// All that an interleaving can change. Compared byte by byte: zeroed once, no padding is written.
typedef struct world {
    page_t pages[PAGES];
    block_t blocks[PAGES][BLOCKS];
    thread_t threads[THREADS];
    uint8_t owner[PAGES], back[PAGES]; // back: blocks that are free again, a bit each
    uint8_t inbox[HEAPS];              // page + 1, 0: empty
    uint8_t orphan[HEAPS];
    uint8_t lock; // thread + 1
} world_t;

typedef struct line {
    uint8_t proc, page, block;
} line_t;

typedef struct scenario {
    const char *name;
    line_t script[THREADS][SCRIPT];
} scenario_t;

static const scenario_t scenarios[] = {
    {"the owner ends", {{{LOOK, 0, 0}, {END, 0, 0}}, {{FREE, 0, 0}, {FREE, 1, 0}}, {{FREE, 0, 1}, {FREE, 1, 1}}}},
    {"the owner gives a page up, and ends", {{{GIVE_UP, 0, 0}, {LOOK, 0, 0}, {END, 0, 0}},
                                             {{FREE, 0, 0}, {FREE, 1, 0}}, {{FREE, 0, 1}, {FREE, 1, 1}}}},
    {"the owner gives both up, and lives", {{{GIVE_UP, 0, 0}, {GIVE_UP, 1, 0}, {LOOK, 0, 0}},
                                            {{FREE, 0, 0}, {FREE, 1, 0}}, {{FREE, 1, 1}, {FREE, 0, 1}}}},
    {"who adopts ends, too", {{{END, 0, 0}}, {{FREE, 0, 0}, {FREE, 1, 0}, {END, 0, 0}}, {{FREE, 0, 1}, {FREE, 1, 1}}}},
    {"who frees adopts, and frees again", {{{LOOK, 0, 0}, {END, 0, 0}}, {{FREE, 0, 0}, {FREE, 0, 1}, {LOOK, 0, 0}},
                                           {{FREE, 1, 0}, {FREE, 1, 1}, {END, 0, 0}}}},
    {"all end", {{{GIVE_UP, 0, 0}, {END, 0, 0}}, {{FREE, 0, 0}, {FREE, 1, 0}, {END, 0, 0}}, {{FREE, 1, 1}, {FREE, 0, 1}, {END, 0, 0}}}},
};

typedef enum plant {
    SOUND,
    NOT_QUEUED,        // the first free of a page does not put it into an inbox
    STATE_BEFORE_PUSH, // whether the owner is an orphan is looked at before the page is queued
    DRAIN_BEFORE_STATE, // a thread that ends empties its inbox, then becomes an orphan
    NOT_PASSED_ON,     // a page that comes out of an inbox of a heap that does not own it is dropped
    PASSED_TO_ORPHAN,  // nobody looks whether the heap it is passed on to is an orphan
    EMPTY_THOUGH_QUEUED // an empty page goes back to its zone while an inbox has it
} plant_t;
static const char *const plants[] = {"sound", "not-queued", "state-before-push", "drain-before-state",
                                     "not-passed-on", "passed-to-orphan", "empty-though-queued"};

static world_t world; // at one address: the pages' words point into it
static const scenario_t *scenario;
static plant_t plant;
static const char *wrong; // what the interleaving has come to
static unsigned long worlds_seen, ends_seen;

// --- worlds that were seen -------------------------------------------------------------------------------------------

#define SEEN_SHIFT 24
static uint64_t *seen; // hashes of 64 bits: two worlds of one hash come once in 10^7 runs

static uint64_t world_hash(void)
{
    const uint64_t *words = (const uint64_t *)&world;
    uint64_t hash = 1;
    for (size_t i = 0; i < sizeof world / sizeof *words; i++) {
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return hash | 1;
}
_Static_assert(sizeof(world_t) % 8 == 0, "hashed by words");

static bool is_new(void)
{
    uint64_t hash = world_hash();
    size_t place = (size_t)(hash >> (64 - SEEN_SHIFT));
    while (seen[place] != 0 && seen[place] != hash)
        place = (place + 1) & (((size_t)1 << SEEN_SHIFT) - 1);
    if (seen[place] == hash)
        return false;
    seen[place] = hash;
    if (++worlds_seen > (1ul << SEEN_SHIFT) / 2) {
        fprintf(stderr, "more worlds than expected\n");
        exit(1);
    }
    return true;
}

// --- steps -----------------------------------------------------------------------------------------------------------

static void call(thread_t *thread, proc_t proc, unsigned page, unsigned heap)
{
    if (thread->depth == STACK) {
        fprintf(stderr, "calls nest deeper than expected\n");
        exit(1);
    }
    thread->stack[thread->depth++] = (frame_t){.proc = (uint8_t)proc, .page = (uint8_t)page, .heap = (uint8_t)heap};
}

static void leave(thread_t *thread)
{
    thread->stack[--thread->depth] = (frame_t){0};
}

static bool lock_take(unsigned self)
{
    if (world.lock != 0)
        return false;
    world.lock = (uint8_t)(self + 1);
    return true;
}

// What remote_take returns is marked as free again.
static void collect(unsigned page, bool leave_inbox)
{
    uint64_t word = remote_take(&world.pages[page], leave_inbox);
    unsigned count = remote_count(word);
    for (block_t *block = remote_first(word); count-- != 0; block = block->next) {
        size_t index = (size_t)(block - world.blocks[page]);
        if (index >= BLOCKS || world.back[page] >> index & 1) {
            wrong = "a list of freed blocks is damaged";
            return;
        }
        world.back[page] |= (uint8_t)(1u << index);
    }
}

static void settle(unsigned page)
{
    bool empty = world.back[page] == (1u << BLOCKS) - 1;
    if (empty && (plant == EMPTY_THOUGH_QUEUED || !remote_is_queued(&world.pages[page])))
        world.owner[page] = NOBODY;
}

static void step_free(thread_t *thread, frame_t *frame, unsigned self)
{
    block_t *block = &world.blocks[frame->page][frame->block];
    switch (frame->at++) {
    case 0:
        if (world.owner[frame->page] == self) { // adopted since it was gathered: back at once
            world.back[frame->page] |= (uint8_t)(1u << frame->block);
            settle(frame->page);
            frame->at = 5;
            break;
        }
        thread->saw_orphan = world.owner[frame->page] < HEAPS && world.orphan[world.owner[frame->page]];
        break;
    case 1:
        if (!remote_free_list(&world.pages[frame->page], block, block, 1) || plant == NOT_QUEUED)
            frame->at = 4;
        break;
    case 2:
        call(thread, INBOX_PUSH, frame->page, 0);
        break;
    case 3: // INBOX_PUSH has left in frame->heap whose inbox it was
        if (plant != STATE_BEFORE_PUSH || thread->saw_orphan)
            call(thread, DRAIN_ORPHAN, 0, frame->heap);
        break;
    case 4:
        if (plant == STATE_BEFORE_PUSH && !thread->saw_orphan)
            break;
        call(thread, ADOPT, frame->page, 0);
        break;
    default:
        leave(thread);
    }
}

static void step_inbox_push(thread_t *thread, frame_t *frame, unsigned self)
{
    uint8_t *inbox = &world.inbox[frame->heap];
    (void)self;
    if (frame->at == 0) {
        frame->heap = world.owner[frame->page];
        if (frame->heap >= HEAPS) {
            wrong = "a page in use has no owner";
            return;
        }
        frame->at = 1;
    } else if (frame->at == 2 && *inbox == frame->id) {
        *inbox = (uint8_t)(frame->page + 1);
        unsigned heap = frame->heap;
        leave(thread);
        frame_t *caller = &thread->stack[thread->depth - 1];
        if (caller->proc == FREE)
            caller->heap = (uint8_t)heap;
        else
            caller->block = (uint8_t)heap;
    } else { // the head as it is now
        frame->id = *inbox;
        world.pages[frame->page].inbox_next = frame->id;
        frame->at = 2;
    }
}

static void step_drain_orphan(thread_t *thread, frame_t *frame, unsigned self)
{
    if (frame->at == 0 && !world.orphan[frame->heap]) {
        leave(thread);
    } else if (frame->at == 0) {
        frame->at = 1;
    } else if (frame->at == 1 && world.lock == self + 1) {
        frame->id = 1; // the caller has it, and keeps it
        frame->at = 2;
    } else if (frame->at == 1) {
        frame->at += lock_take(self);
    } else if (frame->at == 2) {
        frame->at = 3;
        if (world.orphan[frame->heap])
            call(thread, DRAIN, 0, frame->heap);
    } else {
        world.lock = frame->id ? world.lock : 0;
        leave(thread);
    }
}

static void step_drain(thread_t *thread, frame_t *frame, unsigned self)
{
    (void)self;
    if (frame->at == 0) {
        frame->id = world.inbox[frame->heap];
        world.inbox[frame->heap] = 0;
        frame->at = 1;
    } else if (frame->at == 1 && frame->id == 0) {
        leave(thread);
    } else if (frame->at == 1) {
        frame->page = (uint8_t)(frame->id - 1);
        frame->id = (uint8_t)world.pages[frame->page].inbox_next;
        frame->at = 2;
    } else if (frame->at == 2 && world.owner[frame->page] != frame->heap) {
        frame->at = plant == PASSED_TO_ORPHAN ? 1 : 4;
        if (plant == NOT_PASSED_ON)
            frame->at = 1;
        else
            call(thread, INBOX_PUSH, frame->page, 0);
    } else if (frame->at == 4) {
        frame->at = 1;
        call(thread, DRAIN_ORPHAN, 0, frame->block);
    } else if (frame->at == 2) {
        collect(frame->page, true);
        frame->at = 3;
    } else {
        settle(frame->page);
        frame->at = 1;
    }
}

static void step_adopt(thread_t *thread, frame_t *frame, unsigned self)
{
    unsigned owner = world.owner[frame->page];
    bool strange = owner < HEAPS && owner != self && world.orphan[owner];
    if (frame->at == 0 && !strange) {
        leave(thread);
    } else if (frame->at == 0) {
        frame->at = 1;
    } else if (frame->at == 1) {
        frame->at += lock_take(self);
    } else if (frame->at == 2) {
        frame->heap = (uint8_t)owner;
        frame->at = strange ? 3 : 6;
        if (strange)
            call(thread, DRAIN, 0, owner);
    } else if (frame->at == 3) {
        frame->at = owner == frame->heap ? 4 : 6;
        if (owner == frame->heap)
            world.owner[frame->page] = (uint8_t)self;
    } else if (frame->at == 4) {
        collect(frame->page, false);
        frame->at = 5;
    } else if (frame->at == 5) {
        settle(frame->page);
        frame->at = 6;
    } else {
        world.lock = 0;
        leave(thread);
    }
}

static void step_end(thread_t *thread, frame_t *frame, unsigned self)
{
    unsigned state_at = plant == DRAIN_BEFORE_STATE ? 2 : 1;
    if (frame->at == 0) {
        frame->at += lock_take(self);
    } else if (frame->at == state_at) {
        world.orphan[self] = 1;
        frame->at++;
    } else if (frame->at < 3) {
        frame->at++;
        call(thread, DRAIN, 0, self);
    } else {
        world.lock = 0;
        leave(thread);
    }
}

static void step_give_up(thread_t *thread, frame_t *frame, unsigned self)
{
    if (frame->at == 0) {
        bool full = world.owner[frame->page] == self && world.back[frame->page] == 0;
        frame->at = full && world.pages[frame->page].remote == 0 ? 1 : 3;
    } else if (frame->at == 1) {
        world.owner[frame->page] = HEAP_COMMONS;
        frame->at = 2; // the look that follows makes it prompt; without it nothing is stranded either
    } else if (frame->at == 2) {
        frame->at = 3;
        if (world.pages[frame->page].remote != 0)
            call(thread, ADOPT, frame->page, 0);
    } else {
        leave(thread);
    }
}

static void step_look(thread_t *thread, frame_t *frame, unsigned self)
{
    if (frame->at++ == 0 && world.inbox[self] != 0)
        call(thread, DRAIN, 0, self);
    else
        leave(thread);
}

// False: the thread is done, or waits for the lock.
static bool step(unsigned self)
{
    static void (*const procs[])(thread_t *, frame_t *, unsigned) = {
        [FREE] = step_free, [INBOX_PUSH] = step_inbox_push, [DRAIN_ORPHAN] = step_drain_orphan, [DRAIN] = step_drain,
        [ADOPT] = step_adopt, [END] = step_end, [GIVE_UP] = step_give_up, [LOOK] = step_look};
    thread_t *thread = &world.threads[self], before = *thread;
    if (thread->depth == 0) {
        const line_t *line = thread->next == SCRIPT ? NULL : &scenario->script[self][thread->next];
        if (line == NULL || line->proc == NOTHING)
            return false;
        thread->next++;
        call(thread, line->proc, line->page, 0);
        thread->stack[0].block = line->block;
    }
    frame_t *frame = &thread->stack[thread->depth - 1];
    procs[frame->proc](thread, frame, self);
    return memcmp(&before, thread, sizeof before) != 0;
}

// --- the end ---------------------------------------------------------------------------------------------------------

// In how many inboxes a page is; *living: one of a thread that lives.
static unsigned inboxes_with(unsigned page, bool *living)
{
    unsigned count = 0;
    *living = false;
    for (unsigned heap = 0; heap < HEAPS; heap++) {
        unsigned id = world.inbox[heap];
        for (unsigned length = 0; id != 0 && length <= PAGES; length++, id = world.pages[id - 1].inbox_next)
            if (id == page + 1) {
                count++;
                *living |= !world.orphan[heap];
            }
    }
    return count;
}

static const char *page_end(unsigned page)
{
    bool living;
    unsigned inboxes = inboxes_with(page, &living);
    unsigned pending = remote_count(world.pages[page].remote), back = (unsigned)bits_count(world.back[page]);
    if (back + pending != BLOCKS)
        return "a freed block is lost";
    if (inboxes > 1)
        return "a page is in two inboxes";
    if (inboxes != 0 && world.owner[page] == NOBODY)
        return "a page without an owner is in an inbox";
    if (remote_is_queued(&world.pages[page]) != (inboxes != 0))
        return inboxes == 0 ? "a page marked as queued is in no inbox" : "a page in an inbox is not marked as queued";
    return pending != 0 && !living ? "freed blocks are stranded with an orphan" : NULL;
}

static void end_check(void)
{
    ends_seen++;
    if (world.lock != 0)
        wrong = "all wait for the lock";
    for (unsigned page = 0; wrong == NULL && page < PAGES; page++)
        wrong = page_end(page);
}

static void explore(void)
{
    world_t here = world;
    bool any = false;
    for (unsigned self = 0; wrong == NULL && self < THREADS; self++) {
        bool moved = step(self);
        any |= moved;
        if (moved && wrong == NULL && is_new())
            explore();
        world = here;
    }
    if (!any && wrong == NULL)
        end_check();
}

static void world_begin(void)
{
    memset(&world, 0, sizeof world);
    for (unsigned page = 0; page < PAGES; page++)
        world.pages[page].class = 1;
    world.orphan[HEAP_COMMONS] = 1;
}

// What is wrong with an interleaving of it; NULL: none is.
static const char *scenario_explore(const scenario_t *of)
{
    scenario = of;
    wrong = NULL;
    worlds_seen = ends_seen = 0;
    memset(seen, 0, sizeof *seen << SEEN_SHIFT);
    world_begin();
    explore();
    printf("%-40s %9lu worlds, %6lu ends: %s\n", of->name, worlds_seen, ends_seen,
           wrong == NULL ? "sound" : wrong);
    return wrong;
}

int main(int count, char **arguments)
{
    bool found = false;
    for (unsigned i = 0; count == 3 && i < sizeof plants / sizeof *plants; i++)
        if (strcmp(arguments[2], plants[i]) == 0)
            plant = (plant_t)i;
    if (count != 1 && (count != 3 || plant == SOUND)) {
        fprintf(stderr, "usage: interleavings [--plant NAME]\n");
        return 2;
    }
    seen = malloc(sizeof *seen << SEEN_SHIFT);
    if (seen == NULL)
        return 1;
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        found |= scenario_explore(&scenarios[i]) != NULL;
    free(seen);
    return found != (plant != SOUND);
}
