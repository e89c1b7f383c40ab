// tools/report_pprof.h - a profile in pprof's format: for `go tool pprof`, Pyroscope, Parca.
#ifndef TARN_TOOLS_REPORT_PPROF_H
#define TARN_TOOLS_REPORT_PPROF_H

#include "profile.h"

// Writes the file, compressed: what is in use as of `moment`, MOMENT_LAST or MOMENT_PEAK; with the latter what is pinned is that of
// the snapshot with the most holes. Returns 0, or TOOL_BAD_INPUT after one line on stderr.
int report_pprof_write(const char *who, const char *path, const profile_t *profile, profile_moment_t moment);

#endif
