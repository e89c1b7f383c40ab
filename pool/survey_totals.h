// pool/survey_totals.h - what a survey has counted by class, summed up; and what the live blocks were requested for.
#ifndef TARN_SURVEY_TOTALS_H
#define TARN_SURVEY_TOTALS_H

#include "survey.h"

// After the walk: requested and rounding bytes of each class, the sums of all, and what is counted for the whole pool.
RARE void survey_totals(survey_t *out);

#endif
