// tools/profile_names.c - functions, files and lines for the addresses of a profile, and the frame to blame.
#include "profile_build.h"

#include "blame.h"
#include "lookup.h"
#include "memory.h"
#include "progress.h"
#include "strings.h"

#include <stdlib.h>
#include <string.h>

// --- addresses that were looked up before ----------------------------------------------------------------------------

// `tarn top` reads a profile again and again, `tarn diff` reads two of one program: modules stay open, and what they
// said is remembered.
typedef struct known_address {
    uint64_t offset;
    symbols_frame_t *frames;
    unsigned frame_count;
} known_address_t;

typedef struct known_module {
    profile_module_t identity; // its path and build-id
    symbols_module_t *symbols; // NULL: not opened yet
    known_address_t *addresses;
    uint32_t address_count;
    lookup_t by_offset;
} known_module_t;

static known_module_t *known;
static uint32_t known_count;

static known_module_t *known_find(const profile_module_t *module)
{
    for (uint32_t i = 0; i < known_count; i++)
        if (known[i].identity.path == module->path && known[i].identity.build_id_bytes == module->build_id_bytes &&
            memcmp(known[i].identity.build_id, module->build_id, module->build_id_bytes) == 0)
            return &known[i];
    known = memory_push(known, known_count, sizeof *known);
    known[known_count] = (known_module_t){.identity = *module};
    return &known[known_count++];
}

static bool address_is(const void *context, uint32_t element)
{
    const known_module_t *module = context;
    return module->addresses[element].offset == module->addresses[module->address_count].offset;
}

static const known_address_t *known_look_up(known_module_t *module, uint64_t offset)
{
    symbols_frame_t frames[SYMBOLS_FRAMES_MAX];
    uint32_t next = module->address_count;
    module->addresses = memory_push(module->addresses, next, sizeof *module->addresses);
    known_address_t *address = &module->addresses[next];
    *address = (known_address_t){.offset = offset};
    uint32_t found = lookup_find_or_add(&module->by_offset, lookup_hash(&offset, sizeof offset), next, address_is,
                                        module);
    if (found != next)
        return &module->addresses[found];
    if (module->symbols == NULL)
        module->symbols = symbols_open(module->identity.path, module->identity.build_id,
                                       module->identity.build_id_bytes);
    address->frame_count = symbols_find(module->symbols, offset, frames);
    address->frames = memory_get(address->frame_count, sizeof *frames);
    memcpy(address->frames, frames, address->frame_count * sizeof *frames);
    module->address_count++;
    return address;
}

// --- frames ----------------------------------------------------------------------------------------------------------

static const char *without_folders(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static const char *frame_text(const profile_frame_t *frame)
{
    if (frame->file == NULL)
        return frame->function;
    char *text = frame->line != 0
                     ? memory_format("%s (%s:%u)", frame->function, without_folders(frame->file), frame->line)
                     : memory_format("%s (%s)", frame->function, without_folders(frame->file));
    const char *kept = strings_keep(text);
    free(text);
    return kept;
}

static const char *nameless(const profile_t *profile, const profile_location_t *location)
{
    char *text = location->module < 0
                     ? memory_format("0x%lx", location->address)
                     : memory_format("%s+0x%lx", profile->modules[location->module].name, location->offset);
    const char *kept = strings_keep(text);
    free(text);
    return kept;
}

static void frame_add(profile_t *profile, const profile_location_t *location, const symbols_frame_t *symbol,
                      bool inlined)
{
    profile->frames = memory_push(profile->frames, profile->frame_count, sizeof *profile->frames);
    profile_frame_t *frame = &profile->frames[profile->frame_count++];
    *frame = (profile_frame_t){
        .function = symbol->function != NULL ? symbol->function : nameless(profile, location),
        .file = symbol->file,
        .line = symbol->line,
        .module = location->module,
        .inlined = inlined,
        .unnamed = symbol->function == NULL,
    };
    frame->text = frame_text(frame);
}

static void location_name(profile_t *profile, profile_location_t *location)
{
    static const symbols_frame_t nothing;
    location->frame_first = profile->frame_count;
    if (location->module >= 0) {
        profile_module_t *module = &profile->modules[location->module];
        known_module_t *source = known_find(module);
        const known_address_t *address = known_look_up(source, location->offset);
        for (unsigned i = 0; i < address->frame_count; i++)
            frame_add(profile, location, &address->frames[i], i + 1 < address->frame_count);
        module->source = symbols_source(source->symbols);
        module->used = true;
    }
    if (profile->frame_count == location->frame_first)
        frame_add(profile, location, &nothing, false);
    location->frame_count = profile->frame_count - location->frame_first;
}

// Call sites that are offsets: which modules' debug symbols would name them.
static void warn_of_unnamed(profile_t *profile)
{
    char *names = memory_format("%s", "");
    bool *told = memory_get(profile->module_count + 1, sizeof *told);
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        const profile_frame_t *frame = profile->stacks[i].blamed;
        if (frame == NULL || !frame->unnamed || frame->module < 0 || told[frame->module] ||
            profile->modules[frame->module].source == SYMBOLS_CHANGED)
            continue;
        told[frame->module] = true;
        char *longer = memory_format("%s%s%s", names, *names == '\0' ? "" : ", ", profile->modules[frame->module].name);
        free(names);
        names = longer;
    }
    if (*names != '\0')
        profile_warn(profile, memory_format("call sites in %s have no names: debug symbols would give them (a -dbgsym "
                                            "or -debuginfo package, or DEBUGINFOD_URLS)", names));
    free(told);
    free(names);
}

static void warn_of_modules(profile_t *profile)
{
    for (uint32_t i = 0; i < profile->module_count; i++)
        if (profile->modules[i].source == SYMBOLS_CHANGED)
            profile_warn(profile, memory_format("%s is another build now than the one that ran: no names from it",
                                                profile->modules[i].path));
}

// --- sites -----------------------------------------------------------------------------------------------------------

// Texts are kept: equal ones have equal addresses.
static bool site_is(const void *context, uint32_t element)
{
    const profile_t *profile = context;
    return profile->sites[element].text == profile->sites[profile->site_count].text;
}

static uint32_t site_of(profile_t *profile, lookup_t *by_text, const char *text)
{
    profile->sites = memory_push(profile->sites, profile->site_count, sizeof *profile->sites);
    profile->sites[profile->site_count] = (profile_site_t){.text = text};
    uint32_t found =
        lookup_find_or_add(by_text, lookup_hash(&text, sizeof text), profile->site_count, site_is, profile);
    profile->site_count += found == profile->site_count;
    return found;
}

static void site_add(profile_site_t *site, const profile_stack_t *stack)
{
    for (profile_moment_t moment = 0; moment < PROFILE_MOMENTS; moment++)
        for (profile_metric_t metric = 0; metric < PROFILE_METRICS; metric++)
            site->metrics[moment][metric] += stack->metrics[moment][metric];
    site->allocated_blocks += stack->allocated_blocks;
    site->allocated_bytes += stack->allocated_bytes;
    for (profile_generation_t generation = 0; generation < PROFILE_GENERATIONS; generation++) {
        site->freed[generation] += stack->freed[generation];
        site->kept[generation] += stack->kept[generation];
    }
    site->live_samples += stack->live_samples;
    site->stack_count++;
}

static void sites_find(profile_t *profile)
{
    lookup_t by_text = {0};
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile_stack_t *stack = &profile->stacks[i];
        const profile_frame_t *frame = i + 1 < profile->stack_count ? blame_frame(profile, stack) : NULL;
        stack->blamed = frame;
        stack->site = site_of(profile, &by_text, frame != NULL ? frame->text : strings_keep("[unattributed]"));
        site_add(&profile->sites[stack->site], stack);
    }
    lookup_free(&by_text);
}

void profile_build_names(profile_t *profile)
{
    for (uint32_t i = 0; i < profile->location_count; i++) {
        progress_show("looking up names", i, profile->location_count);
        location_name(profile, &profile->locations[i]);
    }
    progress_end();
    warn_of_modules(profile);
    sites_find(profile);
    warn_of_unnamed(profile);
}
