// preload/api.c - tarn.h's functions.
#include "exit_report.h"
#include "export.h"
#include "tarn.h"

EXPORT const char *tarn_version(void)
{
    return TARN_VERSION;
}

EXPORT int tarn_report(void)
{
    return exit_report_now();
}
