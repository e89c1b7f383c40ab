// pool/survey_ranges.h - the ranges of addresses that a survey lists, and those of the pool's metadata.
#ifndef TARN_SURVEY_RANGES_H
#define TARN_SURVEY_RANGES_H

#include "survey.h"

// start: NULL, or not below end: nothing is added. name: a constant.
RARE void survey_range_add(survey_t *out, const void *start, const void *end, const char *name);

// All metadata: adds its ranges, and what of them is resident to metadata_bytes and heap_rss_bytes.
RARE void survey_metadata(survey_t *out);

#endif
