// batch.c - how long do malloc and free take when blocks of one size come and go by the hundred?
//
// Batches are freed in the order they were taken and in reverse, by turns: a free list serves both ends.

#include "bench.h"

static uint64_t size = 64, batch = 100, count = 300000;

static void batch_take(void **blocks, uint64_t first_mark)
{
    for (uint64_t i = 0; i < batch; i++) {
        blocks[i] = block_take(size, first_mark + i);
    }
}

static uint64_t batch_give(void **blocks, bool backward)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < batch; i++) {
        sum += block_give(blocks[backward ? batch - 1 - i : i]);
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){{"size", &size}, {"batch", &batch}, {"count", &count}, {NULL, NULL}});
    void **blocks = array_map(batch, sizeof(void *));
    uint64_t sum = 0;
    for (uint64_t round = 0; round < count; round++) {
        batch_take(blocks, round);
        sum += batch_give(blocks, round & 1);
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
