// tools/profile_neighbours.c - whose frees left the holes that a stack's survivors pin.
//
// Blocks of one class share pages. So the holes beside a stack's survivors are, in proportion, those that the stacks
// left which freed most blocks of the class.
#include "profile_close.h"

#include "amount.h"
#include "memory.h"

#include <stdlib.h>

// A class's holes were left by many; the first few tell.
enum { FREERS = 6, NEIGHBOURS = 3 };

typedef struct freers {
    uint32_t stacks[FREERS];
    double bytes[FREERS];
    double all_bytes;
    uint32_t count;
} freers_t;

static void freers_add(freers_t *freers, uint32_t stack, double bytes)
{
    uint32_t place = freers->count < FREERS ? freers->count++ : FREERS;
    freers->all_bytes += bytes;
    while (place > 0 && freers->bytes[place - 1] < bytes) {
        if (place < FREERS) {
            freers->stacks[place] = freers->stacks[place - 1];
            freers->bytes[place] = freers->bytes[place - 1];
        }
        place--;
    }
    if (place < FREERS) {
        freers->stacks[place] = stack;
        freers->bytes[place] = bytes;
    }
}

static void neighbour_add(profile_stack_t *stack, uint32_t other, uint64_t bytes)
{
    uint32_t place = 0;
    while (place < stack->neighbour_count && stack->neighbours[place].stack != other)
        place++;
    if (place == stack->neighbour_count) {
        stack->neighbours = memory_push(stack->neighbours, stack->neighbour_count, sizeof *stack->neighbours);
        stack->neighbours[stack->neighbour_count++] = (profile_neighbour_t){.stack = other};
    }
    stack->neighbours[place].bytes += bytes;
}

void profile_neighbours_add(build_t *build, const group_t *group, const uint64_t *pinned)
{
    freers_t freers = {0};
    for (uint32_t i = 0; i < group->count; i++) {
        const recording_site_t *site = site_at(build, group->sites[i]);
        double bytes = (double)site->freed.bytes;
        if (bytes > 0 && build->stack_of[group->sites[i]] != build->unattributed)
            freers_add(&freers, build->stack_of[group->sites[i]], bytes);
    }
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t j = 0; pinned[i] != 0 && j < freers.count; j++)
            neighbour_add(&build->profile->stacks[build->stack_of[group->sites[i]]], freers.stacks[j],
                          amount_whole((double)pinned[i] * freers.bytes[j] / freers.all_bytes));
}

static int neighbours_compare(const void *left, const void *right)
{
    const profile_neighbour_t *first = left, *second = right;
    return (first->bytes < second->bytes) - (first->bytes > second->bytes);
}

void profile_neighbours_sort(profile_t *profile)
{
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile_stack_t *stack = &profile->stacks[i];
        if (stack->neighbour_count > 1)
            qsort(stack->neighbours, stack->neighbour_count, sizeof *stack->neighbours, neighbours_compare);
        if (stack->neighbour_count > NEIGHBOURS)
            stack->neighbour_count = NEIGHBOURS;
    }
}
