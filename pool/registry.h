// pool/registry.h - what the survey needs to see of the registry.
#ifndef TARN_REGISTRY_H
#define TARN_REGISTRY_H

#include "meta.h"

extern meta_arena_t registry_arena; // the heaps' memory
unsigned registry_orphans(void);

#endif
