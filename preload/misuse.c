// preload/misuse.c - what a caller did wrong: one line, and then what on_error says.
#include <stdlib.h>

#include "../pool/pool.h"
#include "../pool/sample.h"
#include "../pool/trap.h"
#include "options.h"
#include "output.h"
#include "recorder_sites.h"
#include "stack.h"
#include "trapped.h"

// Of a live block that the profile has sampled.
static RARE void sample_tell(const void *address)
{
    uintptr_t frames[TRAP_FRAMES];
    uint32_t number = sample_find(pool_block_start(address));
    uint32_t depth = number == 0 ? 0 : recorder_sample_stack(number, frames, TRAP_FRAMES);
    if (depth != 0)
        stack_tell("allocated", 0, frames, depth);
}

// Who allocated the block, and who freed it, where that is known.
static void stacks_tell(const void *address)
{
    trap_report_t report;
    if (heap_sample_bytes != 0)
        sample_tell(address);
    if (trap_has(address) && trap_explain(address, &report))
        trapped_stacks_tell(&report);
}

unsigned trap_hook_stack(uintptr_t *frames, unsigned most)
{
    stack_walk_t walk = {.address = frames, .most = most};
    stack_walk(&walk);
    return walk.depth;
}

void pool_hook_misuse(const pool_misuse_t *misuse)
{
    if (misuse->told_bytes != NULL)
        output_line("%s(): %p: %s: %zu (block of %zu bytes)", misuse->function, misuse->address, misuse->what,
                    *misuse->told_bytes, misuse->block_bytes);
    else if (misuse->block_bytes != 0)
        output_line("%s(): %p: %s (block of %zu bytes)", misuse->function, misuse->address, misuse->what,
                    misuse->block_bytes);
    else
        output_line("%s(): %p: %s", misuse->function, misuse->address, misuse->what);
    stacks_tell(misuse->address);
    if (options.abort_on_misuse)
        abort();
}
