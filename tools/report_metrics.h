// tools/report_metrics.h - profiles as metrics for a monitoring system: OpenMetrics, and Prometheus' older text format.
//
//   --openmetrics   every snapshot with its time, "# EOF" at the end: a history to be imported
//   --prometheus    the last snapshot without a time, for the textfile collector, which refuses times
//
// Names are those of docs/statistics.md behind "tarn_"; counters end in _total. Call sites: the first ones by each
// metric, and [others], so that the sum is the balance sheet's.
#ifndef TARN_TOOLS_REPORT_METRICS_H
#define TARN_TOOLS_REPORT_METRICS_H

#include "profile.h"

#include <stddef.h>
#include <stdio.h>

void report_openmetrics(FILE *out, profile_t *const *profiles, size_t count, unsigned top);
void report_prometheus(FILE *out, profile_t *const *profiles, size_t count, unsigned top);

#endif
