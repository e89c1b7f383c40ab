// large_holes.c - can a program hold 100,000 blocks of 257 KiB, free every second one and go on?
//
// 25 GiB of addresses, but only the first OS page of each block is written. Blocks mapped one by one run into
// vm.max_map_count (65,530 as shipped) when every second one is unmapped: then unmapping fails, or memory stays. The
// holes are filled again, so that what was kept for reuse shows its use.

#include "bench.h"

static uint64_t count = 100000, size = 257 * KIB;

static uint64_t every_second_free(void **blocks)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i += 2) {
        sum += block_give(blocks[i]);
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){{"count", &count}, {"size", &size}, {NULL, NULL}});
    void **blocks = array_map(count, sizeof(void *));
    for (uint64_t i = 0; i < count; i++) {
        blocks[i] = block_take(size, i);
    }
    report("rss_full_bytes", resident_bytes());
    uint64_t sum = every_second_free(blocks);
    report("rss_after_free_bytes", resident_bytes());
    report("live_bytes", count / 2 * OS_PAGE_BYTES); // what of the live blocks was ever touched
    for (uint64_t i = 0; i < count; i += 2) {
        blocks[i] = block_take(size, i);
    }
    for (uint64_t i = 0; i < count; i++) {
        sum += block_give(blocks[i]);
    }
    report("rss_end_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
