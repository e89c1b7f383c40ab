// pool/survey_sums.h - what one page holds: what of it is resident, and which cause each byte has (survey.h).
//
// A medium page is split block by block. For a small page the sum closes by its own equation: what is resident beyond
// the carved blocks is tail or never used; what is missing is live memory that was never touched.
#ifndef TARN_SURVEY_SUMS_H
#define TARN_SURVEY_SUMS_H

#include "heap.h"
#include "residency.h"

// In a survey without locks a page can change its class meanwhile: it is read once.
typedef struct page_sums {
    unsigned class;
    uint64_t live, pending, free_blocks; // blocks
    uint64_t resident, holes, tail, pending_bytes, untouched;
    uint64_t requested; // of the live blocks; 0 unless exact sizes are kept
} page_sums_t;

// Of a page with an owner that is no mosaic. sums: class is set, the rest is zero. Bytes at `most` and above are not asked about
// (residency_bytes).
RARE void survey_page_sums(page_t *page, heap_t *owner, residency_t *residency, uintptr_t most, page_sums_t *sums);

// Where the blocks of a head list that is not empty come from.
typedef enum head_kind { HEAD_OWN, HEAD_MOSAIC, HEAD_BORROWED } head_kind_t;

// (Of an empty list it means nothing: head_page may be of a zone that was left.)
RARE head_kind_t survey_head_kind(const heap_t *heap, unsigned class);

// How many blocks a head list has. Its owner may be popping from it: then too few.
RARE unsigned survey_head_count(const heap_t *heap, unsigned class);

#endif
