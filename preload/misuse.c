// preload/misuse.c - what a caller did wrong: one line, and then what on_error says.
#include <stdlib.h>

#include "../pool/pool.h"
#include "options.h"
#include "output.h"

void pool_hook_misuse(const pool_misuse_t *misuse)
{
    if (misuse->block_bytes != 0)
        output_line("%s(): %p: %s (block of %zu bytes)", misuse->function, misuse->address, misuse->what,
                    misuse->block_bytes);
    else
        output_line("%s(): %p: %s", misuse->function, misuse->address, misuse->what);
    if (options.abort_on_misuse)
        abort();
}
