// compiler.c - how does a compiler's heap do: many small nodes of many sizes, few freed early, all freed at the end?
//
// Functions of random source are parsed to trees, folded (constant subtrees die at once), and lowered to chains of
// instructions with operand arrays; names are interned for good. Nothing else is freed until the whole unit is done.
//
//   unit -> function -> tree of nodes (kind decides the size: 32 to 96 B) with arrays of children grown by realloc
//                    -> chain of instructions (48 B) with operand arrays (8 to 32 B)
//        -> names (24 B + the text), in hash chains

#include <stdlib.h>
#include <string.h>

#include "bench.h"

static uint64_t units = 4, functions = 2500, statements = 12, depth = 6;

enum {
    NAME_CHAINS = 4096,
    NAMES = 10000,
    NAME_BYTES_MAX = 24,
    CHILDREN_MAX = 4,
    OPERANDS_MAX = 4,
    KINDS = 5,
};

typedef struct name {
    struct name *next;
    uint64_t number;
    char text[];
} name_t;

typedef enum node_kind { CONSTANT, VARIABLE, UNARY, OPERATION, BLOCK } node_kind_t;

// What a real front end keeps with each kind of node: places, types, attributes.
static const size_t node_bytes[KINDS] = {48, 56, 48, 64, 96};

typedef struct node {
    node_kind_t kind;
    uint32_t count;
    uint32_t capacity;
    struct node **children; // [owned]
    union {
        int64_t constant;
        const name_t *name; // interned
    };
} node_t;

typedef struct instruction {
    struct instruction *next;
    uint32_t operation;
    uint32_t count;
    uint64_t *operands; // [owned]
    uint64_t places[2]; // source line and column
} instruction_t;

typedef struct function {
    node_t *body;
    instruction_t *first;
} function_t;

typedef struct unit {
    rng_t rng;
    name_t **chains;
    uint64_t sum; // of all that was seen: constants folded, instructions made, nodes freed
} unit_t;

static void *memory_or_fail(void *memory)
{
    if (memory == NULL) {
        fail("malloc");
    }
    return memory;
}

// --- names ----------------------------------------------------------------------------------------------------------

static const name_t *name_intern(unit_t *unit, uint64_t number)
{
    name_t **chain = &unit->chains[number % NAME_CHAINS];
    for (name_t *name = *chain; name != NULL; name = name->next) {
        if (name->number == number) {
            return name;
        }
    }
    size_t length = 1 + number % NAME_BYTES_MAX;
    name_t *name = memory_or_fail(malloc(sizeof *name + length + 1));
    memset(name->text, 'n', length);
    name->text[length] = '\0';
    name->number = number;
    name->next = *chain;
    *chain = name;
    return name;
}

static void names_free(unit_t *unit)
{
    for (size_t i = 0; i < NAME_CHAINS; i++) {
        while (unit->chains[i] != NULL) {
            name_t *name = unit->chains[i];
            unit->chains[i] = name->next;
            free(name);
        }
    }
}

// --- trees ----------------------------------------------------------------------------------------------------------

static node_t *node_make(node_kind_t kind)
{
    node_t *node = memory_or_fail(malloc(node_bytes[kind]));
    memset(node, 0, node_bytes[kind]);
    node->kind = kind;
    return node;
}

static void node_append(node_t *parent, node_t *child)
{
    if (parent->count == parent->capacity) {
        parent->capacity = parent->capacity == 0 ? 2 : parent->capacity * 2;
        parent->children = memory_or_fail(realloc(parent->children, parent->capacity * sizeof(node_t *)));
    }
    parent->children[parent->count++] = child;
}

static void node_free(unit_t *unit, node_t *node)
{
    for (uint32_t i = 0; i < node->count; i++) {
        node_free(unit, node->children[i]);
    }
    unit->sum += node->kind;
    free(node->children);
    free(node);
}

static node_t *leaf_parse(unit_t *unit)
{
    node_kind_t kind = rng_below(&unit->rng, 2) ? CONSTANT : VARIABLE;
    node_t *leaf = node_make(kind);
    if (kind == CONSTANT) {
        leaf->constant = (int64_t)rng_below(&unit->rng, 1000);
    } else {
        leaf->name = name_intern(unit, rng_below(&unit->rng, NAMES));
    }
    return leaf;
}

static node_t *expression_parse(unit_t *unit, uint64_t levels)
{
    if (levels == 0 || rng_below(&unit->rng, 5) == 0) {
        return leaf_parse(unit);
    }
    bool unary = rng_below(&unit->rng, 4) == 0;
    node_t *node = node_make(unary ? UNARY : OPERATION);
    uint64_t children = unary ? 1 : rng_between(&unit->rng, 2, CHILDREN_MAX);
    for (uint64_t i = 0; i < children; i++) {
        node_append(node, expression_parse(unit, levels - 1));
    }
    return node;
}

static node_t *function_parse(unit_t *unit)
{
    node_t *body = node_make(BLOCK);
    for (uint64_t i = 0; i < statements; i++) {
        node_append(body, expression_parse(unit, rng_between(&unit->rng, 1, depth)));
    }
    return body;
}

static bool node_is_foldable(const node_t *node)
{
    for (uint32_t i = 0; i < node->count; i++) {
        if (node->children[i]->kind != CONSTANT) {
            return false;
        }
    }
    return node->count > 0 && node->kind != BLOCK;
}

// Replaces each operation on constants by its result: the only frees before the end.
static node_t *node_fold(unit_t *unit, node_t *node)
{
    for (uint32_t i = 0; i < node->count; i++) {
        node->children[i] = node_fold(unit, node->children[i]);
    }
    if (!node_is_foldable(node)) {
        return node;
    }
    node_t *result = node_make(CONSTANT);
    for (uint32_t i = 0; i < node->count; i++) {
        result->constant += node->children[i]->constant;
    }
    unit->sum += (uint64_t)result->constant;
    node_free(unit, node);
    return result;
}

// --- instructions ---------------------------------------------------------------------------------------------------

static instruction_t *instruction_make(unit_t *unit, const node_t *node)
{
    instruction_t *made = memory_or_fail(malloc(sizeof *made));
    made->operation = node->kind;
    made->count = node->count < OPERANDS_MAX ? node->count : OPERANDS_MAX;
    made->operands = NULL;
    made->places[0] = unit->sum;
    made->places[1] = 0;
    if (made->count > 0) {
        made->operands = memory_or_fail(calloc(made->count, sizeof *made->operands));
    }
    unit->sum++;
    return made;
}

// Children first, as a stack machine wants it; `tail` is where the next instruction hangs.
static instruction_t **node_lower(unit_t *unit, const node_t *node, instruction_t **tail)
{
    for (uint32_t i = 0; i < node->count; i++) {
        tail = node_lower(unit, node->children[i], tail);
    }
    instruction_t *made = instruction_make(unit, node);
    made->next = NULL;
    *tail = made;
    return &made->next;
}

static void function_free(unit_t *unit, function_t *function)
{
    node_free(unit, function->body);
    while (function->first != NULL) {
        instruction_t *instruction = function->first;
        function->first = instruction->next;
        free(instruction->operands);
        free(instruction);
    }
}

static uint64_t unit_compile(uint64_t seed)
{
    unit_t unit = {.rng = rng_seed(seed), .chains = array_map(NAME_CHAINS, sizeof(name_t *))};
    function_t *all = array_map(functions, sizeof *all);
    for (uint64_t i = 0; i < functions; i++) {
        all[i].body = node_fold(&unit, function_parse(&unit));
        node_lower(&unit, all[i].body, &all[i].first);
    }
    for (uint64_t i = 0; i < functions; i++) {
        function_free(&unit, &all[i]);
    }
    names_free(&unit);
    array_unmap(unit.chains, NAME_CHAINS, sizeof(name_t *));
    array_unmap(all, functions, sizeof *all);
    return unit.sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"units", &units}, {"functions", &functions}, {"statements", &statements}, {"depth", &depth}, {NULL, NULL}});
    uint64_t sum = 0;
    for (uint64_t i = 0; i < units; i++) {
        sum += unit_compile(i);
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
