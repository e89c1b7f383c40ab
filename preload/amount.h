// preload/amount.h - a number of bytes as people read it: "812.0 KiB", "12.34 MiB".
#ifndef TARN_AMOUNT_H
#define TARN_AMOUNT_H

#include <stdint.h>

#include "../pool/bits.h"

typedef enum amount_unit { AMOUNT_KIB, AMOUNT_MIB, AMOUNT_GIB } amount_unit_t;

typedef struct amount {
    char text[32];
} amount_t;

// The unit that suits the figure; a table takes one unit for all, that of its largest.
RARE amount_unit_t amount_unit_of(uint64_t bytes);
RARE amount_t amount_in(amount_unit_t unit, uint64_t bytes);
RARE amount_t amount_of(uint64_t bytes);

#endif
