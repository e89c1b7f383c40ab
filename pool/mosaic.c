// pool/mosaic.c - see mosaic.h.
#include "mosaic.h"

#include <assert.h>

#include "budget.h"
#include "os_linux.h"
#include "remote.h"
#include "zone_page.h"
#include "zone_purge.h"

#define ROWS 13u // log2 of a run's granules: to a page of 64 KiB whole
#define ROW_NONE ROWS

// A row's mosaics have runs of up to twice the least length: so a few are looked at, before a higher row is.
static const unsigned row_tries = 8;

// Shorter runs are left alone: 256 bytes. They are most of the runs and little of the memory, and a list from them is a walk over
// the page's bits and a line of the cache for each block (decision 061).
static const unsigned run_granules_least = 16;

// Of the limit for free memory inside used pages mosaics may hold a quarter as whole steps: the heaps' pages have it, too.
static const unsigned idle_share_shift = 2;

lock_t mosaic_lock = {.rank = LOCK_MOSAICS};
meta_arena_t mosaic_arena;

static mosaic_t *rows[ROWS];
static _Atomic uint32_t rows_used;       // a bit a row that is not empty; written under the lock
static mosaic_t *spares[SMALL_ZONES];    // of ended mosaics, by zone
static _Atomic unsigned count_now;       // written under the lock
static _Atomic size_t idle_bytes;        // the same
static _Atomic(block_t *) late_blocks;   // freed while a fork held the lock. Pushed by anyone, taken whole under the lock

_Static_assert(TILES_GRANULES_MAX == 1u << (ROWS - 1), "a row for each length");

// --- rows ------------------------------------------------------------------------------------------------------------

static void row_leave(mosaic_t *mosaic)
{
    if (mosaic->row == ROW_NONE)
        return;
    if (mosaic->next != NULL)
        mosaic->next->prev = mosaic->prev;
    if (mosaic->prev != NULL)
        mosaic->prev->next = mosaic->next;
    else
        rows[mosaic->row] = mosaic->next;
    if (rows[mosaic->row] == NULL)
        atomic_fetch_and_explicit(&rows_used, ~(1u << mosaic->row), memory_order_relaxed);
    mosaic->row = ROW_NONE;
}

// Puts the mosaic into the row for its longest run.
static void row_settle(mosaic_t *mosaic)
{
    unsigned row = mosaic->tiles.longest == 0 ? ROW_NONE : bits_highest(mosaic->tiles.longest);
    if (row == mosaic->row)
        return;
    row_leave(mosaic);
    mosaic->row = (uint8_t)row;
    if (row == ROW_NONE)
        return;
    mosaic->prev = NULL;
    mosaic->next = rows[row];
    if (mosaic->next != NULL)
        mosaic->next->prev = mosaic;
    rows[row] = mosaic;
    atomic_fetch_or_explicit(&rows_used, 1u << row, memory_order_relaxed);
}

static void hollow_set(mosaic_t *mosaic, uint32_t bytes)
{
    budget_hollow((size_t)bytes - mosaic->hollow_bytes);
    mosaic->hollow_bytes = bytes;
}

// What is used in the mosaic, or resident of it, has changed.
static void mosaic_settle(mosaic_t *mosaic)
{
    uint32_t resident = bits_count(mosaic->page->soiled) * CARVE_BYTES;
    hollow_set(mosaic, resident - (uint32_t)size_min(mosaic->tiles.used_granules << GRANULE_SHIFT, resident));
    row_settle(mosaic);
}

static void idle_set(mosaic_t *mosaic, unsigned steps)
{
    size_t before = bits_count(mosaic->idle_steps) * CARVE_BYTES, after = bits_count(steps) * CARVE_BYTES;
    mosaic->idle_steps = (uint16_t)steps;
    atomic_fetch_add_explicit(&idle_bytes, after - before, memory_order_relaxed);
}

// The steps that lie whole in granules first..end-1.
static unsigned steps_within(unsigned first, unsigned end)
{
    unsigned from = (unsigned)align_up(first, TILES_STEP_GRANULES) / TILES_STEP_GRANULES, to = end / TILES_STEP_GRANULES;
    return from >= to ? 0 : (unsigned)(bits_mask(to) & ~bits_mask(from));
}

// Those that lie in them at least in part.
static unsigned steps_touched(unsigned first, unsigned end)
{
    return (unsigned)(bits_mask((end - 1) / TILES_STEP_GRANULES + 1) & ~bits_mask(first / TILES_STEP_GRANULES));
}

// --- the end ---------------------------------------------------------------------------------------------------------

// Nothing in it is used: it is an empty page of its zone again.
static void mosaic_end(mosaic_t *mosaic)
{
    page_t *page = mosaic->page;
    row_leave(mosaic);
    idle_set(mosaic, 0);
    hollow_set(mosaic, 0);
    mosaic->next = spares[page_class(page)->zone];
    spares[page_class(page)->zone] = mosaic;
    atomic_fetch_sub_explicit(&count_now, 1, memory_order_relaxed);
    page->next = page->prev = 0;
    page->carved = 0;
    zone_page_free(page);
}

// --- frees -----------------------------------------------------------------------------------------------------------

static unsigned granule_of(const page_t *page, const void *address)
{
    return (unsigned)((size_t)((const char *)address - page->start) >> GRANULE_SHIFT);
}

// *granules becomes the length of the block, if it is one.
static const char *address_wrong(page_t *page, const void *address, unsigned *granules)
{
    unsigned granule = granule_of(page, address);
    if (!page_is_mosaic(page) || !tiles_is_used(&page->mosaic->tiles, granule)) // it was one when its caller looked
        return "double free, or never allocated";
    bool aligned = ((uintptr_t)address & (GRANULE_BYTES - 1)) == 0;
    *granules = tiles_block(&page->mosaic->tiles, granule);
    return aligned && *granules != 0 ? NULL : "not the start of a block";
}

// True: it was the last one.
static bool block_end(page_t *page, const void *block, unsigned granules)
{
    mosaic_t *mosaic = page->mosaic;
    tiles_run_t run = tiles_free(&mosaic->tiles, granule_of(page, block), granules);
    if (mosaic->tiles.used_granules == 0) {
        mosaic_end(mosaic);
        return true;
    }
    unsigned idle = steps_within(run.first, run.end);
    if (unlikely((idle & ~mosaic->idle_steps) != 0))
        idle_set(mosaic, mosaic->idle_steps | idle);
    mosaic_settle(mosaic);
    return false;
}

static void list_end(block_t *block)
{
    for (block_t *next; block != NULL; block = next) {
        next = block->next;
        page_t *page = zone_page_of(block);
        block_end(page, block, tiles_block(&page->mosaic->tiles, granule_of(page, block)));
    }
}

static void late_push(block_t *first)
{
    block_t *last = first, *before = atomic_load_explicit(&late_blocks, memory_order_relaxed);
    while (last->next != NULL)
        last = last->next;
    do
        last->next = before;
    while (!atomic_compare_exchange_weak_explicit(&late_blocks, &before, first, memory_order_release,
                                                  memory_order_relaxed));
}

static bool mosaic_lock_take(void)
{
    if (!lock_take(&mosaic_lock))
        return false;
    if (unlikely(atomic_load_explicit(&late_blocks, memory_order_relaxed) != NULL))
        list_end(atomic_exchange_explicit(&late_blocks, NULL, memory_order_acquire));
    return true;
}

// Beyond what the budget leaves for free memory inside used pages.
static void purge_excess(void)
{
    size_t idle = mosaic_idle_bytes();
    if (!huge_keeps_inside() && idle > BUDGET_FLOOR_BYTES && idle > budget_limit(BUDGET_INSIDE) >> idle_share_shift)
        mosaic_purge();
}

const char *mosaic_free(page_t *page, void *address, bool *emptied)
{
    block_t *block = address;
    unsigned granules;
    *emptied = false;
    if (!mosaic_lock_take()) {
        const char *wrong = address_wrong(page, address, &granules); // a fork has the lock: nobody changes anything
        if (wrong == NULL) {
            block->next = NULL;
            late_push(block);
        }
        return wrong;
    }
    const char *wrong = address_wrong(page, address, &granules);
    if (wrong == NULL)
        *emptied = block_end(page, block, granules);
    lock_give(&mosaic_lock);
    purge_excess();
    return wrong;
}

void mosaic_free_list(block_t *first)
{
    if (!mosaic_lock_take()) {
        late_push(first);
        return;
    }
    list_end(first);
    lock_give(&mosaic_lock);
    purge_excess();
}

void mosaic_collect(page_t *page)
{
    uint64_t word = remote_take(page, true);
    budget_unpend(remote_bytes(page, word));
    if (remote_first(word) != NULL)
        mosaic_free_list(remote_first(word));
}

size_t mosaic_block_bytes(page_t *page, const void *address, const char **wrong)
{
    bool locked = mosaic_lock_take(); // else a fork has it: nobody changes anything
    unsigned granules;
    *wrong = address_wrong(page, address, &granules);
    if (locked)
        lock_give(&mosaic_lock);
    return *wrong == NULL ? (size_t)granules << GRANULE_SHIFT : 0;
}

// --- allocation ------------------------------------------------------------------------------------------------------

// Whether the longest run is long enough wherever it starts is seen at a glance, else each run is looked at.
static bool has_place(const tiles_t *tiles, unsigned count, unsigned alignment)
{
    if (tiles->longest >= count + alignment - 1)
        return true;
    return tiles->longest >= count && tiles_find(tiles, count, alignment) != TILES_NONE;
}

static mosaic_t *row_find(unsigned row, unsigned count, unsigned alignment)
{
    mosaic_t *mosaic = rows[row];
    for (unsigned tries = 0; mosaic != NULL && tries < row_tries; tries++, mosaic = mosaic->next)
        if (has_place(&mosaic->tiles, count, alignment))
            return mosaic;
    return NULL;
}

// The shortest runs that do go first, so that the long ones last.
static mosaic_t *mosaic_find(unsigned count, unsigned alignment)
{
    mosaic_t *mosaic = NULL;
    for (unsigned row = bits_highest(count); row < ROWS && mosaic == NULL; row++)
        mosaic = row_find(row, count, alignment);
    return mosaic;
}

// The blocks of `granules` each from `place` on, as a list. Returns where the next one is to be linked.
static block_t **blocks_link(const mosaic_t *mosaic, unsigned place, unsigned granules, unsigned blocks, block_t **link)
{
    char *at = mosaic->page->start + ((size_t)place << GRANULE_SHIFT);
    for (unsigned i = 0; i < blocks; i++, at += (size_t)granules << GRANULE_SHIFT) {
        *link = (block_t *)at;
        link = &(*link)->next;
    }
    return link;
}

// Up to `most`, from the lowest runs on. What is the longest run afterwards is known when all have been seen; or at once,
// when the longest one has not been taken from.
static block_t *blocks_take(mosaic_t *mosaic, unsigned granules, unsigned alignment, unsigned most, unsigned *count)
{
    tiles_t *tiles = &mosaic->tiles;
    block_t *first = NULL, **link = &first;
    unsigned idle = mosaic->idle_steps, longest = 0;
    bool from_longest = false;
    *count = 0;
    tiles_walk_t walk = TILES_WALK;
    for (tiles_run_t run; (*count < most || from_longest) && tiles_walk_next(tiles, &walk, &run);) {
        unsigned place = (unsigned)align_up(run.first, alignment), rest = run.end - run.first;
        if (*count < most && rest >= run_granules_least && place + granules <= run.end) {
            unsigned blocks = (unsigned)size_min((run.end - place) / granules, most - *count);
            unsigned end = place + blocks * granules;
            from_longest |= rest == tiles->longest;
            tiles_take(tiles, place, granules, blocks);
            idle &= ~steps_touched(place, end);
            link = blocks_link(mosaic, place, granules, blocks, link);
            *count += blocks;
            rest = (unsigned)size_max(place - run.first, run.end - end);
        }
        longest = (unsigned)size_max(longest, rest);
    }
    *link = NULL;
    if (from_longest)
        tiles->longest = (uint16_t)longest;
    if (idle != mosaic->idle_steps)
        idle_set(mosaic, idle);
    mosaic_settle(mosaic);
    return first;
}

// As in a page of the class, where block i starts at i blocks: at a multiple of the largest power of two in its size.
static unsigned alignment_of(unsigned granules)
{
    return granules & -granules;
}

block_t *mosaic_take(unsigned class, unsigned most, page_t **page, unsigned *count)
{
    unsigned granules = size_class_table[class].block_bytes >> GRANULE_SHIFT;
    unsigned least = granules > run_granules_least ? granules : run_granules_least;
    block_t *first = NULL;
    if (granules > TILES_GRANULES_MAX ||
        atomic_load_explicit(&rows_used, memory_order_relaxed) >> bits_highest(least) == 0 || !mosaic_lock_take())
        return NULL;
    mosaic_t *mosaic = mosaic_find(least, alignment_of(granules));
    if (mosaic != NULL) {
        *page = mosaic->page;
        first = blocks_take(mosaic, granules, alignment_of(granules), most, count);
    }
    lock_give(&mosaic_lock);
    return first;
}

// --- the beginning ---------------------------------------------------------------------------------------------------

static mosaic_t *mosaic_new(page_t *page)
{
    unsigned zone = page_class(page)->zone;
    mosaic_t *mosaic = spares[zone];
    if (mosaic != NULL)
        spares[zone] = mosaic->next;
    else
        mosaic = meta_alloc(&mosaic_arena, offsetof(mosaic_t, tiles) +
                            tiles_bytes(page_class(page)->page_bytes >> GRANULE_SHIFT), sizeof(uint64_t));
    if (mosaic != NULL)
        *mosaic = (mosaic_t){.page = page, .row = ROW_NONE};
    return mosaic;
}

// The page's used blocks: those that are carved and not on its list.
static void tiles_fill(tiles_t *tiles, const page_t *page)
{
    uint64_t free_blocks[SMALL_BLOCKS_MAX / 64] = {0};
    unsigned granules = page_class(page)->block_bytes >> GRANULE_SHIFT;
    bool exact;
    for (const block_t *block = page->list; block != NULL; block = block->next) {
        unsigned index = page_block_index(page, block, &exact);
        free_blocks[index / 64] |= (uint64_t)1 << index % 64;
    }
    for (unsigned step = 0; step < page_steps(page); step++)
        for (unsigned i = page_step_first(page, step); i < page_step_first(page, step + 1); i++)
            if (page->carved >> step & 1 && !(free_blocks[i / 64] >> i % 64 & 1))
                tiles_take(tiles, i * granules, granules, 1);
}

// What was never carved, or was given back, is gone; but for a step into which a used block reaches.
static void steps_settle(mosaic_t *mosaic)
{
    page_t *page = mosaic->page;
    unsigned all = (unsigned)bits_mask(page_steps(page)), unused = tiles_free_steps(&mosaic->tiles);
    unsigned gone = unused & ~(unsigned)page->soiled, soiled = all & ~gone;
    budget_use(bits_count(soiled & ~(unsigned)page->soiled) * CARVE_BYTES);
    page->soiled = (uint16_t)soiled;
    tiles_gone_set(&mosaic->tiles, gone);
    idle_set(mosaic, unused & soiled);
}

bool mosaic_make(page_t *page)
{
    assert(page_is_small(page) && page->place == PAGE_UNLISTED && page_used(page) != 0);
    if (!mosaic_lock_take())
        return false;
    mosaic_t *mosaic = mosaic_new(page);
    if (mosaic != NULL) {
        tiles_init(&mosaic->tiles, page_class(page)->page_bytes >> GRANULE_SHIFT, 0);
        tiles_fill(&mosaic->tiles, page);
        steps_settle(mosaic);
        mosaic_settle(mosaic);
        atomic_fetch_add_explicit(&count_now, 1, memory_order_relaxed);
        page->list = NULL;
        page->carved_count = page->left = page->floor = 0;
        page->mosaic = mosaic;
        page->place = PAGE_MOSAIC;
        page_owner_mosaic(page);
    }
    lock_give(&mosaic_lock);
    return mosaic != NULL;
}

// --- giving memory back ----------------------------------------------------------------------------------------------

static size_t steps_purge(mosaic_t *mosaic)
{
    page_t *page = mosaic->page;
    unsigned gone = 0, end;
    for (unsigned rest = mosaic->idle_steps, first; rest != 0; rest &= ~(unsigned)bits_mask(end)) { // run by run
        first = bits_lowest(rest);
        end = first + bits_lowest(~((uint64_t)rest >> first));
        if (zone_purge_inside(page, page->start + first * CARVE_BYTES, (end - first) * CARVE_BYTES))
            gone |= (unsigned)(bits_mask(end) & ~bits_mask(first));
    }
    page->soiled &= (uint16_t)~gone;
    tiles_gone_set(&mosaic->tiles, mosaic->tiles.gone | gone);
    idle_set(mosaic, mosaic->idle_steps & ~gone);
    mosaic_settle(mosaic);
    return bits_count(gone) * CARVE_BYTES;
}

// A free step is a run of its length at least.
static size_t purge_locked(void)
{
    size_t purged = 0;
    for (unsigned row = ROWS; row-- > bits_highest(TILES_STEP_GRANULES);)
        for (mosaic_t *mosaic = rows[row], *next; mosaic != NULL; mosaic = next) {
            next = mosaic->next;
            if (mosaic->idle_steps != 0)
                purged += steps_purge(mosaic);
        }
    return purged;
}

size_t mosaic_purge(void)
{
    if (mosaic_idle_bytes() == 0 || os_page_bytes() > CARVE_BYTES || !mosaic_lock_take())
        return 0;
    size_t purged = purge_locked();
    lock_give(&mosaic_lock);
    budget_unuse(purged);
    if (purged != 0)
        budget_purged(purged);
    return purged;
}

size_t mosaic_idle_bytes(void)
{
    return atomic_load_explicit(&idle_bytes, memory_order_relaxed);
}

unsigned mosaic_count(void)
{
    return atomic_load_explicit(&count_now, memory_order_relaxed);
}

// --- for the survey and the checker ----------------------------------------------------------------------------------

size_t mosaic_next_block(const page_t *page, unsigned *granule)
{
    const tiles_t *tiles = &page->mosaic->tiles;
    unsigned first = tiles_next_block(tiles, *granule);
    if (first == TILES_NONE)
        return 0;
    *granule = first;
    return (size_t)tiles_block(tiles, first) << GRANULE_SHIFT;
}

const char *mosaic_check(const page_t *page)
{
    const mosaic_t *mosaic = page->mosaic;
    const tiles_t *tiles = &mosaic->tiles;
    if (page->place != PAGE_MOSAIC || mosaic->page != page)
        return "a mosaic is not that of its page";
    if (tiles->granules != page_class(page)->page_bytes >> GRANULE_SHIFT || tiles->used_granules == 0)
        return "a mosaic is empty, or not of its page's size";
    if ((page->soiled | tiles->gone) != bits_mask(page_steps(page)) || (page->soiled & tiles->gone) != 0)
        return "a step is neither resident nor gone, or both";
    if (mosaic->idle_steps != (tiles_free_steps(tiles) & page->soiled))
        return "idle steps are not those in which nothing is used";
    if (mosaic->row != (tiles->longest == 0 ? ROW_NONE : bits_highest(tiles->longest)))
        return "a mosaic is not in the row for its longest run";
    return tiles_check(tiles);
}

const char *mosaic_rows_check(unsigned count)
{
    size_t idle = 0;
    for (unsigned row = 0; row < ROWS; row++) {
        const mosaic_t *before = NULL;
        for (const mosaic_t *mosaic = rows[row]; mosaic != NULL; before = mosaic, mosaic = mosaic->next) {
            if (mosaic->row != row || mosaic->prev != before || mosaic->page->mosaic != mosaic)
                return "a row of mosaics is not whole";
            idle += bits_count(mosaic->idle_steps) * CARVE_BYTES;
        }
        if ((rows[row] != NULL) != (atomic_load(&rows_used) >> row & 1))
            return "a row of mosaics is marked wrongly";
    }
    if (idle != atomic_load(&idle_bytes))
        return "the mosaics' idle bytes are not what their idle steps hold";
    return count == atomic_load(&count_now) ? NULL : "the number of mosaics is not that of the pages";
}
