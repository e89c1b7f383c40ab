// tests/stress/model.c - see model.h.
#include "model.h"

#include <unistd.h>

typedef struct model_size {
    size_t block_bytes, page_bytes;
} model_size_t;

// The first medium zone lacks the doublings that are small.
static const unsigned doublings_missing = MEDIUM_ZONES * MEDIUM_DOUBLINGS_PER_ZONE - MEDIUM_DOUBLINGS;

static model_size_t sizes[MODEL_SIZES];
static size_t max_bytes, tail, os_page;

void model_start(size_t most_bytes, size_t tail_bytes)
{
    unsigned count = 0;
    for (size_t bytes = GRANULE_BYTES; bytes <= SMALL_MAX_BYTES; bytes += GRANULE_BYTES)
        sizes[count++] = (model_size_t){bytes, bytes <= LOW_CLASSES * GRANULE_BYTES ? LOW_PAGE_BYTES : HIGH_PAGE_BYTES};
    for (unsigned doubling = 0; doubling < MEDIUM_DOUBLINGS; doubling++) {
        size_t base = SMALL_MAX_BYTES << doubling;
        unsigned zone = (doubling + doublings_missing) / MEDIUM_DOUBLINGS_PER_ZONE;
        size_t page = (size_t)1 << (MEDIUM_1_PAGE_SHIFT + zone * MEDIUM_DOUBLINGS_PER_ZONE);
        for (unsigned step = 1; step <= MEDIUM_STEPS; step++)
            sizes[count++] = (model_size_t){base + base / MEDIUM_STEPS * step, page};
    }
    max_bytes = most_bytes;
    tail = tail_bytes;
    os_page = (size_t)getpagesize();
}

unsigned model_index(size_t alignment, size_t size_bytes)
{
    for (unsigned i = 0; i < MODEL_SIZES && sizes[i].block_bytes <= max_bytes; i++)
        if (sizes[i].block_bytes >= size_bytes + tail && sizes[i].block_bytes % alignment == 0 &&
            alignment <= sizes[i].page_bytes)
            return i;
    return MODEL_LARGE;
}

// What grows to so much becomes large: at least eight OS pages.
static size_t growing_least(void)
{
    return size_max(LARGE_GROWING_BYTES, 8 * os_page);
}

unsigned model_index_resized(unsigned old_index, size_t old_bytes, size_t size_bytes)
{
    bool from_page = old_index != MODEL_LARGE;
    bool grows = size_bytes > old_bytes && size_bytes >= growing_least();
    if (from_page && size_bytes <= old_bytes && size_bytes >= old_bytes / 2)
        return old_index;
    if (from_page ? grows : size_bytes > growing_least() / 2)
        return MODEL_LARGE;
    return model_index(GRANULE_BYTES, size_bytes);
}

static size_t alignment_of(unsigned index)
{
    size_t alignment = GRANULE_BYTES;
    while (sizes[index].block_bytes % (2 * alignment) == 0)
        alignment *= 2;
    return alignment;
}

bool model_may_lend(unsigned index, unsigned larger)
{
    if (index >= SMALL_CLASSES) // medium: of an aligned request the caller sees that the block is
        return tail == 0 && index < larger && larger < MODEL_LARGE && larger <= index + LENT_MEDIUM_STEPS;
    return index < larger && larger < SMALL_CLASSES && sizes[larger].block_bytes <= LENT_TIMES * sizes[index].block_bytes &&
           alignment_of(larger) >= alignment_of(index);
}

size_t model_block_bytes(unsigned index, size_t size_bytes)
{
    if (index < MODEL_LARGE)
        return sizes[index].block_bytes - tail;
    return size_bytes == 0 ? os_page : (size_bytes + os_page - 1) / os_page * os_page;
}

size_t model_tail_bytes(unsigned index)
{
    return index < MODEL_LARGE ? tail : 0;
}

unsigned model_index_of_block(size_t block_bytes)
{
    unsigned low = 0, high = MODEL_SIZES;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (sizes[middle].block_bytes - tail < block_bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low < MODEL_SIZES && sizes[low].block_bytes - tail == block_bytes ? low : MODEL_LARGE;
}
