// pool/heap.h - a thread's heap: the pages it owns, by class, and the two hot functions.
//
// A heap belongs to one thread at a time. When the thread ends, the heap becomes an orphan as it is, and the next new
// thread takes it over whole; pages of orphans are adopted one by one by who frees into them or lacks pages.
//
//   alive  --thread exit-->  orphan  --new thread-->  alive          alive  --fork, in the child-->  lost
//
// A lost heap's thread did not come along into the child. It may have been writing while the kernel copied, so its
// lists are never read again: its blocks can be used and freed, but what is free in its pages stays where it is.
//
// malloc pops from head[class]; free pushes on the page's own list. Both touch only what the thread owns.
// [owner] the heap's thread; for an orphan, whoever holds LOCK_HEAPS; what the fast paths leave alone, a deputy, too
// (heap_enter)   [atomic] anyone   [heaps] LOCK_HEAPS
#ifndef TARN_HEAP_H
#define TARN_HEAP_H

#include "block_bits.h"

// Whether the blocks of a class are mostly freed by others. Both halve now and then, so that the past fades. A deputy counts, too,
// and the commonest refill counts at the same time: then one of them is forgotten.
typedef struct handover {
    uint32_t handed; // [owner] blocks given to the program of late
    uint32_t remote; // [owner] blocks that others have freed of late
} handover_t;

typedef struct small_bin {
    page_t *current;              // [owner] the page that refills take from; NULL at first
    page_t *head_page;            // [owner] the page whose blocks the head list has: the current one, or a mosaic; NULL: other
                                  // heaps' pages (borrowed). Means nothing while the list is empty
    page_id_t bucket[BUCKETS];    // [owner] pages with blocks on their list, by fullness
    page_id_t scanned;            // [owner] nearly empty pages that purge.c need not look at
    page_id_t uncarved;           // [owner] pages with an empty list and carve steps left
    uint64_t handed;              // [owner] blocks ever put on the head list; hardened: see heap_harden_ahead
    uint32_t turn;                // [owner] heap->turns when it last took another page
    handover_t handover;
    bool short_refills;           // [owner] enough of the sizes asked for is known (requested.h), and blocks do not go one
                                  // by one: refill_quick will do
    uint8_t lent;                 // [owner] blocks that larger classes gave to its requests, up to LENT_BLOCKS
} small_bin_t;

// What the slow paths saw of the sizes asked for: the estimate of requested bytes rests on it.
typedef struct size_sample {
    uint32_t count;      // [owner] requests seen
    uint32_t lent_gap;   // [owner] what blocks that it lent to smaller classes have beyond those: of all so far
    uint64_t gap;        // [owner] sum of block_bytes - requested
    uint64_t gap_square; // [owner] sum of its squares
} size_sample_t;

// Of a class's medium blocks the first few are noted with their sizes (requested.h), then each 64th: a quarter of what
// each 16th costs (bench/instructions, column medium: 7 of 106 instructions).
#define HEAP_MEDIUM_NOTED_FIRST 16u
#define HEAP_MEDIUM_NOTED_EVERY 64u

typedef struct medium_bin {
    page_t *current;  // [owner] the page that blocks are taken from; NULL at first
    uint64_t due_at;  // [owner] number of the next block that is looked at: its size noted, or it is sampled; 0: not yet
                      // known. Blocks ever given to the program: due_at - due_in
    uint32_t due_in;  // [owner] blocks until then
    uint32_t block_bytes; // [owner] the class's, once there is a current page
    page_id_t pages;  // [owner] other pages with free blocks
    uint32_t turn;    // [owner] heap->turns when it last looked for something resident
    handover_t handover; // counted in pages' blocks
    size_sample_t sizes;
} medium_bin_t;

// The medium block that was handed out last, by the short way and from a page that is still the current one: its free
// needs no search. Only that short way sets it, so the block is no sample.
typedef struct medium_last {
    const void *block;    // [owner] NULL: none, or it may have been freed
    page_t *page;         // [owner] the current page that it is in
    uint64_t bit;         // [owner] its bit
    uint32_t block_bytes; // [owner]
} medium_last_t;

// Where a class's next blocks are drawn from, hardened: a word of the current page's bits. A cache line, so that its place
// is a shift.
typedef struct small_draw {
    _Alignas(CACHE_LINE_BYTES) block_word_t *word; // [owner] it has `run` free blocks at least; NULL: there is none
    block_word_t *words;  // [owner] the page's
    page_t *page;         // [owner] that the word is of: the current one
    char *base;           // [owner] block of the word's bit 0
    uint64_t chance;      // [owner] turned at each draw
    uint32_t run;         // [owner] so many draws until another look at which words have any; 0: there is no word
    uint32_t quick;       // [owner] behind those, blocks until the next that is looked at. bin->handed has both already
    uint32_t block_bytes; // [owner] the class's
    uint32_t near;        // [owner] level 1: the next block is one of near + 1 on from the first free one; see near_of
} small_draw_t;

_Static_assert(sizeof(small_draw_t) == CACHE_LINE_BYTES, "one line each");

// Frees of other heaps' blocks of one small class, the last one first. Of one page, so that what a thread holds back that
// only frees keeps one page a class from becoming empty; but of any pages where the thread borrows them: then few are held
// for long, and to hand each over alone would cost more than to hand it out again.
// A cache line, so that its place is a shift, with what a free wants to know of the class.
typedef struct ring_slot {
    _Alignas(CACHE_LINE_BYTES) block_t *first; // [owner]
    uintptr_t apart;      // [owner] address bits in which no two of its blocks may differ: those of a page's number, or none
    uint16_t count, most; // [owner] blocks in it, and how many there may be; most is 0 until the first one comes
    bool borrowed;        // [owner] a refill took its blocks since it was last full
    size_class_t class;   // [owner] as size_class_table has it, once `most` is set; until then no block has a number in it
} ring_slot_t;

_Static_assert(sizeof(ring_slot_t) == CACHE_LINE_BYTES, "one line each");

// How far it is to the next sample of each class: see sample.h.
typedef struct sample_gaps {
    size_t rate_bytes;            // [owner] what they were drawn for; 0: nothing is sampled
    size_t due_bytes;             // [owner] the block just taken is a sample of this rate; 0: it is none
    uint64_t random;              // [owner]
    uint64_t large_bytes;         // [owner]
    uint64_t small_at[SMALL_CLASSES + 1]; // [owner] small classes: number of the next sampled block, as `handed` counts
                                          // them; HEAP_SAMPLE_NEVER: there is none
    uint64_t medium_at[MEDIUM_CLASSES];  // [owner] medium ones: the same; 0: there is none
} sample_gaps_t;

typedef enum heap_state { HEAP_ALIVE, HEAP_ORPHAN, HEAP_LOST } heap_state_t;

// In an order in which a small program touches two or three OS pages: what every slow path reads, and the classes of 432 bytes at most,
// stand in the first, other small ones and medium ones up to 10 KiB in the second.
struct heap {
    block_t *head[SMALL_CLASSES + 1]; // [owner] head[0] stays empty
    uint64_t small_seen, medium_seen; // [owner] classes that have a current page or a head list, a bit each: what
                                 // heap_flush has to look at
    size_t ring_bytes;           // [owner] of the blocks in the ring
    medium_last_t last;          // [owner]
    size_t idle_bytes;           // [owner] free and resident in partly used pages, about
    size_t idle_due_bytes;       // [owner] above this, purge.c is to have a look
    size_t idle_stuck_bytes;     // [owner] what the last purge could not give back of that
    size_t idle_told_bytes;      // [owner] its part of all heaps' idle bytes, as of the last look
    size_t pending_untold_bytes; // [owner] what it freed of others' blocks, less what it took back of those that others freed, as far
                                 // as the budget has not been told of it; wraps below 0
    size_t sparse_bytes;         // [owner] what nearly empty small pages hold idle, about: those in bucket 0, and scanned
    uint32_t turns;              // [owner] how often a small class took another page, or any class blocks of a mosaic
    uint32_t unwanted_turn, unwanted_wait; // [owner] when heap_purge_unwanted has looked last, and for how many turns it
                                 // will not
    uint32_t entered;            // [owner] slow paths that are under way, one within the other; read by deputies
    _Atomic uint32_t stopped;    // [heaps] not 0: a deputy is at work, no slow path begins; read by the owner
    uint64_t refills;            // [owner] of small classes
    uint64_t purged_refills;     // [owner] refills when memory was last given back
    uint64_t harden_random;      // [owner] block_bits_random; 0: not hardened
    uint32_t trap_in;            // [owner] allocations to the next trap (trap.h); 0: there is none
    struct quarantine *quarantine; // [owner] what is held back (harden.c); NULL: nothing is
    // What others write has a line of its own: they do not slow the owner down, nor it them.
    _Alignas(CACHE_LINE_BYTES) _Atomic page_id_t inbox; // [atomic] pages with remote frees; push and take all:
                                 // sequentially consistent, for the argument with state (registry.c)
    _Atomic int state;           // [atomic] heap_state_t; written under LOCK_HEAPS
    _Atomic size_t vacant_bytes; // [atomic] what pages hold in the inbox in which nothing lives, about
    _Atomic size_t idle_gone_bytes; // [atomic] of idle_bytes: what deputies have given up, and the owner has not subtracted
    heap_t *next_heap;           // [const] the registry: all heaps ever
    heap_t *next_orphan;         // [heaps]
    size_t orphaned_bytes;       // [heaps] what it kept when it became an orphan, about
    size_sample_t small_sizes[SMALL_CLASSES + 1]; // [owner]
    _Alignas(CACHE_LINE_BYTES) small_bin_t small[SMALL_CLASSES + 1];
    medium_bin_t medium[MEDIUM_CLASSES];
    sample_gaps_t gaps;                // [owner]
    // By class: the first one stays empty. Only who frees others' blocks touches it.
    _Alignas(CACHE_LINE_BYTES) ring_slot_t ring[RING_SLOTS + 1]; // [owner]
    // Last: only hardened heaps touch it. The last one stays empty: no class is that large.
    small_draw_t draw[SMALL_CLASSES + 2]; // [owner]
};

static inline size_sample_t *heap_sizes(heap_t *heap, unsigned class)
{
    return class < CLASS_FIRST_MEDIUM ? &heap->small_sizes[class] : &heap->medium[class - CLASS_FIRST_MEDIUM].sizes;
}

// The calling thread's heap; heap_none (whose lists are empty, so that every request takes the slow path) before its
// first allocation and after its end. Initial-exec: the loader places it, no call is made to reach it.
extern heap_t heap_none;
POOL_LOCAL extern __thread heap_t *heap_self __attribute__((tls_model("initial-exec")));

// An orphan from the start, and for ever: full pages that others will free stand here until one of them does.
POOL_LOCAL extern heap_t heap_commons;

// Whether every request's size is noted (pool_options_t). [const] after the start.
extern bool heap_requested_exact;
// Whether small blocks go one by one, past the fast paths: for exact sizes, or hardened. [const] after the start.
POOL_LOCAL extern bool heap_one_by_one;

// --- slow paths and deputies (deputy.c) ------------------------------------------------------------------------------
//
// A thread that sleeps takes nothing back. So where much waits in its inbox, who frees there becomes its deputy for a moment: holds
// LOCK_HEAPS, stops the heap's slow paths, and gives up its *vacant* pages, those whose used blocks have all been freed by others. No
// free of the owner's can come to such a page, and malloc takes nothing from it without a slow path, unless it is a current one: those
// stay. All else that a deputy touches, lists of pages and counters, is the slow paths' alone, but for three: idle_bytes
// (idle_gone_bytes), `left` (heap_free_counts) and handover_t.
//
// So every slow path of a heap stands between heap_enter and heap_leave, or its thread holds LOCK_HEAPS. The owner's store and load
// here, and the deputy's the other way round, want a barrier between them on both sides; the owner's is the deputy's system call
// (os_barrier_threads), so that a slow path costs four instructions more.

// Until no deputy is at work; one within another does not wait. For heap_enter.
RARE void heap_wait(heap_t *heap);

static inline void heap_enter(heap_t *heap)
{
    heap->entered++;
    atomic_signal_fence(memory_order_seq_cst);
    if (unlikely(atomic_load_explicit(&heap->stopped, memory_order_acquire) != 0))
        heap_wait(heap);
}

static inline void heap_leave(heap_t *heap)
{
    bits_count_down(&heap->entered);
}

// Between what a free of the owner's writes and its count in `left`: as soon as that says that no block of the page lives but those that
// others have freed, a deputy may give the page up, and what would come later is written to another heap's. For the compiler alone: the
// deputy's barrier does the rest.
static inline __attribute__((always_inline)) void heap_free_counts(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

// Whether the heap's lists are the calling thread's now. For assertions.
bool heap_is_entered(heap_t *heap);
extern size_t heap_look_bytes; // [const] so much is vacant at least when a deputy is wanted; tests make it little
// What a page holds that is about to be vacant, and whose it is. 0: it will not be.
typedef struct vacant {
    heap_t *owner;
    size_t bytes;
} vacant_t;

// The calling thread is about to free `count` used blocks of another heap's page: before that, since afterwards the page may be
// anything. It may be wrong where its owner is at work on it: that is a page more or less to be counted.
vacant_t heap_vacant_see(page_t *page, unsigned count);
// It has: counts that, and is a deputy if one is wanted. heap: its own, or heap_none.
void heap_vacant_tell(heap_t *heap, vacant_t seen);
// What deputies have given up of the heap's idle bytes.
void heap_idle_settle(heap_t *heap);
// The owner takes back what others have freed: its vacant pages are no deputy's any more.
void heap_vacant_forget(heap_t *heap);

// --- the hot paths -------------------------------------------------------------------------------------------------

// slow: the head list is empty; it gets heap_self, too. beyond: the request is none of the small ones.
static inline void *heap_alloc_small_or(size_t size_bytes, void *(*slow)(size_t, heap_t *), void *(*beyond)(size_t))
{
    if (unlikely(size_bytes > SMALL_MAX_BYTES))
        return beyond(size_bytes);
    heap_t *heap = heap_self;
    block_t **head = &heap->head[size_class_small(size_bytes)];
    block_t *block = *head;
    if (unlikely(block == NULL))
        return slow(size_bytes, heap);
    *head = block->next;
    return block;
}

// The owner's free of a page had its last counted block: the page is empty or crossed a bucket.
void heap_page_event(page_t *page);
void heap_medium_event(heap_t *heap, page_t *page); // the same of a medium page of `heap`
// After free memory has grown: purges what is over the budget. What others have freed is taken back first, if more is pending than
// may stay free.
void heap_purge_excess(heap_t *heap);

typedef enum heap_free_way { HEAP_FREED, HEAP_FREE_SLOW, HEAP_FREE_BEYOND } heap_free_way_t;

// What a local free has found out of a block: nobody need do so again.
typedef struct heap_found {
    size_t offset;      // from zone_front_base
    page_t *page;       // if that is in the front: its page as zone_front_page has it,
    heap_t *owner_word; // and that one's owner word
} heap_found_t;

// Frees a small block that is the calling thread's. SLOW: it is not, or freed twice. BEYOND: it lies in none of the small zones of
// the start.
static inline heap_free_way_t heap_free_local(void *address, heap_found_t *found)
{
    size_t offset = found->offset = (uintptr_t)address - zone_front_base;
    if (unlikely(offset >= zone_front_limit))
        return HEAP_FREE_BEYOND;
    page_t *page = found->page = zone_front_page(offset);
    found->owner_word = page_owner_word(page);
    if (unlikely(found->owner_word != heap_self))
        return HEAP_FREE_SLOW;
    block_t *block = address, *list = page->list;
    if (unlikely(block == list)) // freed twice in a row
        return HEAP_FREE_SLOW;
    block->next = list;
    page->list = block;
    heap_free_counts();
    if (unlikely(--page->left == 0))
        heap_page_event(page);
    return HEAP_FREED;
}

// beyond: gets how far the address is from zone_front_base.
static inline void heap_free_local_or(void *address, void (*slow)(void *, heap_found_t), void (*beyond)(void *, size_t))
{
    heap_found_t found;
    heap_free_way_t way = heap_free_local(address, &found);
    if (unlikely(way == HEAP_FREE_BEYOND))
        return beyond(address, found.offset);
    if (unlikely(way == HEAP_FREE_SLOW))
        slow(address, found);
}

// The same for the block that heap->last has. No look at whether too much is idle now: what this block adds was taken off
// when it was handed out. False: it is another block, or another thread has freed it.
static inline bool heap_free_medium_last(heap_t *heap, const void *block)
{
    medium_last_t *last = &heap->last;
    if (block != last->block || unlikely(block == NULL))
        return false;
    page_t *page = last->page;
    if (unlikely((atomic_load_explicit(&page->remote, memory_order_relaxed) & last->bit) != 0))
        return false;
    last->block = NULL;
    page->dirty_bits |= last->bit;
    heap->idle_bytes += last->block_bytes;
    return true;
}

// The same for any block of a medium page of the heap's; its bit changes, and nothing of the block is touched. A double free
// is seen, whoever freed it first. hardened: its canary is looked at. False: as above, or it is not the start of a block.
static inline __attribute__((always_inline)) bool heap_free_medium_own(heap_t *heap, void *address, page_t *page,
                                                                       bool hardened)
{
    const size_class_t *class = page_class(page);
    unsigned index = size_class_index_exact(class, (size_t)((char *)address - page->start));
    if (unlikely(index >= class->block_count))
        return false;
    if (hardened && unlikely(*harden_canary_place(address, class->block_bytes) != harden_canary(address)))
        return false;
    uint64_t dirty = page->dirty_bits;
    if (unlikely((dirty | page->clean_bits | atomic_load_explicit(&page->remote, memory_order_relaxed)) >> index & 1))
        return false;
    page->dirty_bits = dirty | (uint64_t)1 << index;
    size_t idle_bytes = heap->idle_bytes += class->block_bytes;
    heap_free_counts();
    if (unlikely(--page->left == 0))
        heap_medium_event(heap, page);
    else if (unlikely(idle_bytes > heap->idle_due_bytes))
        heap_purge_excess(heap);
    return true;
}

static inline bool heap_free_medium_quick(heap_t *heap, void *address, page_t *page)
{
    return likely(page_owner_word(page) == heap) && heap_free_medium_own(heap, address, page, false);
}

static inline ring_slot_t *heap_ring_slot(heap_t *heap, unsigned class)
{
    return &heap->ring[class];
}

static inline bool heap_ring_goes_with(const ring_slot_t *slot, const block_t *block)
{
    return (((uintptr_t)slot->first ^ (uintptr_t)block) & slot->apart) == 0;
}

// Whether one more block may be gathered in the slot as it is.
static inline bool heap_ring_has_room(const heap_t *heap, const ring_slot_t *slot, const block_t *block)
{
    return likely(slot->count < slot->most) && likely(heap->ring_bytes < RING_BYTES) &&
           likely(heap_ring_goes_with(slot, block));
}

static inline void heap_ring_put(heap_t *heap, ring_slot_t *slot, block_t *block)
{
    block->next = slot->first;
    slot->first = block;
    slot->count++;
    heap->ring_bytes += slot->class.block_bytes;
}

// So many blocks of a full page have to be freed until it is looked at again.
static inline unsigned heap_full_page_returns(const size_class_t *class)
{
    return (unsigned)size_max(class->block_count >> FULL_PAGE_RETURN_SHIFT, 1);
}

// What a page in the bucket below a quarter holds idle, about.
static inline size_t heap_sparse_idle_bytes(const page_t *page)
{
    return bits_count(page->soiled) * CARVE_BYTES / 4 * 3;
}

// Values of page->bucket beyond the fullness buckets.
#define BUCKET_SCANNED BUCKETS
#define BUCKET_UNCARVED (BUCKETS + 1)

// Ends the list behind its first `length` blocks; returns what is behind.
static inline block_t *heap_blocks_cut(block_t *list, unsigned length)
{
    for (unsigned i = 1; i < length; i++)
        list = list->next;
    block_t *rest = list->next;
    list->next = NULL;
    return rest;
}

// --- small blocks (heap.c); all [owner] ------------------------------------------------------------------------------

// The slow part of a local free, for pages that the fast path does not know. The block is checked to be one.
void heap_free_small(page_t *page, block_t *block);
// Puts the page where its number of used blocks says: a bucket, no list, or back to its zone.
void heap_settle(heap_t *heap, page_t *page);
// Gives a page's remote frees back to the page. leave_inbox: the page was just taken out of an inbox.
void heap_collect(heap_t *heap, page_t *page, bool leave_inbox);
void heap_inbox_drain(heap_t *heap);
static inline bool heap_inbox_has(const heap_t *heap)
{
    return atomic_load_explicit(&heap->inbox, memory_order_relaxed) != 0;
}

// Puts page on its owner's inbox, and returns that owner. A mosaic has none: NULL, and its frees are done.
heap_t *heap_inbox_push(page_t *page);
void heap_unlist(heap_t *heap, page_t *page);
// The same, and returns what the caller has to subtract from the heap's idle bytes.
size_t heap_unlist_idle(heap_t *heap, page_t *page);
// Head lists go back to their pages, ring and inbox are emptied, empty pages are given up.
void heap_flush(heap_t *heap);
// The same of one class: it has no head list and no current page then.
void heap_class_flush(heap_t *heap, unsigned class);
// When memory is refused: full pages whose few free blocks are passed over otherwise serve, too. Walks the zone.
RARE void heap_class_relist(heap_t *heap, unsigned class);
RARE void heap_medium_relist(heap_t *heap, page_t *page);
// Hands the borrowed head lists over.
void heap_borrowed_flush(heap_t *heap);
void heap_ring_flush(heap_t *heap);
// What budget_pend says, of the thread's frees and of its pages, in steps. heap may be heap_none: at once then.
void heap_pend(heap_t *heap, size_t bytes);
void heap_unpend(heap_t *heap, size_t bytes);
void heap_pend_tell(heap_t *heap); // now, all of it
// A free of another heap's small block. heap may be heap_none. False: it is on its way already (a double free).
bool heap_free_remote(heap_t *heap, page_t *page, block_t *block);

// --- refills (refill.c); all [owner] ----------------------------------------------------------------------------------

// Fills the head list of a class and returns a block; or a larger class's block, if this one has no page yet. NULL: no memory.
block_t *heap_refill(heap_t *heap, unsigned class);
// The page that blocks of the class are taken from, with some on its list. NULL: no memory.
page_t *heap_current_with_list(heap_t *heap, unsigned class);
// One block past the head list, which stays empty.
block_t *heap_take_one(heap_t *heap, unsigned class);

// --- hardened small blocks (harden.c), where harden_level is not 0 ---------------------------------------------------

// A heap gets its first random bits.
void heap_harden_begin(heap_t *heap);
// A heap is made. [heaps]
void heap_harden_create(heap_t *heap);
// A page has come from its zone. False: no memory.
bool heap_harden_page(page_t *page);
// The level from which on freed blocks are zeroed, held back for a while, and looked at when they are handed out again.
#define HARDEN_HOLDS 2

// Of hardened requests of a class every so manieth is looked at: its size may be noted (requested.h). As of medium ones.
#define HARDEN_NOTED_EVERY 64u
// The lowest bits of `chance`, six at most, say which block is drawn. Turned by seven bits, the 64 draws until it is renewed
// have all different ones.
#define HARDEN_CHANCE_TURN 7u
_Static_assert(HARDEN_NOTED_EVERY <= 64 && HARDEN_CHANCE_TURN % 2 == 1, "a turn by an odd number comes round after 64");

// Tells if a block that is about to be handed out is not all zero, and makes it so.
void heap_harden_verify(void *block, size_t block_bytes);
// A freed block is zeroed and held back; the oldest ones become free instead. False: another thread has just freed it.
bool heap_harden_hold(heap_t *heap, page_t *page, unsigned index);
// All that is held back becomes free.
void heap_harden_flush(heap_t *heap);
// A block is about to be handed out.
// clean: it is known to read as zero.
static inline void heap_harden_born(void *block, size_t block_bytes, bool clean)
{
    if (unlikely(harden_level >= HARDEN_HOLDS) && !clean)
        heap_harden_verify(block, block_bytes);
    harden_canary_write(block, block_bytes);
}
// Tells if the canary is not what it was, and puts it right.
void heap_harden_dies(page_t *page, void *block);
// As heap_take_one. It is looked at: its size may be noted, and it may be a sample.
block_t *heap_harden_take(heap_t *heap, unsigned class);
// Any draw, the first and last of a run too. NULL: the next block is to be looked at, or the current page has none.
block_t *heap_harden_draw_any(heap_t *heap, size_t class);
// The same for a small request of level 1, with its canary; slow serves it otherwise. heap may be heap_none.
HARDENED void *heap_harden_draw_or(size_t size_bytes, heap_t *heap, void *(*slow)(size_t));
// The current page changes.
void heap_harden_drop(heap_t *heap, size_t class);

// Of a small class, blocks that bin->handed has, and that have not been handed out.
static inline unsigned heap_harden_ahead(const heap_t *heap, size_t class)
{
    const small_draw_t *draw = &heap->draw[class];
    return unlikely(harden_level != 0) ? draw->run + draw->quick : 0;
}

// Takes a block by chance out of the word at hand, which has one.
static inline __attribute__((always_inline)) block_t *heap_harden_draw(small_draw_t *draw, bool is_near)
{
    block_word_t *word = draw->word;
    uint64_t free = atomic_load_explicit(word, memory_order_relaxed), chance = draw->chance;
    unsigned bit;
    if (is_near) { // no more than a turn of the word: the nearest one behind it, and from the word's end on to its start
        unsigned turn = bits_lowest(free) + ((unsigned)chance & draw->near);
        bit = (bits_lowest(bits_turn(free, turn)) + turn) % 64;
    } else {
        bit = block_bits_within(free, (unsigned)chance % 64);
    }
    atomic_store_explicit(word, free & ~((uint64_t)1 << bit), memory_order_relaxed);
    draw->chance = bits_turn(chance, HARDEN_CHANCE_TURN);
    draw->page->left++;
    return (block_t *)(draw->base + (size_t)bit * draw->block_bytes);
}

// Level 1: whether a page with this owner word is the calling thread's. All hardened ones are marked, and a mosaic is no
// heap's.
static inline bool heap_harden_is_own(const heap_t *owner_word)
{
    return owner_word == (heap_t *)((uintptr_t)heap_self | PAGE_MARK);
}

// A free of a page that is the calling thread's, with nothing wrong. words: the page's free ones. Each word once:
// block_bits_is_freed and block_bits_put in one. At this level nothing is held; what is pending is read where something may
// be, and only if looks_there: the short way leaves those pages. False: any other, and nothing has happened.
static inline __attribute__((always_inline)) bool heap_harden_free_own(page_t *page, void *block, block_word_t *words,
                                                                       bool looks_there)
{
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((char *)block - page->start);
    unsigned index = size_class_index_exact(class, offset);
    if (unlikely(index >= class->block_count || !(page->carved >> (offset >> CARVE_SHIFT) & 1) ||
                 *harden_canary_place(block, class->block_bytes) != harden_canary(block)))
        return false;
    block_word_t *word = words + index / 64;
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed), after = before | block_bits_of(index);
    if (unlikely(after == before))
        return false;
    if (unlikely(atomic_load_explicit(&page->remote, memory_order_relaxed) != 0) &&
        (!looks_there || (block_bits_elsewhere(page, word) >> (index % 64) & 1)))
        return false;
    atomic_store_explicit(word, after, memory_order_relaxed);
    if (unlikely(before == 0))
        page->free_words |= (uint64_t)1 << index / 64;
    if (unlikely(--page->left == 0) && page->place != PAGE_CURRENT)
        heap_page_event(page);
    return true;
}

// Any heap's block, live as far as could be seen. heap may be heap_none. False: another thread has just freed it.
bool heap_harden_free(heap_t *heap, page_t *page, unsigned index);
void heap_harden_collect(heap_t *heap, page_t *page, uint64_t word);

// --- medium blocks (medium.c) ----------------------------------------------------------------------------------------

// The class whose block a request of `class` gets, as if it had been asked for: another if only that has a resident one. Before
// all else, and nothing else comes in between.
unsigned heap_medium_class(heap_t *heap, unsigned class, size_t alignment);
// class - CLASS_FIRST_MEDIUM = index; *clean: the block reads as zero
block_t *heap_alloc_medium(heap_t *heap, unsigned class, bool *clean);
void heap_free_medium(heap_t *heap, page_t *page, unsigned index);
// The same in a page of any heap. False: another thread has freed the block already.
bool heap_free_medium_of(heap_t *heap, page_t *page, unsigned index);
// Whether the class's next block is one to be looked at; heap_alloc_medium comes next, then heap_medium_arm if so.
bool heap_medium_due(heap_t *heap, unsigned class);
// Counts anew to the next block that is to be looked at.
void heap_medium_arm(heap_t *heap, unsigned class);

// Whether the size of a class's block with this number is noted. The first is number 1.
static inline bool heap_medium_is_noted(uint64_t number)
{
    return number <= HEAP_MEDIUM_NOTED_FIRST || number % HEAP_MEDIUM_NOTED_EVERY == 0 || heap_requested_exact;
}

// Whether the block with this number is left to the slow path: hardened, each is.
static inline bool heap_medium_is_slow(uint64_t number)
{
    return heap_one_by_one || heap_medium_is_noted(number);
}

static inline uint64_t heap_medium_handed(const medium_bin_t *bin)
{
    return bin->due_at - bin->due_in;
}
void heap_medium_settle(heap_t *heap, page_t *page);
void heap_medium_class_flush(heap_t *heap, unsigned class);

// Whether a class that last needed a page at `turn` has not for a while.
static inline bool heap_class_is_unwanted(const heap_t *heap, uint32_t turn)
{
    return heap->turns - turn >= UNWANTED_TURNS;
}

// --- sparse pages become mosaics (sparse.c) --------------------------------------------------------------------------

extern size_t heap_sparse_least_bytes; // [const] so much may be sparse in any case; tests make it little

// Where a class would take a page that is not resident: blocks of it from the runs of mosaics, at most `most`, linked,
// all of one page. NULL: there are none, and too little is sparse for another mosaic.
block_t *heap_mosaic_take(heap_t *heap, unsigned class, unsigned most, page_t **page, unsigned *count);

// --- the registry of heaps (registry.c) --------------------------------------------------------------------------

extern lock_t heap_lock;

// The calling thread gets a heap: an orphan, or a new one. NULL: no memory.
heap_t *heap_begin(void);
// Orphans give back what they keep for the next thread. Returns the bytes.
size_t heap_orphans_purge(void);
// The page left its place as the current one. If it is full, and blocks of its kind are mostly freed by others, it goes to
// the commons: whoever frees into it becomes its owner. True: it went.
bool heap_give_up(heap_t *heap, page_t *page, handover_t *handover);
static inline void heap_handover_count(handover_t *handover, unsigned handed, unsigned remote)
{
    const unsigned handed_most = 1 << 14; // of late: blocks by the ten thousand
    uint32_t all_handed = __atomic_load_n(&handover->handed, __ATOMIC_RELAXED) + handed;
    uint32_t all_remote = __atomic_load_n(&handover->remote, __ATOMIC_RELAXED) + remote;
    unsigned fades = unlikely(all_handed > handed_most);
    __atomic_store_n(&handover->handed, all_handed >> fades, __ATOMIC_RELAXED);
    __atomic_store_n(&handover->remote, all_remote >> fades, __ATOMIC_RELAXED);
}
handover_t *heap_handover_of(heap_t *heap, const page_t *page);
// Whether the heap itself frees half of the blocks at least.
static inline bool heap_handover_is_own(const handover_t *handover)
{
    return handover->remote <= handover->handed / 2;
}
// Empties the inbox of a heap that is an orphan by now: who pushed there looks afterwards, since nobody else will.
void heap_drain_orphan(heap_t *heap);
// The calling thread's heap becomes an orphan.
void heap_end(void);
// Takes pages of the class over from orphans. True if there were any.
bool heap_adopt_class(heap_t *heap, unsigned class);
// Takes over one page, if its owner is an orphan. True: it is the heap's now. A thread without a heap (heap_none) only
// empties the orphan's inbox, since nobody else will.
bool heap_adopt_page(heap_t *heap, page_t *page);
// In the child of a fork: every heap but the caller's is lost.
void heap_fork_child(void);
unsigned heap_alive_count(void);
// Idle bytes of all heaps that have a thread, as each last told them.
size_t heap_idle_all(void);
void heap_idle_tell(heap_t *heap, size_t bytes);
heap_t *heap_first(void); // the registry, by next_heap; any thread

// --- the profile's samples (sample.c) ----------------------------------------------------------------------------------

extern size_t heap_sample_bytes; // mean distance of samples; 0: no profile
#define HEAP_SAMPLE_NEVER UINT64_MAX

// A heap gets its first gaps.
RARE void heap_sample_begin(heap_t *heap);
// How many blocks of a list of `count` may be handed out before the next refill: the sampled one is the first of its
// list. Sets due_bytes if that is this list's first. Before they count as handed.
RARE unsigned heap_sample_cut(heap_t *heap, unsigned class, unsigned count);
// The medium block just taken is a sample: sets due_bytes.
RARE void heap_sample_medium(heap_t *heap, unsigned class);
// due_bytes is set: the block is noted, and its page marked.
RARE void heap_sample_block(heap_t *heap, unsigned class, void *block, size_t size_bytes);
// A large block was allocated. Before and after realloc has changed one; hold gives what resized wants.
RARE void heap_sample_large(heap_t *heap, void *block, size_t size_bytes);
RARE uint32_t heap_sample_hold(const void *block);
RARE void heap_sample_unhold(uint32_t number, const void *block); // realloc has failed
RARE void heap_sample_resized(heap_t *heap, uint32_t number, void *old_block, size_t old_bytes, void *block,
                              size_t size_bytes);
// A live block, sampled or not, is about to be freed. Before anybody else can get its address.
RARE void heap_sample_dies(const void *block);
// The owner of a marked page frees a block that is not sampled.
void heap_sample_unmark_stale(page_t *page);

// --- giving memory back (purge.c) --------------------------------------------------------------------------------

// heap_purge_excess (above) where none has grown, and only if so much is pending.
void heap_inbox_drain_excess(heap_t *heap);
// More memory is about to become resident: what classes that nobody asks for keep idle beyond the budget without its
// credit goes first. The credit is for what is wanted again.
void heap_purge_unwanted(heap_t *heap);
// budget_has_risen: what is kept and stale goes.
RARE void heap_purge_stale(void);
// Purges free OS pages inside the heap's partly used pages until `wanted` bytes are given back or none is left.
size_t heap_purge_idle(heap_t *heap, size_t wanted);

#endif
