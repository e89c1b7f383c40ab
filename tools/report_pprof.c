// tools/report_pprof.c - see report_pprof.h; the format is in pprof.proto.
//
// Sample types are Go's four, so that tools for Go's heap profiles know them, and tarn's three. A call stack is a
// sample, an address a location, and the functions inlined there are its lines.
#include "report_pprof.h"

#include "lookup.h"
#include "memory.h"
#include "output_file.h"
#include "pprof.pb-c.h"
#include "strings.h"
#include "tool.h"
#include "verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { VALUES = 7 };

static const struct {
    const char *name, *unit;
} sample_types[VALUES] = {
    {"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"}, {"inuse_space", "bytes"},
    {"requested", "bytes"},     {"rounding", "bytes"},    {"pinned", "bytes"},
};

// Which of them a tool shows first: as for Go's heap profiles.
#define DEFAULT_TYPE "inuse_space"

typedef struct encoder {
    const profile_t *profile;
    profile_moment_t moment;
    Tarn__Pprof__Profile out;
    const char **texts; // the string table; kept texts, so that equal ones have equal addresses
    uint32_t text_count;
    lookup_t by_text;
    struct function_key { const char *name, *file; } *functions;
    uint32_t function_count;
    lookup_t by_function;
    uint32_t program; // its module; 0 if no stack ran through it
    uint64_t unattributed_location;
} encoder_t;

// --- tables ----------------------------------------------------------------------------------------------------------

static bool text_is(const void *context, uint32_t element)
{
    const encoder_t *encoder = context;
    return encoder->texts[element] == encoder->texts[encoder->text_count];
}

static int64_t text_index(encoder_t *encoder, const char *text)
{
    const char *kept = strings_keep(text != NULL ? text : "");
    encoder->texts = memory_push(encoder->texts, encoder->text_count, sizeof(char *));
    encoder->texts[encoder->text_count] = kept;
    uint32_t found = lookup_find_or_add(&encoder->by_text, lookup_hash(&kept, sizeof kept), encoder->text_count,
                                        text_is, encoder);
    encoder->text_count += found == encoder->text_count;
    return found;
}

static bool function_is(const void *context, uint32_t element)
{
    const encoder_t *encoder = context;
    return memcmp(&encoder->functions[element], &encoder->functions[encoder->function_count],
                  sizeof *encoder->functions) == 0;
}

static void function_add(encoder_t *encoder, const struct function_key *key)
{
    Tarn__Pprof__Function *function = memory_get(1, sizeof *function);
    tarn__pprof__function__init(function);
    function->id = encoder->function_count + 1;
    function->name = function->system_name = text_index(encoder, key->name);
    function->filename = text_index(encoder, key->file);
    encoder->out.function = memory_push(encoder->out.function, encoder->function_count, sizeof function);
    encoder->out.function[encoder->function_count++] = function;
    encoder->out.n_function = encoder->function_count;
}

static uint64_t function_id(encoder_t *encoder, const char *name, const char *file)
{
    struct function_key key = {name, file};
    encoder->functions = memory_push(encoder->functions, encoder->function_count, sizeof key);
    encoder->functions[encoder->function_count] = key;
    uint32_t found = lookup_find_or_add(&encoder->by_function, lookup_hash(&key, sizeof key), encoder->function_count,
                                        function_is, encoder);
    if (found == encoder->function_count)
        function_add(encoder, &key);
    return found + 1;
}

// --- mappings and locations ------------------------------------------------------------------------------------------

// pprof takes the first mapping for the program; Parca refuses a file whose ids are not 1, 2, and so on, in this order.
static uint64_t mapping_id(const encoder_t *encoder, uint32_t module)
{
    return module == encoder->program ? 1 : module + 1 + (module < encoder->program);
}

static uint32_t program_find(const profile_t *profile)
{
    for (uint32_t i = 0; i < profile->module_count; i++)
        if (profile->modules[i].path == profile->executable) // kept texts
            return i;
    return 0;
}

static Tarn__Pprof__Mapping *mapping_of(encoder_t *encoder, uint32_t index)
{
    const profile_module_t *module = &encoder->profile->modules[index];
    Tarn__Pprof__Mapping *mapping = memory_get(1, sizeof *mapping);
    char hex[2 * sizeof module->build_id + 1] = "";
    for (uint32_t i = 0; i < module->build_id_bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", module->build_id[i]);
    tarn__pprof__mapping__init(mapping);
    mapping->id = mapping_id(encoder, index);
    mapping->memory_start = module->start;
    mapping->memory_limit = module->end;
    mapping->filename = text_index(encoder, module->path);
    mapping->build_id = text_index(encoder, hex);
    // Names are already there: pprof is not to look for them on the machine where it runs.
    mapping->has_functions = 1;
    mapping->has_filenames = mapping->has_line_numbers = mapping->has_inline_frames = module->source == SYMBOLS_DEBUG;
    return mapping;
}

static void mappings_encode(encoder_t *encoder)
{
    encoder->program = program_find(encoder->profile);
    encoder->out.n_mapping = encoder->profile->module_count;
    encoder->out.mapping = memory_get(encoder->out.n_mapping, sizeof(Tarn__Pprof__Mapping *));
    for (uint32_t i = 0; i < encoder->profile->module_count; i++) {
        Tarn__Pprof__Mapping *mapping = mapping_of(encoder, i);
        encoder->out.mapping[mapping->id - 1] = mapping;
    }
}

static Tarn__Pprof__Line *line_of(encoder_t *encoder, const char *function, const char *file, unsigned number)
{
    Tarn__Pprof__Line *line = memory_get(1, sizeof *line);
    tarn__pprof__line__init(line);
    line->function_id = function_id(encoder, function, file);
    line->line = number;
    return line;
}

static Tarn__Pprof__Location *location_new(uint64_t id, size_t lines)
{
    Tarn__Pprof__Location *location = memory_get(1, sizeof *location);
    tarn__pprof__location__init(location);
    location->id = id;
    location->n_line = lines;
    location->line = memory_get(lines, sizeof(Tarn__Pprof__Line *));
    return location;
}

static Tarn__Pprof__Location *location_of(encoder_t *encoder, uint32_t index)
{
    const profile_location_t *from = &encoder->profile->locations[index];
    Tarn__Pprof__Location *location = location_new(index + 1, from->frame_count);
    location->mapping_id = from->module < 0 ? 0 : mapping_id(encoder, (uint32_t)from->module);
    location->address = from->address;
    for (uint32_t i = 0; i < from->frame_count; i++) {
        const profile_frame_t *frame = &encoder->profile->frames[from->frame_first + i];
        location->line[i] = line_of(encoder, frame->function, frame->file, frame->line);
    }
    return location;
}

static void locations_encode(encoder_t *encoder)
{
    uint32_t count = encoder->profile->location_count;
    encoder->out.n_location = count + 1;
    encoder->out.location = memory_get(count + 1, sizeof(Tarn__Pprof__Location *));
    for (uint32_t i = 0; i < count; i++)
        encoder->out.location[i] = location_of(encoder, i);
    Tarn__Pprof__Location *nobody = location_new(count + 1, 1);
    nobody->line[0] = line_of(encoder, "[unattributed]", NULL, 0);
    encoder->out.location[count] = nobody;
    encoder->unattributed_location = nobody->id;
}

// --- samples ---------------------------------------------------------------------------------------------------------

// False: all of them are 0.
static bool values_of(const profile_stack_t *stack, profile_moment_t moment, int64_t values[VALUES])
{
    const uint64_t *then = stack->metrics[moment];
    const uint64_t all[VALUES] = {
        stack->allocated_blocks,
        stack->allocated_bytes,
        then[METRIC_LIVE_BLOCKS],
        then[METRIC_LIVE_BYTES],
        then[METRIC_REQUESTED],
        then[METRIC_ROUNDING],
        stack->metrics[profile_knows(moment, METRIC_PINNED) ? moment : MOMENT_WORST][METRIC_PINNED],
    };
    bool any = false;
    for (int i = 0; i < VALUES; i++) {
        values[i] = (int64_t)all[i];
        any |= all[i] != 0;
    }
    return any;
}

static Tarn__Pprof__Sample *sample_of(const encoder_t *encoder, const profile_stack_t *stack,
                                      const int64_t values[VALUES])
{
    Tarn__Pprof__Sample *sample = memory_get(1, sizeof *sample);
    tarn__pprof__sample__init(sample);
    sample->n_value = VALUES;
    sample->value = memory_get(VALUES, sizeof(int64_t));
    memcpy(sample->value, values, VALUES * sizeof *values);
    sample->n_location_id = stack->location_count != 0 ? stack->location_count : 1;
    sample->location_id = memory_get(sample->n_location_id, sizeof(uint64_t));
    sample->location_id[0] = encoder->unattributed_location;
    for (uint32_t i = 0; i < stack->location_count; i++)
        sample->location_id[i] = stack->locations[i] + 1;
    return sample;
}

static void samples_encode(encoder_t *encoder)
{
    const profile_t *profile = encoder->profile;
    int64_t values[VALUES];
    encoder->out.sample = memory_get(profile->stack_count, sizeof(Tarn__Pprof__Sample *));
    for (uint32_t i = 0; i < profile->stack_count; i++)
        if (values_of(&profile->stacks[i], encoder->moment, values))
            encoder->out.sample[encoder->out.n_sample++] = sample_of(encoder, &profile->stacks[i], values);
}

static Tarn__Pprof__ValueType *value_type(encoder_t *encoder, const char *name, const char *unit)
{
    Tarn__Pprof__ValueType *type = memory_get(1, sizeof *type);
    tarn__pprof__value_type__init(type);
    type->type = text_index(encoder, name);
    type->unit = text_index(encoder, unit);
    return type;
}

static void head_encode(encoder_t *encoder)
{
    Tarn__Pprof__Profile *out = &encoder->out;
    const profile_t *profile = encoder->profile;
    out->n_sample_type = VALUES;
    out->sample_type = memory_get(VALUES, sizeof(Tarn__Pprof__ValueType *));
    for (int i = 0; i < VALUES; i++)
        out->sample_type[i] = value_type(encoder, sample_types[i].name, sample_types[i].unit);
    out->period_type = value_type(encoder, "space", "bytes");
    out->period = (int64_t)profile->sample_bytes;
    out->default_sample_type = text_index(encoder, DEFAULT_TYPE);
    out->time_nanos = (int64_t)((profile->started_unix_ms + profile_snapshot(profile, encoder->moment)->time_ms) * 1000000);
    // No duration: this is a state, as Go's heap profiles are. Parca takes a profile with one for what happened in that
    // time, and shows rates.
    out->n_comment = 2;
    out->comment = memory_get(out->n_comment, sizeof(int64_t));
    out->comment[0] = text_index(encoder, profile->program);
    out->comment[1] = text_index(encoder, verdict_of(profile).text);
}

// --- the file --------------------------------------------------------------------------------------------------------

// gzip, as pprof files are. NULL: zlib failed.
static uint8_t *compressed(const uint8_t *bytes, size_t length, size_t *compressed_length)
{
    enum { WINDOW_GZIP = MAX_WBITS + 16, MEMORY_LEVEL = 8 };
    z_stream stream = {.next_in = (Bytef *)bytes, .avail_in = (uInt)length};
    if (length > UINT32_MAX ||
        deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    uLong room = deflateBound(&stream, length);
    uint8_t *out = memory_get(room, 1);
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    int status = deflate(&stream, Z_FINISH);
    *compressed_length = room - stream.avail_out;
    deflateEnd(&stream);
    if (status == Z_STREAM_END)
        return out;
    free(out);
    return NULL;
}

int report_pprof_write(const char *who, const char *path, const profile_t *profile, profile_moment_t moment)
{
    encoder_t encoder = {.profile = profile, .moment = moment};
    size_t compressed_length;
    tarn__pprof__profile__init(&encoder.out);
    text_index(&encoder, ""); // number 0 must be the empty one
    head_encode(&encoder);
    mappings_encode(&encoder);
    locations_encode(&encoder);
    samples_encode(&encoder);
    encoder.out.n_string_table = encoder.text_count;
    encoder.out.string_table = (char **)encoder.texts;
    size_t length = tarn__pprof__profile__get_packed_size(&encoder.out);
    uint8_t *bytes = memory_get(length, 1);
    tarn__pprof__profile__pack(&encoder.out, bytes);
    uint8_t *file = compressed(bytes, length, &compressed_length);
    free(bytes);
    if (file == NULL) {
        tool_error(who, "cannot compress %s", path);
        return TOOL_FAILED;
    }
    int status = output_file_write(who, path, file, compressed_length);
    free(file);
    return status; // the tables live until the command ends
}
