// tests/stress/shadow.h - random work on the pool, and beside it the shadow: what each block is, how long it was asked
// for, and what stands in it. A shadow belongs to one thread at a time. Whatever is found wrong ends the process.
#ifndef TARN_TEST_SHADOW_H
#define TARN_TEST_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "survey.h"

typedef struct slot {
    unsigned char *block;
    size_t size_bytes;  // asked for
    size_t block_bytes; // got, by the model
    unsigned index;     // class, by the model
    uint32_t tag;       // what its bytes are made from
} slot_t;

typedef struct shadow {
    slot_t *slots;
    unsigned slot_count;
    uint64_t random; // state of the generator
    size_t live_bytes;
    size_t live_most_bytes;              // above it, requests are small
    unsigned fill;                       // percent of slots that are full in the long run
    size_t focus_bytes;                  // most requests are this long; 0: of all sizes
    bool large_often;                    // one request of 50 is of 1 to 16 MiB
    bool may_fail;                       // NULL is an answer, and a large block may serve a small request
    uint64_t refused;                    // how often it was the answer
    uint64_t allocated[MODEL_SIZES + 1]; // blocks ever got, by class
    uint64_t lent[SMALL_CLASSES];        // requests of a class that ever got a larger one's
    uint64_t lent_medium;                // of all medium classes together
} shadow_t;

// Prints the message and what replays the run, and aborts.
extern char shadow_replay[256];
__attribute__((noreturn, format(printf, 1, 2))) void shadow_fail(const char *format, ...);

// So many reports of misuse are to come: what is done next is wrong.
extern unsigned shadow_misuses_due;

uint64_t shadow_random(uint64_t *state);
unsigned shadow_below(uint64_t *state, unsigned bound);

void shadow_start(shadow_t *shadow, unsigned slot_count, uint64_t seed);
void shadow_end(shadow_t *shadow);  // the blocks are freed before
void shadow_mood(shadow_t *shadow); // another `fill` and `focus_bytes`
void shadow_steps(shadow_t *shadow, unsigned steps);
// The same one by one: into an empty slot; of a full one. What comes of it is checked at once.
void shadow_malloc(shadow_t *shadow, slot_t *slot, size_t size_bytes);
void shadow_calloc(shadow_t *shadow, slot_t *slot, size_t size_bytes);
void shadow_aligned(shadow_t *shadow, slot_t *slot, size_t alignment, size_t size_bytes);
void shadow_resize(shadow_t *shadow, slot_t *slot, size_t size_bytes);
void shadow_inspect(const shadow_t *shadow, slot_t *slot);
void shadow_free(shadow_t *shadow, slot_t *slot);
void shadow_verify(const shadow_t *shadow); // every byte of every block
void shadow_free_all(shadow_t *shadow);
// Hands a random slot of one to a random slot of the other, and back.
void shadow_exchange(shadow_t *a, shadow_t *b, uint64_t *random);

// The sum over all shadows.
typedef struct shadow_count {
    uint64_t live[MODEL_SIZES + 1], allocated[MODEL_SIZES + 1], lent[SMALL_CLASSES];
    uint64_t live_blocks, live_bytes, large_bytes, requested_bytes, lent_medium;
} shadow_count_t;

void shadow_count_add(shadow_count_t *count, const shadow_t *shadow);
// Everything the survey says exactly is what the shadows say. Fails if not. totals: allocated_total too.
void shadow_compare(const shadow_count_t *count, const survey_t *survey, bool totals);

#endif
