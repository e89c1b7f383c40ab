// pairs.c - how long does one malloc and its free take, one pair after the other, at one size?
//
// A few blocks of the size stay live beside it, so that no allocator sees its page become empty at every free.

#include "bench.h"

static uint64_t size = 64, count = 40000000, neighbours = 100;
static uint64_t touch = 0; // 1: write a byte of each OS page, as a program that uses a large block does

static uint64_t pair_untouched(size_t bytes, uint64_t mark)
{
    return block_give(block_take(bytes, mark));
}

static uint64_t pair_touched(size_t bytes, uint64_t mark)
{
    return block_give(block_take_touched(bytes, mark));
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"size", &size}, {"count", &count}, {"neighbours", &neighbours}, {"touch", &touch}, {NULL, NULL}});
    void **beside = array_map(neighbours + 1, sizeof(void *));
    for (uint64_t i = 0; i < neighbours; i++) {
        beside[i] = block_take(size, i);
    }

    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += touch ? pair_touched(size, i) : pair_untouched(size, i);
    }

    for (uint64_t i = 0; i < neighbours; i++) {
        sum += block_give(beside[i]);
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
