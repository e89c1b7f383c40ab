// interpreter.c - how does an interpreter's churn do: small reference-counted values, frames, growing lists, tables?
//
// A toy runtime whose every number, string, list and table is a block of its own, like CPython's without its pools:
//
//   calls     a recursive function with boxed arguments and a frame for each call   (16 to 48 B, die at once)
//   words     strings collected in a growing list and counted in a table           (16 to 64 B, realloc by 1/8)
//   objects   instances with a small table of attributes, a few of them long-lived (several blocks each)
//
// Invariant: value_drop of the last reference frees exactly what the value owns; at the end nothing is live.

#include <stdlib.h>
#include <string.h>

#include "bench.h"

static uint64_t rounds = 12;       // calls, words and objects, this often
static uint64_t depth = 21;        // of the recursion: fib(21) makes 28,656 calls
static uint64_t words = 60000;     // a round
static uint64_t objects = 100000;  // a round
static uint64_t residents = 20000; // objects alive at a time

enum {
    LIST_FIRST_ITEMS = 4,
    TABLE_FIRST_ENTRIES = 8,
    WORD_BYTES_MIN = 3,
    WORD_BYTES_MAX = 40,
    VOCABULARY = 20000, // different words: the rest are repetitions
    ATTRIBUTES = 3,
};

typedef enum kind { NUMBER, STRING, LIST, TABLE } kind_t;

typedef struct value {
    uint32_t references;
    kind_t kind;
} value_t;

typedef struct number {
    value_t head;
    int64_t number;
} number_t;

typedef struct string {
    value_t head;
    uint32_t hash;
    uint32_t length;
    char text[];
} string_t;

typedef struct list {
    value_t head;
    size_t count;
    size_t capacity;
    value_t **items; // [owned] one reference each
} list_t;

typedef struct entry {
    string_t *key; // [owned]
    value_t *value; // [owned]
} entry_t;

// Open addressing, at most two thirds full.
typedef struct table {
    value_t head;
    size_t count;
    size_t capacity; // a power of two
    entry_t *entries;
} table_t;

// --- values: made with one reference, the caller's ------------------------------------------------------------------

static void *value_make(size_t bytes, kind_t kind)
{
    value_t *value = malloc(bytes);
    if (value == NULL) {
        fail("malloc");
    }
    value->references = 1;
    value->kind = kind;
    return value;
}

static void *value_keep(void *value)
{
    ((value_t *)value)->references++;
    return value;
}

static void value_drop(void *value);

static void list_clear(list_t *list)
{
    for (size_t i = 0; i < list->count; i++) {
        value_drop(list->items[i]);
    }
    free(list->items);
}

static void table_clear(table_t *table)
{
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].key != NULL) {
            value_drop(table->entries[i].key);
            value_drop(table->entries[i].value);
        }
    }
    free(table->entries);
}

static void value_drop(void *value)
{
    value_t *head = value;
    if (--head->references > 0) {
        return;
    }
    if (head->kind == LIST) {
        list_clear(value);
    } else if (head->kind == TABLE) {
        table_clear(value);
    }
    free(value);
}

static number_t *number_make(int64_t number)
{
    number_t *value = value_make(sizeof *value, NUMBER);
    value->number = number;
    return value;
}

static string_t *string_make(const char *text, size_t length)
{
    string_t *value = value_make(sizeof *value + length + 1, STRING);
    uint32_t hash = 2166136261U; // FNV-1a
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 16777619U;
    }
    memcpy(value->text, text, length);
    value->text[length] = '\0';
    value->hash = hash;
    value->length = (uint32_t)length;
    return value;
}

static list_t *list_make(void)
{
    list_t *list = value_make(sizeof *list, LIST);
    list->count = 0;
    list->capacity = 0;
    list->items = NULL;
    return list;
}

// Takes over the caller's reference.
static void list_append(list_t *list, void *item)
{
    if (list->count == list->capacity) {
        list->capacity += list->capacity / 8 + LIST_FIRST_ITEMS;
        list->items = realloc(list->items, list->capacity * sizeof *list->items);
        if (list->items == NULL) {
            fail("realloc");
        }
    }
    list->items[list->count++] = item;
}

// --- tables ---------------------------------------------------------------------------------------------------------

static table_t *table_make(void)
{
    table_t *table = value_make(sizeof *table, TABLE);
    table->count = 0;
    table->capacity = TABLE_FIRST_ENTRIES;
    table->entries = calloc(table->capacity, sizeof *table->entries);
    if (table->entries == NULL) {
        fail("calloc");
    }
    return table;
}

static bool string_same(const string_t *a, const string_t *b)
{
    return a->hash == b->hash && a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

// The entry of the key, or the empty one where it belongs.
static entry_t *table_find(const table_t *table, const string_t *key)
{
    size_t place = key->hash & (table->capacity - 1);
    while (table->entries[place].key != NULL && !string_same(table->entries[place].key, key)) {
        place = (place + 1) & (table->capacity - 1);
    }
    return &table->entries[place];
}

static void table_grow(table_t *table)
{
    table_t old = *table;
    table->capacity *= 2;
    table->entries = calloc(table->capacity, sizeof *table->entries);
    if (table->entries == NULL) {
        fail("calloc");
    }
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.entries[i].key != NULL) {
            *table_find(table, old.entries[i].key) = old.entries[i];
        }
    }
    free(old.entries);
}

// Takes over the caller's reference to the value; keeps one of its own to the key.
static void table_set(table_t *table, string_t *key, void *value)
{
    entry_t *entry = table_find(table, key);
    if (entry->key != NULL) {
        value_drop(entry->value);
        entry->value = value;
        return;
    }
    *entry = (entry_t){.key = value_keep(key), .value = value};
    if (++table->count * 3 > table->capacity * 2) {
        table_grow(table);
    }
}

// --- the three kinds of work ----------------------------------------------------------------------------------------

// fib(n) as an interpreter runs it: locals in a list made for the call, results boxed.
static number_t *call_run(number_t *argument)
{
    list_t *frame = list_make();
    list_append(frame, value_keep(argument));
    if (argument->number < 2) {
        value_drop(frame);
        return number_make(argument->number);
    }
    for (int step = 1; step <= 2; step++) {
        number_t *smaller = number_make(argument->number - step);
        list_append(frame, call_run(smaller));
        value_drop(smaller);
    }
    int64_t result = ((number_t *)frame->items[1])->number + ((number_t *)frame->items[2])->number;
    value_drop(frame);
    return number_make(result);
}

static uint64_t calls_run(void)
{
    number_t *argument = number_make((int64_t)depth);
    number_t *result = call_run(argument);
    uint64_t sum = (uint64_t)result->number;
    value_drop(argument);
    value_drop(result);
    return sum;
}

static string_t *word_make(rng_t *rng)
{
    char text[WORD_BYTES_MAX];
    rng_t letters = rng_seed(rng_below(rng, VOCABULARY));
    size_t length = rng_between(&letters, WORD_BYTES_MIN, WORD_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)('a' + rng_below(&letters, 26));
    }
    return string_make(text, length);
}

static void word_count(table_t *counts, string_t *word)
{
    entry_t *entry = table_find(counts, word);
    int64_t before = entry->key != NULL ? ((number_t *)entry->value)->number : 0;
    table_set(counts, word, number_make(before + 1));
}

static uint64_t words_run(rng_t *rng)
{
    list_t *text = list_make();
    table_t *counts = table_make();
    for (uint64_t i = 0; i < words; i++) {
        list_append(text, word_make(rng));
        word_count(counts, (string_t *)text->items[i]);
    }
    uint64_t sum = counts->count;
    value_drop(text);
    value_drop(counts);
    return sum;
}

static table_t *object_make(string_t **names, uint64_t identity)
{
    table_t *object = table_make();
    for (uint64_t i = 0; i < ATTRIBUTES; i++) {
        table_set(object, names[i], number_make((int64_t)(identity * i)));
    }
    return object;
}

// Every object replaces a random older one, so that some live long among many that do not.
static uint64_t objects_run(rng_t *rng, table_t **alive)
{
    static const char *const attributes[ATTRIBUTES] = {"name", "left", "right"};
    string_t *names[ATTRIBUTES];
    for (uint64_t i = 0; i < ATTRIBUTES; i++) {
        names[i] = string_make(attributes[i], strlen(attributes[i]));
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < objects; i++) {
        table_t **slot = &alive[rng_below(rng, residents)];
        if (*slot != NULL) {
            sum += (uint64_t)((number_t *)table_find(*slot, names[1])->value)->number;
            value_drop(*slot);
        }
        *slot = object_make(names, i);
    }
    for (uint64_t i = 0; i < ATTRIBUTES; i++) {
        value_drop(names[i]);
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"rounds", &rounds}, {"depth", &depth}, {"words", &words}, {"objects", &objects},
        {"residents", &residents}, {NULL, NULL}});
    rng_t rng = rng_seed(0);
    table_t **alive = array_map(residents, sizeof *alive);
    uint64_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        sum += calls_run() + words_run(&rng) + objects_run(&rng, alive);
    }
    for (uint64_t i = 0; i < residents; i++) {
        if (alive[i] != NULL) {
            value_drop(alive[i]);
        }
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
