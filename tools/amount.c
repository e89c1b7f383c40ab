// tools/amount.c - see amount.h. Digits are grouped here: printf's ' flag does so in some locales only.
#include "amount.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MIB (1024.0 * 1024.0)
#define KIB_BELOW_BYTES (1024 * 1024 / 10)

static void digits_grouped(char *text, uint64_t count)
{
    char plain[24];
    int length = snprintf(plain, sizeof plain, "%lu", count);
    for (int i = 0; i < length; i++) {
        *text++ = plain[i];
        if ((length - i) % 3 == 1 && i + 1 < length)
            *text++ = ',';
    }
    *text = '\0';
}

amount_t amount_count(uint64_t count)
{
    amount_t amount;
    digits_grouped(amount.text, count);
    return amount;
}

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

amount_t amount_count_change(int64_t count)
{
    amount_t amount;
    amount.text[0] = count < 0 ? '-' : '+';
    digits_grouped(amount.text + 1, magnitude(count));
    return amount;
}

static void bytes_write(char *text, uint64_t bytes, const char *sign)
{
    char whole[32];
    uint64_t hundredths = amount_whole((double)bytes / MIB * 100 + 0.5);
    digits_grouped(whole, hundredths / 100);
    snprintf(text, sizeof(amount_t), "%s%s.%02u MiB", sign, whole, (unsigned)(hundredths % 100));
}

amount_t amount_chosen(uint64_t bytes)
{
    amount_t amount;
    bool whole = bytes % 1024 == 0;
    snprintf(amount.text, sizeof amount.text, "%lu %s", whole ? bytes / 1024 : bytes, whole ? "KiB" : "B");
    return amount;
}

amount_t amount_mib(uint64_t bytes)
{
    amount_t amount;
    bytes_write(amount.text, bytes, "");
    return amount;
}

amount_t amount_bytes(uint64_t bytes)
{
    amount_t amount;
    if (bytes != 0 && bytes < KIB_BELOW_BYTES)
        snprintf(amount.text, sizeof amount.text, "%.1f KiB", (double)bytes / 1024);
    else
        bytes_write(amount.text, bytes, "");
    return amount;
}

amount_t amount_change(int64_t bytes)
{
    amount_t amount;
    bytes_write(amount.text, magnitude(bytes), bytes < 0 ? "-" : "+");
    return amount;
}

unsigned amount_percent(uint64_t part, uint64_t whole)
{
    uint64_t percent = whole == 0 ? 0 : amount_whole((double)part * 100 / (double)whole + 0.5);
    return percent < UINT_MAX ? (unsigned)percent : UINT_MAX;
}
