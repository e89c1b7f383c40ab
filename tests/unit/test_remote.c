// tests/unit/test_remote.c - frees by other threads: the transitions one by one, and then every interleaving of two
// threads that free and of the owner, who collects, drains its inbox, ends, and is adopted from.
#include <criterion/criterion.h>

#include "remote.h"
#include "support.h"

static _Alignas(LOW_PAGE_BYTES) char memory[LOW_PAGE_BYTES];

static page_t small_page(void)
{
    size_class_start();
    page_t page = {.start = memory};
    page_init(&page, 4, true);
    page_carve(&page);
    return page;
}

Test(remote, a_pushed_list_can_be_read_back)
{
    block_t *first = (block_t *)memory;
    uint64_t word = remote_push(0, first, 3);
    cr_assert_eq(remote_count(word), 3);
    cr_assert_eq(remote_first(word), first);
    word = remote_push(word, first + 2, 5);
    cr_assert_eq(remote_count(word), 8);
    cr_assert_eq(remote_first(word), first + 2);
}

Test(remote, a_whole_page_can_be_counted)
{
    unsigned most = SMALL_BLOCKS_MAX;
    uint64_t word = 0;
    for (unsigned i = 1; i <= most; i++) {
        word = remote_push(word, (block_t *)memory, 1);
        cr_assert_eq(remote_count(word), i);
        cr_assert_eq(remote_first(word), (block_t *)memory);
    }
}

Test(remote, only_the_first_push_must_queue_the_page)
{
    cr_assert(remote_must_queue(0));
    cr_assert_not(remote_must_queue(remote_push(0, (block_t *)memory, 1)));
    cr_assert_not(remote_must_queue(remote_push_bit(0, 5)));
    cr_assert_not(remote_must_queue(REMOTE_QUEUED), "taken, but still in the inbox");
}

Test(remote, lists_freed_by_others_are_linked_together)
{
    page_t page = small_page();
    block_t *a = page.list, *b = a->next, *c = b->next;
    cr_assert(remote_free_list(&page, a, b, 2));
    cr_assert_not(remote_free_list(&page, c, c, 1));
    cr_assert_eq(remote_pending(&page), 3);
    cr_assert_eq(c->next, a);
    cr_assert_eq(a->next, b);
    cr_assert_null(b->next);
}

Test(remote, taking_leaves_the_mark_of_the_inbox_unless_it_was_left)
{
    page_t page = small_page();
    remote_free_list(&page, page.list, page.list, 1);
    uint64_t word = remote_take(&page, false);
    cr_assert_eq(remote_count(word), 1);
    cr_assert(remote_is_queued(&page));
    cr_assert_eq(remote_pending(&page), 0);
    cr_assert_eq(remote_take(&page, false) & ~REMOTE_QUEUED, 0, "nothing is there twice");
    remote_take(&page, true);
    cr_assert_not(remote_is_queued(&page));
}

Test(remote, a_medium_block_freed_twice_is_seen)
{
    size_class_start();
    page_t page = {.start = memory};
    bool already;
    page_init(&page, CLASS_FIRST_MEDIUM, true);
    cr_assert(remote_free_bit(&page, 3, &already));
    cr_assert_not(already);
    cr_assert_not(remote_free_bit(&page, 4, &already));
    cr_assert_not(already);
    cr_assert_not(remote_free_bit(&page, 3, &already));
    cr_assert(already);
    cr_assert_eq(remote_pending(&page), 2);
}

// --- every interleaving ----------------------------------------------------------------------------------------------
//
// One medium page, so that each block is known by its bit. Heap 0 owns it at first; its thread collects, drains, ends.
// Threads 1 and 2 have heaps 1 and 2 and free two blocks each; having queued the page they look whether its owner has
// ended, and adopt it then (heap_adopt_page), under the lock of heaps. Steps are single reads and writes of shared
// memory; the words change by the functions of remote.h.

#define FREERS      2
#define HEAPS       (1 + FREERS)
#define BLOCKS_EACH 2
#define ALL_BLOCKS  ((1u << FREERS * BLOCKS_EACH) - 1)

// Where a thread stands. All threads go through the same program of draining, so its places are shared.
typedef enum place {
    AT_REST,
    PUSH_SWAP,   // has read the word
    QUEUE_READ,  // must queue: reads the owner
    QUEUE_PUSH,  // puts the page on inbox[target]
    DRAIN_HOLDS, // took the page out of an inbox, looks whose it is
    DRAIN_TAKE,  // it is its own: takes what is there
    DRAIN_READ,  // it is another's: reads whose
    DRAIN_PUSH,
    ORPHAN_LOCK, // has put the page on inbox[target]: is that an orphan's? (heap_drain_orphan)
    ADOPT_LOCK,  // after a free: is the owner an orphan? (heap_adopt_page)
    END_LOCK,    // heap 0: becomes an orphan
    END_DRAIN,
    ENDED
} place_t;

typedef struct thread {
    uint8_t place, todo, target, drains; // todo: frees left; drains: drains and collects left
    uint8_t draining_for;                // the heap whose inbox is being drained
    uint8_t adopting, visiting; // holds the lock and drains the orphan's inbox, to adopt the page or for nothing else
    uint64_t seen;
} thread_t;

typedef struct state {
    uint64_t word;
    thread_t thread[HEAPS];
    uint8_t owner, orphan, lock; // lock: holder + 1
    uint8_t inbox[HEAPS];        // how often the page is in it
    uint8_t collected;           // bits taken back
    uint8_t twice;               // a block was taken back twice
} state_t;

static page_t shared; // the word's place while a function of remote.h works on it

static uint64_t state_take(state_t *state, bool leave_inbox)
{
    atomic_store(&shared.remote, state->word);
    uint64_t word = remote_take(&shared, leave_inbox);
    state->word = atomic_load(&shared.remote);
    return word;
}

static void give_back(state_t *state, uint64_t word)
{
    uint8_t bits = (uint8_t)(word & ALL_BLOCKS);
    state->twice |= state->collected & bits;
    state->collected |= bits;
}

static void lock_give_state(state_t *state)
{
    state->lock = 0;
}

// What comes after a drain: back to the adoption or the end that needed it.
static void drain_done(state_t *state, unsigned self)
{
    thread_t *thread = &state->thread[self];
    if (thread->adopting) {
        if (state->owner == 0) { // it was not given back: it is taken over
            state->owner = (uint8_t)self;
            give_back(state, state_take(state, false));
        }
        thread->adopting = 0;
        lock_give_state(state);
        thread->place = AT_REST;
    } else if (thread->visiting) {
        thread->visiting = 0;
        lock_give_state(state);
        thread->place = ADOPT_LOCK;
    } else if (thread->place == END_DRAIN || (self == 0 && state->orphan)) {
        lock_give_state(state);
        thread->place = ENDED;
    } else {
        thread->place = AT_REST;
    }
}

// Takes the inbox of `heap`. One exchange.
static void drain_begin(state_t *state, unsigned self, unsigned heap)
{
    thread_t *thread = &state->thread[self];
    uint8_t held = state->inbox[heap];
    state->inbox[heap] = 0;
    thread->draining_for = (uint8_t)heap;
    if (held == 0)
        drain_done(state, self);
    else
        thread->place = DRAIN_HOLDS;
}

// One step of what any thread may be in the middle of. False: it waits for the lock.
static bool step_middle(state_t *state, unsigned self)
{
    thread_t *thread = &state->thread[self];
    switch (thread->place) {
    case PUSH_SWAP:
        if (state->word != thread->seen) { // the swap fails and reads again
            thread->seen = state->word;
            return true;
        }
        state->word = remote_push_bit(state->word, (self - 1) * BLOCKS_EACH + --thread->todo);
        thread->place = remote_must_queue(thread->seen) ? QUEUE_READ : ADOPT_LOCK;
        return true;
    case QUEUE_READ:
    case DRAIN_READ:
        thread->target = state->owner;
        thread->place++;
        return true;
    case QUEUE_PUSH:
        state->inbox[thread->target]++;
        thread->place = ORPHAN_LOCK;
        return true;
    case DRAIN_PUSH:
        state->inbox[thread->target]++;
        drain_done(state, self);
        return true;
    case DRAIN_HOLDS:
        thread->place = state->owner == thread->draining_for ? DRAIN_TAKE : DRAIN_READ;
        return true;
    case DRAIN_TAKE:
        give_back(state, state_take(state, true));
        drain_done(state, self);
        return true;
    case ORPHAN_LOCK:
        if (thread->target != 0 || !state->orphan) {
            thread->place = ADOPT_LOCK;
            return true;
        }
        if (state->lock != 0)
            return false;
        state->lock = (uint8_t)(self + 1);
        thread->visiting = 1;
        drain_begin(state, self, 0);
        return true;
    case ADOPT_LOCK:
        if (state->owner != 0 || !state->orphan) {
            thread->place = AT_REST;
            return true;
        }
        if (state->lock != 0)
            return false;
        state->lock = (uint8_t)(self + 1);
        thread->adopting = 1;
        drain_begin(state, self, 0);
        return true;
    case END_LOCK:
        if (state->lock != 0)
            return false;
        state->lock = (uint8_t)(self + 1);
        state->orphan = 1;
        thread->place = END_DRAIN;
        return true;
    case END_DRAIN:
        drain_begin(state, self, 0);
        return true;
    default:
        return false;
    }
}

// What a thread at rest may begin: its choices are numbered. False: there is no such choice.
static bool step_begin(state_t *state, unsigned self, unsigned choice)
{
    thread_t *thread = &state->thread[self];
    if (choice == 0 && thread->todo != 0) {
        thread->seen = state->word;
        thread->place = PUSH_SWAP;
        return true;
    }
    if (choice == 1 && thread->drains != 0) {
        thread->drains--;
        drain_begin(state, self, self);
        return true;
    }
    if (choice == 2 && thread->drains != 0 && state->owner == self) {
        thread->drains--;
        give_back(state, state_take(state, false));
        return true;
    }
    if (choice == 3 && self == 0) {
        thread->place = END_LOCK;
        return true;
    }
    return false;
}

static unsigned inboxes(const state_t *state)
{
    unsigned count = 0;
    for (unsigned i = 0; i < HEAPS; i++) {
        place_t at = state->thread[i].place;
        count += state->inbox[i];
        count += at == QUEUE_READ || at == QUEUE_PUSH; // on its way into one
        count += at >= DRAIN_HOLDS && at <= DRAIN_PUSH;
    }
    return count;
}

static void state_holds(const state_t *state)
{
    cr_assert_eq(state->twice, 0, "a block was taken back twice");
    cr_assert_leq(inboxes(state), 1, "the page is in two inboxes");
    cr_assert_eq(inboxes(state), (state->word & REMOTE_QUEUED) != 0, "QUEUED says something else than the inboxes");
    unsigned freed = state->collected | (unsigned)(state->word & ALL_BLOCKS);
    for (unsigned i = 0; i < FREERS; i++)
        for (unsigned b = 0; b < BLOCKS_EACH; b++)
            cr_assert_eq(freed >> (i * BLOCKS_EACH + b) & 1, b >= state->thread[1 + i].todo, "a free is lost");
}

// At the end heap 0 has ended, and nobody would look into its inbox. The others drain theirs some day.
static void end_holds(state_t state)
{
    cr_assert_eq(state.inbox[0], 0, "the page is left in the inbox of an orphan");
    for (unsigned heap = 1; heap < HEAPS; heap++)
        if (state.inbox[heap] != 0) {
            cr_assert_eq(state.owner, heap);
            give_back(&state, state_take(&state, true));
        }
    cr_assert_eq(state.collected, ALL_BLOCKS, "blocks 0x%x of 0x%x came back", state.collected, ALL_BLOCKS);
    cr_assert_eq(state.word, 0);
}

// States seen before, by a hash of 64 bits: among some 10^6 states two alike are not to be expected.
#define SEEN_SLOTS ((size_t)1 << 22)
static uint64_t *seen_table;
static size_t states_seen, ends_seen;

static bool seen_before(const state_t *state)
{
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (const unsigned char *at = (const void *)state, *end = at + sizeof(*state); at < end; at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xd6e8feb86659fd93u;
        hash ^= hash >> 32;
    }
    size_t slot = hash % SEEN_SLOTS;
    for (; seen_table[slot] != 0; slot = (slot + 1) % SEEN_SLOTS)
        if (seen_table[slot] == (hash | 1))
            return true;
    seen_table[slot] = hash | 1;
    cr_assert_lt(++states_seen, SEEN_SLOTS / 2);
    return false;
}

_Static_assert(sizeof(state_t) % 8 == 0, "hashed by words");

static void explore(const state_t *state)
{
    bool moved = false;
    if (seen_before(state))
        return;
    state_holds(state);
    for (unsigned self = 0; self < HEAPS; self++)
        for (unsigned choice = 0; choice < 4; choice++) {
            state_t next;
            memcpy(&next, state, sizeof(next)); // with its padding, which is hashed
            bool rest = state->thread[self].place == AT_REST;
            if (rest ? step_begin(&next, self, choice) : choice == 0 && step_middle(&next, self)) {
                moved = true;
                explore(&next);
            }
        }
    if (moved)
        return;
    ends_seen++;
    for (unsigned self = 0; self < HEAPS; self++)
        cr_assert(state->thread[self].place == AT_REST || state->thread[self].place == ENDED, "thread %u is stuck",
                  self);
    end_holds(*state);
}

Test(remote, no_interleaving_loses_a_free_or_takes_it_twice, .timeout = 60)
{
    static state_t start;
    size_class_start();
    shared = (page_t){.start = memory};
    page_init(&shared, CLASS_FIRST_MEDIUM, true);
    seen_table = calloc(SEEN_SLOTS, sizeof(*seen_table));
    memset(&start, 0, sizeof(start));
    start.thread[0].drains = 2;
    for (unsigned i = 1; i <= FREERS; i++)
        start.thread[i] = (thread_t){.todo = BLOCKS_EACH, .drains = 1};
    explore(&start);
    cr_log_info("%zu states, %zu ends", states_seen, ends_seen);
    cr_assert_gt(states_seen, 10000);
    cr_assert_gt(ends_seen, 10);
    free(seen_table);
}
