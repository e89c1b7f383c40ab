// tools/provenance.h - what something was measured on: without it no figure can be compared with another day's.
#ifndef TARN_TOOLS_PROVENANCE_H
#define TARN_TOOLS_PROVENANCE_H

enum { PROVENANCE_FACTS_MAX = 12, PROVENANCE_FACT_BYTES = 192 };

typedef struct fact {
    const char *name; // as in the JSON
    char value[PROVENANCE_FACT_BYTES];
} fact_t;

typedef struct provenance {
    fact_t facts[PROVENANCE_FACTS_MAX];
    int count;
} provenance_t;

// The date, the system and its settings, the processor, the load as it is now.
void provenance_take(provenance_t *provenance);

#endif
