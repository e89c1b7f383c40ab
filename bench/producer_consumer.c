// producer_consumer.c - what does it cost when one thread allocates and another frees?
//
// Blocks travel in parcels through bounded queues. both=0: one thread makes, the other frees, and nothing ever comes
// back to the maker by itself. both=1: each of the two makes for the other. The queues bound what can be live, so peak
// resident memory beyond that is what the allocator lets pile up on the wrong side.

#include "bench.h"

static uint64_t both = 0, parcels = 24000, low = 16, high = 512;

enum {
    PARCEL_BLOCKS = 256,
    QUEUE_PARCELS = 32, // 32 * 256 blocks of 264 B on average: about 2 MiB under way
};

typedef struct parcel {
    void *blocks[PARCEL_BLOCKS];
} parcel_t;

typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t head; // [lock] parcels taken out so far
    uint64_t tail; // [lock] parcels put in so far; tail - head <= QUEUE_PARCELS
    parcel_t parcels[QUEUE_PARCELS];
} queue_t;

static queue_t queues[2] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
    {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
};

static void queue_put(queue_t *queue, const parcel_t *parcel)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->tail - queue->head == QUEUE_PARCELS) {
        pthread_cond_wait(&queue->changed, &queue->lock);
    }
    queue->parcels[queue->tail++ % QUEUE_PARCELS] = *parcel;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static void queue_get(queue_t *queue, parcel_t *parcel)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->tail == queue->head) {
        pthread_cond_wait(&queue->changed, &queue->lock);
    }
    *parcel = queue->parcels[queue->head++ % QUEUE_PARCELS];
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

static void parcel_make(queue_t *queue, rng_t *rng, uint64_t number)
{
    parcel_t parcel;
    for (uint64_t i = 0; i < PARCEL_BLOCKS; i++) {
        parcel.blocks[i] = block_take_touched(rng_between(rng, low, high), number + i);
    }
    queue_put(queue, &parcel);
}

static uint64_t parcel_free(queue_t *queue)
{
    parcel_t parcel;
    queue_get(queue, &parcel);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < PARCEL_BLOCKS; i++) {
        sum += block_give(parcel.blocks[i]);
    }
    return sum;
}

static void make_all(void)
{
    rng_t rng = rng_seed(0);
    for (uint64_t number = 0; number < parcels; number++) {
        parcel_make(&queues[0], &rng, number);
    }
}

static uint64_t free_all(void)
{
    uint64_t sum = 0;
    for (uint64_t number = 0; number < parcels; number++) {
        sum += parcel_free(&queues[0]);
    }
    return sum;
}

// Each side is half a queue ahead, so that neither waits for every parcel of the other.
static uint64_t exchange_all(uint64_t side)
{
    rng_t rng = rng_seed(side);
    uint64_t sum = 0;
    const uint64_t ahead = QUEUE_PARCELS / 2;
    for (uint64_t number = 0; number < parcels / 2 + ahead; number++) {
        if (number < parcels / 2) {
            parcel_make(&queues[side], &rng, number);
        }
        if (number >= ahead) {
            sum += parcel_free(&queues[1 - side]);
        }
    }
    return sum;
}

static void *other_run(void *result)
{
    *(uint64_t *)result = both ? exchange_all(1) : free_all();
    return NULL;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"both", &both}, {"parcels", &parcels}, {"low", &low}, {"high", &high}, {NULL, NULL}});
    uint64_t other_sum = 0, sum = 0;
    pthread_t other = thread_start(other_run, &other_sum);
    if (both) {
        sum = exchange_all(0);
    } else {
        make_all();
    }
    thread_join(other);
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum + other_sum);
    return 0;
}
