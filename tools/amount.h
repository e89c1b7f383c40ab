// tools/amount.h - figures for people: "12.34 MiB", "1,234,567", "61 %".
#ifndef TARN_TOOLS_AMOUNT_H
#define TARN_TOOLS_AMOUNT_H

#include <stdint.h>

typedef struct amount {
    char text[40]; // 20 digits, 6 commas, a sign, a unit
} amount_t;

// Mebibytes with two decimals, so that a column of them compares at sight; below 0.1 MiB in KiB with one.
amount_t amount_bytes(uint64_t bytes);

// Always in MiB.
amount_t amount_mib(uint64_t bytes);

// A size that somebody chose, in full: "512 KiB", "500 B".
amount_t amount_chosen(uint64_t bytes);

// "+1.20 MiB", "-0.30 MiB"
amount_t amount_change(int64_t bytes);

amount_t amount_count(uint64_t count);
amount_t amount_count_change(int64_t count);

// part in percent of whole, rounded; 0 if whole is 0.
unsigned amount_percent(uint64_t part, uint64_t whole);

// The whole part of what was computed. A damaged recording's figures can come to anything: what is beyond 2^63 is cut,
// and what is no number is 0.
static inline uint64_t amount_whole(double value)
{
    return value >= 0x1p63 ? (uint64_t)1 << 63 : value > 0 ? (uint64_t)value : 0;
}

#endif
