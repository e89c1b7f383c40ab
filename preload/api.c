// preload/api.c - tarn.h's functions.
#include "exit_report.h"
#include "../pool/bits.h"
#include "export.h"
#include "fork.h"
#include "tarn.h"

EXPORT RARE const char *tarn_version(void)
{
    return TARN_VERSION;
}

EXPORT RARE int tarn_report(void)
{
    fork_catch_up();
    return exit_report_now();
}
