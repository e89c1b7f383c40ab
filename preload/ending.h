// preload/ending.h - the ways a process ends: exit and return from main, _exit and _Exit, quick_exit. Signals: fatal.h.
#ifndef TARN_ENDING_H
#define TARN_ENDING_H

#include "../pool/bits.h"

// Asks to be called at the end. From the constructor, as early as can be: handlers run in reverse order.
RARE void ending_start(void);

#endif
