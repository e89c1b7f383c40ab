// tests/unit/books.h - the survey's figures against the kernel's: /proc/self/smaps is read, not mincore, which is what
// the survey itself uses.
#ifndef TARN_TEST_BOOKS_H
#define TARN_TEST_BOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "survey.h"

// How far the survey may be from the kernel's figure: 64 KiB + 0.5 %.
uint64_t books_tolerance(uint64_t bytes);
// Sum of the named causes, which is to be heap_rss_bytes.
uint64_t books_sum(const survey_t *survey);
// Rss by smaps of all addresses in the survey's ranges.
uint64_t books_smaps_rss(const survey_t *survey);
// Rss by smaps of all mappings with a name of ours. *named: there are such; not so where the kernel cannot name any.
uint64_t books_named_rss(bool *named);
// Resident bytes of a range of whole OS pages, by /proc/self/pagemap.
uint64_t books_resident(const void *start, const void *end);

// Sum, smaps and named mappings agree with heap_rss_bytes within the tolerance. False: *why tells.
bool books_agree(const survey_t *survey, char *why, size_t why_bytes);

#endif
