// tools/top_text.h - a running process on one screen: resident by cause, rates, size classes, call sites.
#ifndef TARN_TOOLS_TOP_TEXT_H
#define TARN_TOOLS_TOP_TEXT_H

#include "live.h"
#include "profile.h"

#include <stdio.h>

// `now` is what the kernel says; the rest is as of the last snapshot. At most `sites` call sites, and sentences wrapped
// to so many columns; tables are as wide as they are.
void top_text(FILE *out, const profile_t *profile, live_t now, unsigned sites, int columns);

#endif
