// preload/stack_rule.c - see stack_rule.h. The format: Linux Standard Base, "Exception Frames", and DWARF 5, 6.4.
//
// What is not understood is RULE_HARD: nothing is guessed.
#include "stack_rule.h"

#include <stddef.h>
#include <string.h>

#include "stack_tables.h"

static const stack_rule_t hard = {RULE_HARD};

#if defined(__x86_64__) && defined(__LP64__)

// libgcc's: the entry for an address, without a lock (by _dl_find_object).
typedef struct bases {
    void *text, *data, *function;
} bases_t;

const void *_Unwind_Find_FDE(void *address, bases_t *bases);

// The tables' index, as linkers write it: functions in order, both by their distance from the index itself.
typedef struct index_function {
    int32_t function, entry;
} index_function_t;

typedef struct index {
    uint8_t version, tables_encoding, count_encoding, functions_encoding;
    int32_t tables;
    uint32_t count;
    index_function_t functions[];
} index_t;

enum { REGISTER_BP = 6, REGISTER_SP = 7, REGISTER_RETURN = 16 }; // as DWARF numbers them
#define REMEMBERED_MAX 4 // nested; compilers need one

typedef enum saved { SAVED_NOT = 0, SAVED_AT, SAVED_UNDEFINED, SAVED_HARD } saved_t;

typedef struct place {
    saved_t how;
    int64_t offset; // from the CFA
} place_t;

// A row of the table: what is known at one address.
typedef struct row {
    uint64_t base; // register
    int64_t cfa_offset;
    bool by_expression; // the CFA
    bool moves_sp;      // sp is not the CFA
    place_t bp, back;
} row_t;

typedef struct reader {
    const uint8_t *at, *end;
    bool broken; // beyond the end, or not understood
} reader_t;

typedef struct program {
    uintptr_t location, target; // rows up to the one that holds target
    uint64_t code_unit;
    int64_t data_unit;
    row_t row, initial, remembered[REMEMBERED_MAX];
    unsigned depth;
} program_t;

// --- reading ---------------------------------------------------------------------------------------------------------

static const uint8_t *bytes_take(reader_t *reader, uint64_t count)
{
    static const uint8_t zeros[8];
    if (reader->broken || count > (uint64_t)(reader->end - reader->at)) {
        reader->broken = true;
        return zeros;
    }
    reader->at += count;
    return reader->at - count;
}

static uint64_t fixed_take(reader_t *reader, unsigned bytes) // at most 8
{
    uint64_t value = 0;
    memcpy(&value, bytes_take(reader, bytes), bytes);
    return value;
}

// LEB128; with its sign, if wanted.
static uint64_t number_take(reader_t *reader, bool is_signed)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = (uint8_t)fixed_take(reader, 1);
        value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        shift += 7;
    } while (byte & 0x80 && !reader->broken);
    if (is_signed && byte & 0x40 && shift < 64)
        value |= ~(uint64_t)0 << shift;
    return value;
}

static uint64_t unsigned_take(reader_t *reader)
{
    return number_take(reader, false);
}

static int64_t signed_take(reader_t *reader)
{
    return (int64_t)number_take(reader, true);
}

static void block_skip(reader_t *reader)
{
    bytes_take(reader, unsigned_take(reader));
}

// Of an encoded pointer; 0: not understood.
static unsigned pointer_bytes(uint8_t encoding)
{
    static const uint8_t bytes[16] = {[0x0] = 8, [0x2] = 2, [0x3] = 4, [0x4] = 8, [0xa] = 2, [0xb] = 4, [0xc] = 8};
    const uint8_t omitted = 0xff, aligned = 0x50;
    return encoding == omitted || (encoding & 0x70) == aligned ? 0 : bytes[encoding & 0xf];
}

// --- rows ------------------------------------------------------------------------------------------------------------

static void register_set(program_t *program, uint64_t number, saved_t how, int64_t offset)
{
    if (number == REGISTER_BP)
        program->row.bp = (place_t){how, offset};
    else if (number == REGISTER_RETURN)
        program->row.back = (place_t){how, offset};
    else if (number == REGISTER_SP)
        program->row.moves_sp = true;
}

static void register_restore(program_t *program, uint64_t number)
{
    if (number == REGISTER_BP)
        program->row.bp = program->initial.bp;
    else if (number == REGISTER_RETURN)
        program->row.back = program->initial.back;
    else if (number == REGISTER_SP)
        program->row.moves_sp = program->initial.moves_sp;
}

static void cfa_set(program_t *program, uint64_t base, int64_t offset)
{
    program->row.base = base;
    program->row.cfa_offset = offset;
    program->row.by_expression = false;
}

static void remember(program_t *program, reader_t *reader)
{
    if (program->depth == REMEMBERED_MAX)
        reader->broken = true;
    else
        program->remembered[program->depth++] = program->row;
}

static void recall(program_t *program, reader_t *reader)
{
    if (program->depth == 0)
        reader->broken = true;
    else
        program->row = program->remembered[--program->depth];
}

// Those that stand in a byte of their own.
static void long_instruction(program_t *program, reader_t *reader, uint8_t operation)
{
    uint64_t number;
    switch (operation) {
    case 0x00: // nop
        break;
    case 0x02: // advance_loc1
    case 0x03: // advance_loc2
    case 0x04: // advance_loc4
        program->location += fixed_take(reader, 1u << (operation - 2)) * program->code_unit;
        break;
    case 0x05: // offset_extended
        number = unsigned_take(reader);
        register_set(program, number, SAVED_AT, (int64_t)unsigned_take(reader) * program->data_unit);
        break;
    case 0x06: // restore_extended
        register_restore(program, unsigned_take(reader));
        break;
    case 0x07: // undefined
        register_set(program, unsigned_take(reader), SAVED_UNDEFINED, 0);
        break;
    case 0x08: // same_value
        register_set(program, unsigned_take(reader), SAVED_NOT, 0);
        break;
    case 0x0a: // remember_state
        remember(program, reader);
        break;
    case 0x0b: // restore_state
        recall(program, reader);
        break;
    case 0x0c: // def_cfa
        number = unsigned_take(reader);
        cfa_set(program, number, (int64_t)unsigned_take(reader));
        break;
    case 0x0d: // def_cfa_register
        cfa_set(program, unsigned_take(reader), program->row.cfa_offset);
        break;
    case 0x0e: // def_cfa_offset
        program->row.cfa_offset = (int64_t)unsigned_take(reader);
        break;
    case 0x0f: // def_cfa_expression
        block_skip(reader);
        program->row.by_expression = true;
        break;
    case 0x10: // expression
    case 0x16: // val_expression
        register_set(program, unsigned_take(reader), SAVED_HARD, 0);
        block_skip(reader);
        break;
    case 0x11: // offset_extended_sf
        number = unsigned_take(reader);
        register_set(program, number, SAVED_AT, signed_take(reader) * program->data_unit);
        break;
    case 0x2e: // GNU_args_size
        unsigned_take(reader);
        break;
    default:
        reader->broken = true;
    }
}

static void instruction(program_t *program, reader_t *reader)
{
    uint8_t byte = (uint8_t)fixed_take(reader, 1), operand = byte & 0x3f;
    switch (byte >> 6) {
    case 1: // advance_loc
        program->location += operand * program->code_unit;
        break;
    case 2: // offset
        register_set(program, operand, SAVED_AT, (int64_t)unsigned_take(reader) * program->data_unit);
        break;
    case 3: // restore
        register_restore(program, operand);
        break;
    default:
        long_instruction(program, reader, byte);
    }
}

static void program_run(program_t *program, reader_t *reader)
{
    while (reader->at < reader->end && !reader->broken && program->location <= program->target)
        instruction(program, reader);
}

// --- entries ---------------------------------------------------------------------------------------------------------

// A reader of what follows an entry's length.
static reader_t entry_reader(const uint8_t *entry)
{
    uint32_t bytes;
    memcpy(&bytes, entry, sizeof bytes);
    reader_t reader = {entry + sizeof bytes, entry + sizeof bytes + bytes, bytes == UINT32_MAX};
    return reader;
}

// What the letters of the common entry announce. False: not understood, or the frame of a signal.
static bool augmentation_read(reader_t *reader, const char *letters, uint8_t *encoding)
{
    if (*letters++ != 'z')
        return false;
    uint64_t bytes = unsigned_take(reader);
    const uint8_t *start = bytes_take(reader, bytes);
    reader_t data = {start, start + bytes, reader->broken};
    for (; *letters != '\0' && !data.broken; letters++) {
        if (*letters == 'R') {
            *encoding = (uint8_t)fixed_take(&data, 1);
        } else if (*letters == 'L') {
            fixed_take(&data, 1);
        } else if (*letters == 'P') {
            unsigned pointer = pointer_bytes((uint8_t)fixed_take(&data, 1));
            bytes_take(&data, pointer);
            data.broken |= pointer == 0;
        } else {
            return false;
        }
    }
    return !data.broken;
}

// The part that many functions share. False: not understood.
static bool common_run(program_t *program, const uint8_t *entry, uint8_t *encoding)
{
    reader_t reader = entry_reader(entry);
    fixed_take(&reader, 4); // 0: it is a common entry
    uint8_t version = (uint8_t)fixed_take(&reader, 1);
    const char *letters = (const char *)reader.at;
    while (fixed_take(&reader, 1) != 0)
        ;
    program->code_unit = unsigned_take(&reader);
    program->data_unit = signed_take(&reader);
    uint64_t back = version == 1 ? fixed_take(&reader, 1) : unsigned_take(&reader);
    if (reader.broken || (version != 1 && version != 3) || back != REGISTER_RETURN ||
        !augmentation_read(&reader, letters, encoding))
        return false;
    program_run(program, &reader);
    program->initial = program->row;
    return !reader.broken;
}

// The common entry is so many bytes before the field that says so.
static const uint8_t *common_of(const uint8_t *entry)
{
    uint32_t back_bytes;
    memcpy(&back_bytes, entry + sizeof(uint32_t), sizeof back_bytes);
    return entry + sizeof(uint32_t) - back_bytes;
}

static bool entry_run(program_t *program, const uint8_t *entry)
{
    uint8_t encoding = 0;
    reader_t reader = entry_reader(entry);
    if (reader.broken || !common_run(program, common_of(entry), &encoding) || pointer_bytes(encoding) == 0)
        return false;
    fixed_take(&reader, 4);
    bytes_take(&reader, pointer_bytes(encoding)); // where the function begins
    if (program->target - program->location >= fixed_take(&reader, pointer_bytes(encoding))) // behind its end
        return false;
    block_skip(&reader); // the augmentation's
    program_run(program, &reader);
    return !reader.broken;
}

static stack_rule_t rule_make(const row_t *row)
{
    bool base_is_bp = row->base == REGISTER_BP, saves_bp = row->bp.how == SAVED_AT;
    if (row->back.how == SAVED_UNDEFINED)
        return (stack_rule_t){RULE_END};
    if ((!base_is_bp && row->base != REGISTER_SP) || row->by_expression || row->moves_sp ||
        row->back.how != SAVED_AT || row->back.offset != -8 || row->bp.how == SAVED_HARD)
        return hard;
    if (row->cfa_offset < 8 || row->cfa_offset > INT32_MAX || row->cfa_offset % 8 != 0 ||
        row->bp.offset != (int32_t)row->bp.offset)
        return hard;
    return (stack_rule_t){RULE_STEP | (uint64_t)base_is_bp << 2 | (uint64_t)saves_bp << 3 |
                          (uint64_t)row->cfa_offset >> 3 << 4 | (uint64_t)(uint32_t)row->bp.offset << 32};
}

// --- the index -------------------------------------------------------------------------------------------------------

// Which entry is of an address, and where its function begins. NULL: none, or it is not known.
typedef struct found {
    const uint8_t *entry;
    uintptr_t function;
} found_t;

static found_t found_by_unwinder(uintptr_t address)
{
    bases_t bases;
    const void *entry = _Unwind_Find_FDE((void *)address, &bases);
    return (found_t){entry, entry != NULL ? (uintptr_t)bases.function : 0};
}

static bool is_usual(const index_t *index)
{
    const uint8_t signed_4 = 0x0b, unsigned_4 = 0x03, by_place = 0x10, by_index = 0x30;
    return index->version == 1 && index->tables_encoding == (signed_4 | by_place) &&
           index->count_encoding == unsigned_4 && index->functions_encoding == (signed_4 | by_index);
}

// The last one that begins at the address or before. Whether it reaches so far is said by its entry.
static found_t found_in(const index_t *index, uintptr_t address)
{
    uintptr_t base = (uintptr_t)index;
    uint32_t low = 0, high = index->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        stack_tables_note((uintptr_t)&index->functions[middle]);
        if (address < base + (uintptr_t)index->functions[middle].function)
            high = middle;
        else
            low = middle;
    }
    if (high == 0 || address < base + (uintptr_t)index->functions[low].function)
        return (found_t){NULL, 0};
    return (found_t){(const uint8_t *)(base + (uintptr_t)index->functions[low].entry),
                     base + (uintptr_t)index->functions[low].function};
}

static found_t found_of(uintptr_t address, uintptr_t tables)
{
    const index_t *index = (const index_t *)tables;
    if (tables == 0 || !is_usual(index))
        return found_by_unwinder(address);
    stack_tables_note(tables);
    found_t found = found_in(index, address);
    if (found.entry != NULL) {
        stack_tables_note((uintptr_t)found.entry);
        stack_tables_note((uintptr_t)common_of(found.entry));
    }
    return found;
}

stack_rule_t stack_rule_of(uintptr_t return_address, uintptr_t tables)
{
    uintptr_t call = return_address - 1; // the row of the call, which may be its function's last instruction
    found_t found = found_of(call, tables);
    program_t program = {.location = found.function, .target = call};
    return found.entry != NULL && entry_run(&program, found.entry) ? rule_make(&program.row) : hard;
}

#else // not asked for: STACK_RULES

stack_rule_t stack_rule_of(uintptr_t return_address, uintptr_t tables)
{
    (void)return_address, (void)tables;
    return hard;
}

#endif
