// tests/stress/shadow.c - see shadow.h.
#include "shadow.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

static const size_t live_most_bytes = (size_t)8 << 20;

char shadow_replay[256];
unsigned shadow_misuses_due;

void shadow_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nreplay: %s\n", shadow_replay);
    va_end(arguments);
    abort();
}

// What the program does here is right, unless it said otherwise: each report is the pool's mistake.
void pool_hook_misuse(const pool_misuse_t *misuse)
{
    if (shadow_misuses_due != 0) {
        shadow_misuses_due--;
        return;
    }
    shadow_fail("%s(%p) is called %s (block of %zu bytes)", misuse->function, misuse->address, misuse->what,
                misuse->block_bytes);
}

// --- chance ----------------------------------------------------------------------------------------------------------

uint64_t shadow_random(uint64_t *state) // splitmix64
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

unsigned shadow_below(uint64_t *state, unsigned bound)
{
    return (unsigned)(shadow_random(state) % bound);
}

// Log-uniform up to 2^bits, the bounds themselves and their neighbours more often.
static size_t size_log(uint64_t *random, unsigned least_bits, unsigned bits)
{
    size_t base = (size_t)1 << (least_bits + shadow_below(random, bits - least_bits));
    if (shadow_below(random, 8) == 0)
        return 2 * base - 1 + shadow_below(random, 3);
    return base + shadow_random(random) % base;
}

static size_t size_of_mix(uint64_t *random)
{
    unsigned chance = shadow_below(random, 1000);
    if (chance < 10)
        return shadow_below(random, 2);
    if (chance < 750)
        return 1 + shadow_below(random, 512);
    if (chance < 900)
        return size_log(random, 9, 12);
    if (chance < 970)
        return size_log(random, 12, 15);
    if (chance < 995)
        return size_log(random, 15, 18);
    return size_log(random, 18, 22);
}

static size_t size_pick(shadow_t *shadow)
{
    size_t size_bytes = shadow->focus_bytes;
    if (size_bytes == 0 || shadow_below(&shadow->random, 10) == 0)
        size_bytes = size_of_mix(&shadow->random);
    if (shadow->large_often && shadow_below(&shadow->random, 50) == 0)
        size_bytes = size_log(&shadow->random, 20, 23);
    if (shadow->live_bytes + size_bytes > shadow->live_most_bytes)
        size_bytes %= 256;
    return size_bytes;
}

void shadow_mood(shadow_t *shadow)
{
    static const unsigned fills[] = {5, 50, 80, 95};
    shadow->fill = fills[shadow_below(&shadow->random, 4)];
    shadow->focus_bytes = shadow_below(&shadow->random, 2) == 0 ? 0 : size_log(&shadow->random, 4, 14);
}

// --- contents --------------------------------------------------------------------------------------------------------

static uint64_t word_at(uint32_t tag, size_t index)
{
    return (uint64_t)tag * 0x9e3779b97f4a7c15u + index * 0xd1b54a32d192ed03u;
}

static void contents_fill(const slot_t *slot)
{
    size_t words = slot->size_bytes / 8, rest = slot->size_bytes % 8;
    uint64_t *at = (uint64_t *)slot->block, last = word_at(slot->tag, words);
    for (size_t i = 0; i < words; i++)
        at[i] = word_at(slot->tag, i);
    memcpy(at + words, &last, rest);
}

// The first size_bytes of a block still are what was put there.
static void contents_verify(const slot_t *slot, const unsigned char *block, size_t size_bytes)
{
    size_t words = size_bytes / 8, rest = size_bytes % 8;
    const uint64_t *at = (const uint64_t *)block;
    uint64_t last = word_at(slot->tag, words);
    for (size_t i = 0; i < words; i++)
        if (at[i] != word_at(slot->tag, i))
            shadow_fail("block %p of %zu bytes is damaged at %zu", (const void *)block, slot->size_bytes, i * 8);
    if (memcmp(at + words, &last, rest) != 0)
        shadow_fail("block %p of %zu bytes is damaged at its end", (const void *)block, slot->size_bytes);
}

static void zero_verify(const unsigned char *block, size_t size_bytes)
{
    if (size_bytes != 0 && (block[0] != 0 || memcmp(block, block + 1, size_bytes - 1) != 0))
        shadow_fail("calloc(%zu) at %p is dirty", size_bytes, (const void *)block);
}

void shadow_verify(const shadow_t *shadow)
{
    for (unsigned i = 0; i < shadow->slot_count; i++)
        if (shadow->slots[i].block != NULL)
            contents_verify(&shadow->slots[i], shadow->slots[i].block, shadow->slots[i].size_bytes);
}

// --- one slot --------------------------------------------------------------------------------------------------------

// Under failures a block may come from another tier than the model says; and from a larger class a small class's first few, where
// they do not go one by one, and any medium block.
static void slot_classify(shadow_t *shadow, slot_t *slot, unsigned index)
{
    size_t usable = pool_usable_size(slot->block);
    slot->index = index;
    slot->block_bytes = model_block_bytes(index, slot->size_bytes);
    if (shadow->may_fail && usable >= slot->size_bytes) {
        slot->index = zone_page_of(slot->block) != NULL ? model_index_of_block(usable) : MODEL_LARGE;
        slot->block_bytes = usable;
    }
    unsigned larger = usable > slot->block_bytes ? model_index_of_block(usable) : MODEL_LARGE;
    if (model_may_lend(index, larger) && (index >= SMALL_CLASSES || !heap_one_by_one)) {
        slot->index = larger;
        slot->block_bytes = usable;
        if (index < SMALL_CLASSES)
            shadow->lent[index]++;
        else
            shadow->lent_medium++;
    }
    if (usable != slot->block_bytes)
        shadow_fail("%zu bytes at %p have a usable size of %zu, not %zu", slot->size_bytes, (void *)slot->block, usable,
                    slot->block_bytes);
}

static void slot_fill(shadow_t *shadow, slot_t *slot, void *block, size_t size_bytes, unsigned index)
{
    slot->block = block;
    slot->size_bytes = size_bytes;
    slot->tag = (uint32_t)shadow_random(&shadow->random);
    slot_classify(shadow, slot, index);
    shadow->live_bytes += slot->block_bytes;
    contents_fill(slot);
}

static bool refused(shadow_t *shadow, const void *block, const char *function, size_t size_bytes)
{
    if (block != NULL)
        return false;
    if (!shadow->may_fail)
        shadow_fail("%s(%zu) returned NULL", function, size_bytes);
    shadow->refused++;
    return true;
}

static void aligned_verify(const void *block, size_t alignment)
{
    if (((uintptr_t)block & (alignment - 1)) != 0)
        shadow_fail("block %p is not aligned to %zu", block, alignment);
}

static void slot_take(shadow_t *shadow, slot_t *slot, void *block, size_t alignment, size_t size_bytes)
{
    if (refused(shadow, block, "malloc", size_bytes))
        return;
    aligned_verify(block, size_max(alignment, GRANULE_BYTES));
    slot_fill(shadow, slot, block, size_bytes, model_index(alignment, size_bytes));
    shadow->allocated[slot->index]++;
}

void shadow_malloc(shadow_t *shadow, slot_t *slot, size_t size_bytes)
{
    slot_take(shadow, slot, pool_malloc(size_bytes), GRANULE_BYTES, size_bytes);
}

void shadow_calloc(shadow_t *shadow, slot_t *slot, size_t size_bytes)
{
    void *block = pool_calloc(size_bytes);
    if (block != NULL)
        zero_verify(block, size_bytes);
    slot_take(shadow, slot, block, GRANULE_BYTES, size_bytes);
}

void shadow_aligned(shadow_t *shadow, slot_t *slot, size_t alignment, size_t size_bytes)
{
    slot_take(shadow, slot, pool_aligned_alloc(alignment, size_bytes), alignment, size_bytes);
}

static void slot_alloc(shadow_t *shadow, slot_t *slot)
{
    unsigned way = shadow_below(&shadow->random, 10);
    size_t size_bytes = size_pick(shadow);
    if (way == 0)
        shadow_aligned(shadow, slot,
                       (size_t)1 << shadow_below(&shadow->random, shadow_below(&shadow->random, 4) == 0 ? 23 : 13),
                       size_bytes);
    else if (way <= 2)
        shadow_calloc(shadow, slot, size_bytes);
    else
        shadow_malloc(shadow, slot, size_bytes);
}

void shadow_free(shadow_t *shadow, slot_t *slot)
{
    contents_verify(slot, slot->block, slot->size_bytes);
    shadow->live_bytes -= slot->block_bytes;
    pool_free(slot->block);
    slot->block = NULL;
}

static size_t resize_pick(shadow_t *shadow, const slot_t *slot)
{
    switch (shadow_below(&shadow->random, 4)) {
    case 0:
        return size_pick(shadow);
    case 1:
        return slot->size_bytes / 2;
    case 2:
        return shadow->live_bytes < shadow->live_most_bytes ? slot->size_bytes + slot->size_bytes / 2 + 1 : 1;
    default:
        return slot->block_bytes - shadow_below(&shadow->random, (unsigned)slot->block_bytes / 2);
    }
}

void shadow_resize(shadow_t *shadow, slot_t *slot, size_t size_bytes)
{
    size_t kept = size_min(size_bytes, slot->size_bytes);
    bool stays = slot->index != MODEL_LARGE && size_bytes <= slot->block_bytes && size_bytes >= slot->block_bytes / 2;
    unsigned index = model_index_resized(slot->index, slot->block_bytes, size_bytes);
    contents_verify(slot, slot->block, slot->size_bytes);
    void *block = pool_realloc(slot->block, size_bytes);
    if (refused(shadow, block, "realloc", size_bytes)) {
        contents_verify(slot, slot->block, slot->size_bytes);
        return;
    }
    contents_verify(slot, block, kept);
    // A shrink for which there is no memory to move to is served where the block is: it never fails.
    if (shadow->may_fail && block == slot->block && size_bytes <= slot->block_bytes) {
        stays = true;
        index = slot->index;
    }
    if (stays != (block == slot->block) && slot->index != MODEL_LARGE)
        shadow_fail("realloc from %zu to %zu bytes %s", slot->size_bytes, size_bytes, stays ? "moves" : "stays");
    shadow->live_bytes -= slot->block_bytes;
    slot_fill(shadow, slot, block, size_bytes, index);
    shadow->allocated[slot->index] += !stays;
}

void shadow_inspect(const shadow_t *shadow, slot_t *slot)
{
    if (pool_usable_size(slot->block) != slot->block_bytes)
        shadow_fail("the usable size of %p has changed", (void *)slot->block);
    if (!shadow->may_fail && slot->index != MODEL_LARGE) // all of it is usable: the end is written, then put right
        memset(slot->block + slot->size_bytes, 0xa5, slot->block_bytes - slot->size_bytes);
}

// --- a shadow --------------------------------------------------------------------------------------------------------

void shadow_start(shadow_t *shadow, unsigned slot_count, uint64_t seed)
{
    *shadow = (shadow_t){.slot_count = slot_count, .random = seed, .fill = 50, .live_most_bytes = live_most_bytes};
    shadow->slots = calloc(slot_count, sizeof(slot_t));
    if (shadow->slots == NULL)
        shadow_fail("no memory for the shadow");
}

void shadow_end(shadow_t *shadow)
{
    free(shadow->slots);
    shadow->slots = NULL;
}

void shadow_steps(shadow_t *shadow, unsigned steps)
{
    while (steps-- > 0) {
        slot_t *slot = &shadow->slots[shadow_below(&shadow->random, shadow->slot_count)];
        unsigned chance = shadow_below(&shadow->random, 100);
        if (slot->block == NULL && chance < shadow->fill)
            slot_alloc(shadow, slot);
        else if (slot->block != NULL && chance >= shadow->fill)
            shadow_free(shadow, slot);
        else if (slot->block != NULL && chance % 4 == 0)
            shadow_resize(shadow, slot, resize_pick(shadow, slot));
        else if (slot->block != NULL && chance % 8 == 1)
            shadow_inspect(shadow, slot);
    }
}

void shadow_free_all(shadow_t *shadow)
{
    for (unsigned i = 0; i < shadow->slot_count; i++)
        if (shadow->slots[i].block != NULL)
            shadow_free(shadow, &shadow->slots[i]);
}

void shadow_exchange(shadow_t *a, shadow_t *b, uint64_t *random)
{
    slot_t *of_a = &a->slots[shadow_below(random, a->slot_count)];
    slot_t *of_b = &b->slots[shadow_below(random, b->slot_count)], kept = *of_a;
    size_t from_a = of_a->block == NULL ? 0 : of_a->block_bytes, from_b = of_b->block == NULL ? 0 : of_b->block_bytes;
    *of_a = *of_b;
    *of_b = kept;
    a->live_bytes += from_b - from_a;
    b->live_bytes += from_a - from_b;
}

// --- counts ----------------------------------------------------------------------------------------------------------

void shadow_count_add(shadow_count_t *count, const shadow_t *shadow)
{
    for (unsigned i = 0; i < shadow->slot_count; i++) {
        const slot_t *slot = &shadow->slots[i];
        if (slot->block == NULL)
            continue;
        count->live[slot->index]++;
        count->live_blocks++;
        count->live_bytes += slot->block_bytes + model_tail_bytes(slot->index);
        count->large_bytes += slot->index == MODEL_LARGE ? slot->block_bytes : 0;
        count->requested_bytes += slot->size_bytes;
    }
    for (unsigned i = 0; i <= MODEL_SIZES; i++)
        count->allocated[i] += shadow->allocated[i];
    for (unsigned i = 0; i < SMALL_CLASSES; i++)
        count->lent[i] += shadow->lent[i];
    count->lent_medium += shadow->lent_medium;
}

static void equal(const char *what, uint64_t is, uint64_t should_be)
{
    if (is != should_be)
        shadow_fail("%s: %" PRIu64 ", and the shadow says %" PRIu64, what, is, should_be);
}

// Heaps that ever were: each lends a class so many blocks, and no more.
static unsigned heap_count(void)
{
    unsigned count = 0;
    for (const heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        count++;
    return count;
}

static void lent_verify(const shadow_count_t *count)
{
    uint64_t most = (uint64_t)heap_count() * LENT_BLOCKS;
    for (unsigned i = 0; i < SMALL_CLASSES; i++)
        if (count->lent[i] > most)
            shadow_fail("%" PRIu64 " requests of class %u got larger blocks", count->lent[i], i + 1);
}

void shadow_compare(const shadow_count_t *count, const survey_t *survey, bool totals)
{
    char what[64];
    equal("classes", survey->class_count, MODEL_SIZES);
    lent_verify(count);
    for (unsigned i = 0; i < MODEL_SIZES; i++) {
        const survey_class_t *class = &survey->classes[i];
        snprintf(what, sizeof(what), "live blocks of %" PRIu64 " bytes", survey_block_bytes(i));
        equal(what, class->live_blocks, count->live[i]);
        snprintf(what, sizeof(what), "blocks of %" PRIu64 " bytes ever", survey_block_bytes(i));
        if (totals)
            equal(what, class->allocated_total, count->allocated[i]);
    }
    equal("large blocks", survey->large_blocks, count->live[MODEL_LARGE]);
    equal("large bytes", survey->large_bytes, count->large_bytes);
    equal("live blocks", survey->live_blocks, count->live_blocks);
    equal("live bytes", survey->live_bytes, count->live_bytes);
    if (survey->requested_exact)
        equal("requested bytes", survey->requested_bytes, count->requested_bytes);
}
