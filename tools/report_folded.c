// tools/report_folded.c - see report_folded.h. A semicolon in a name would part it, so it becomes a colon.
#include "report_folded.h"

#include "text.h"

#include <string.h>

const char report_folded_names[] =
    "pinned, rounding, live, requested, live_blocks, allocated, allocated_blocks, peak_live, peak_rounding, "
    "peak_requested, peak_live_blocks or worst_pinned";

typedef struct choice {
    bool allocated, allocated_blocks;
    profile_moment_t moment;
    profile_metric_t metric;
} choice_t;

static bool choose(const char *name, choice_t *choice)
{
    *choice = (choice_t){
        .allocated = strcmp(name, "allocated") == 0 || strcmp(name, "allocated_bytes") == 0,
        .allocated_blocks = strcmp(name, "allocated_blocks") == 0,
    };
    if (choice->allocated || choice->allocated_blocks)
        return true;
    if (strncmp(name, "peak_", strlen("peak_")) == 0) {
        choice->moment = MOMENT_PEAK;
        name += strlen("peak_");
    } else if (strncmp(name, "worst_", strlen("worst_")) == 0) {
        choice->moment = MOMENT_WORST;
        name += strlen("worst_");
    }
    int metric = profile_metric_find(name);
    choice->metric = (profile_metric_t)metric;
    return metric >= 0 && profile_knows(choice->moment, choice->metric);
}

bool report_folded_knows(const char *metric)
{
    choice_t choice;
    return choose(metric, &choice);
}

static void write_frame(FILE *out, const char *function)
{
    for (const char *letter = text_printable(function); *letter != '\0'; letter++)
        fputc(*letter == ';' ? ':' : *letter, out);
}

// Outermost first.
static void write_stack(FILE *out, const profile_t *profile, const profile_stack_t *stack)
{
    if (stack->location_count == 0)
        fputs("[unattributed]", out);
    for (uint32_t i = stack->location_count; i-- > 0;) {
        const profile_location_t *location = &profile->locations[stack->locations[i]];
        for (uint32_t j = location->frame_count; j-- > 0;) {
            write_frame(out, profile->frames[location->frame_first + j].function);
            fputs(i != 0 || j != 0 ? ";" : "", out);
        }
    }
}

void report_folded(FILE *out, const profile_t *profile, const char *metric)
{
    choice_t choice;
    if (!choose(metric, &choice))
        return;
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        const profile_stack_t *stack = &profile->stacks[i];
        uint64_t value = choice.allocated          ? stack->allocated_bytes
                         : choice.allocated_blocks ? stack->allocated_blocks
                                                   : stack->metrics[choice.moment][choice.metric];
        if (value == 0)
            continue;
        write_stack(out, profile, stack);
        fprintf(out, " %lu\n", value);
    }
}
