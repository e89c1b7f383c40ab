// tests/stress/model.h - which block a request is to get, computed the slow and obvious way from config.h alone: what
// size_class.h does by shifts is done here by a search through the list of all sizes.
#ifndef TARN_TEST_MODEL_H
#define TARN_TEST_MODEL_H

#include "config.h"

#define MODEL_SIZES (SMALL_CLASSES + MEDIUM_CLASSES)
#define MODEL_LARGE MODEL_SIZES // index of everything that is mapped alone

// Requests up to most_bytes, with the tail behind them, have a class.
void model_start(size_t most_bytes, size_t tail_bytes);
// Index in order of block size; MODEL_LARGE: none.
unsigned model_index(size_t alignment, size_t size_bytes);
// The same for realloc of a block of old_index that has old_bytes: what grows to LARGE_GROWING_BYTES becomes large, and
// what is large stays so down to half of that.
unsigned model_index_resized(unsigned old_index, size_t old_bytes, size_t size_bytes);
// Whether a block of the larger class may serve a request of this one: a small one in a heap that has no page of it, and it is as
// aligned as the class's own are; a medium one, unless it has a tail, where nothing of its own is resident.
bool model_may_lend(unsigned index, unsigned larger);
// Usable size of the block: the class's without its tail, or whole OS pages.
size_t model_block_bytes(unsigned index, size_t size_bytes);
// What a block has behind its usable bytes.
size_t model_tail_bytes(unsigned index);
// The class with blocks of just this usable size; MODEL_LARGE: none.
unsigned model_index_of_block(size_t block_bytes);

#endif
