// tools/profile_stacks.c - the call stacks of a recording, and its samples.
//
// A site of the recording is a stack in one size class; stacks with the same frames are one here.
#include "profile_build.h"

#include "amount.h"
#include "lookup.h"
#include "memory.h"
#include "shares.h"
#include "strings.h"

#include <stdlib.h>
#include <string.h>


typedef struct build {
    profile_t *profile;
    const recording_t *recording;
    lookup_t locations, stacks;
    uint64_t *location_words; // the frame of each location, as recorded
    uint32_t site_count;
    uint32_t *stack_of;       // of each site
    uint32_t unattributed;    // the stack of what has none
} build_t;

static const recording_site_t *site_at(const build_t *build, uint32_t site)
{
    return recording_row(build->recording, RECORDING_SITES, site);
}

static uint64_t minus(uint64_t left, uint64_t right)
{
    return left > right ? left - right : 0;
}

// --- locations and stacks --------------------------------------------------------------------------------------------

// A program goes by the name that it was called by: on Debian redis-server is a link to redis-check-rdb.
static const char *module_name(const profile_t *profile, const char *path)
{
    if (path == profile->executable && *path != '\0' && *profile->program != '\0') // texts are kept once
        return profile->program;
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : *path != '\0' ? path : "[no file]";
}

// The loader knows a library by the name that it was opened by, which may count from the directory of then: most likely that
// of the start. Only where a build-id will tell whether the file there is the right one.
static const char *module_path(const build_t *build, const recording_module_t *module)
{
    const char *path = recording_text(build->recording, module->path);
    const char *directory = recording_text(build->recording, build->recording->header.directory);
    if (*path == '/' || strchr(path, '/') == NULL || *directory != '/' || module->build_id_bytes == 0)
        return path;
    char *whole = memory_format("%s/%s", directory, strncmp(path, "./", 2) == 0 ? path + 2 : path);
    const char *kept = strings_keep(whole);
    free(whole);
    return kept;
}

static void modules_read(build_t *build)
{
    profile_t *profile = build->profile;
    uint64_t count = recording_count(build->recording, RECORDING_MODULES);
    profile->module_count = count == 0 ? 0 : (uint32_t)count - 1; // record 0 is "none known"
    profile->modules = memory_get(profile->module_count, sizeof *profile->modules);
    for (uint32_t i = 0; i < profile->module_count; i++) {
        const recording_module_t *from = recording_row(build->recording, RECORDING_MODULES, i + 1u);
        profile_module_t *to = &profile->modules[i];
        uint32_t id_bytes = from->build_id_bytes < sizeof from->build_id ? from->build_id_bytes : sizeof from->build_id;
        to->path = module_path(build, from);
        if (*to->path == '\0' && i == 0) // the loader gives the program itself no name
            to->path = profile->executable;
        to->name = module_name(profile, to->path);
        to->start = from->start;
        to->end = from->end;
        to->bias = from->bias;
        to->build_id_bytes = id_bytes;
        memcpy(to->build_id, from->build_id, id_bytes);
    }
}

static bool location_is(const void *context, uint32_t element)
{
    const build_t *build = context;
    return build->location_words[element] == build->location_words[build->profile->location_count];
}

static uint32_t location_of(build_t *build, uint64_t frame)
{
    profile_t *profile = build->profile;
    uint32_t next = profile->location_count;
    build->location_words = memory_push(build->location_words, next, sizeof(uint64_t));
    build->location_words[next] = frame;
    uint32_t found = lookup_find_or_add(&build->locations, lookup_hash(&frame, sizeof frame), next, location_is, build);
    if (found != next)
        return found;
    uint32_t module = RECORDING_FRAME_MODULE(frame);
    profile->locations = memory_push(profile->locations, next, sizeof *profile->locations);
    profile_location_t *location = &profile->locations[next];
    *location = (profile_location_t){.module = module == 0 || module > profile->module_count ? -1 : (int)module - 1};
    location->address = RECORDING_FRAME_ADDRESS(frame) - 1; // in the call, not behind it
    location->offset = location->address - (location->module < 0 ? 0 : profile->modules[location->module].bias);
    profile->location_count++;
    return next;
}

static bool is_our_own(const build_t *build, uint64_t frame)
{
    uint32_t module = RECORDING_FRAME_MODULE(frame);
    return module != 0 && module <= build->profile->module_count &&
           strncmp(build->profile->modules[module - 1].name, "libtarn.so", strlen("libtarn.so")) == 0;
}

static bool stack_is(const void *context, uint32_t element)
{
    const profile_t *profile = context;
    const profile_stack_t *next = &profile->stacks[profile->stack_count], *each = &profile->stacks[element];
    return each->location_count == next->location_count &&
           memcmp(each->locations, next->locations, next->location_count * sizeof(uint32_t)) == 0;
}

// The stack with these frames; it is entered when it is new.
static uint32_t stack_of(build_t *build, const uint64_t *frames, uint32_t count)
{
    profile_t *profile = build->profile;
    while (count > 0 && is_our_own(build, *frames)) {
        frames++;
        count--;
    }
    profile->stacks = memory_push(profile->stacks, profile->stack_count, sizeof *profile->stacks);
    profile_stack_t *stack = &profile->stacks[profile->stack_count];
    *stack = (profile_stack_t){.thread = -1, .location_count = count};
    stack->locations = memory_get(count, sizeof(uint32_t));
    for (uint32_t i = 0; i < count; i++)
        stack->locations[i] = location_of(build, frames[i]);
    uint64_t hash = lookup_hash(stack->locations, count * sizeof(uint32_t));
    uint32_t found = lookup_find_or_add(&build->stacks, hash, profile->stack_count, stack_is, profile);
    if (found == profile->stack_count)
        profile->stack_count++;
    else
        free(stack->locations);
    return found;
}

static void stacks_read(build_t *build)
{
    profile_t *profile = build->profile;
    build->site_count = (uint32_t)recording_count(build->recording, RECORDING_SITES);
    build->stack_of = memory_get(build->site_count, sizeof(uint32_t));
    for (uint32_t i = 0; i < build->site_count; i++) {
        uint32_t count;
        const uint64_t *frames = recording_frames(build->recording, site_at(build, i), &count);
        build->stack_of[i] = count == 0 ? LOOKUP_NONE : stack_of(build, frames, count);
        if (count != 0 && (site_at(build, i)->flags & RECORDING_SITE_CUT))
            profile->stacks[build->stack_of[i]].cut = true;
    }
    build->unattributed = profile->stack_count;
    profile->stacks = memory_push(profile->stacks, profile->stack_count, sizeof *profile->stacks);
    profile->stacks[profile->stack_count++] = (profile_stack_t){.thread = -1, .locations = memory_get(0, 1)};
    for (uint32_t i = 0; i < build->site_count; i++)
        if (build->stack_of[i] == LOOKUP_NONE)
            build->stack_of[i] = build->unattributed;
}

// --- samples ---------------------------------------------------------------------------------------------------------

static profile_generation_t generation_of(const recording_header_t *header, uint64_t age_bytes)
{
    return age_bytes < header->young_bytes ? GENERATION_YOUNG
           : age_bytes > header->old_bytes ? GENERATION_OLD : GENERATION_MIDDLE;
}

static void sample_read(build_t *build, const recording_sample_t *from)
{
    profile_t *profile = build->profile;
    uint64_t age_bytes = minus(build->recording->header.clock_bytes, from->birth_clock_bytes);
    profile->samples = memory_push(profile->samples, profile->sample_count, sizeof *profile->samples);
    profile_sample_t *to = &profile->samples[profile->sample_count++];
    *to = (profile_sample_t){
        .stack = from->site < build->site_count ? build->stack_of[from->site] : build->unattributed,
        .thread = from->thread < profile->thread_count ? from->thread : 0,
        .address = from->address,
        .requested_bytes = from->requested_bytes,
        .block_bytes = from->block_bytes,
        .birth_ms = from->birth_ns / 1000000,
        .age_bytes = age_bytes,
        .generation = generation_of(&build->recording->header, age_bytes),
        .weight = (double)from->weight / RECORDING_BLOCK,
    };
    profile->stacks[to->stack].kept[to->generation] += amount_whole(to->weight + 0.5);
}

static int samples_compare(const void *left, const void *right)
{
    const profile_sample_t *first = left, *second = right;
    if (first->stack != second->stack)
        return first->stack < second->stack ? -1 : 1;
    if (first->thread != second->thread)
        return first->thread < second->thread ? -1 : 1;
    return (first->address > second->address) - (first->address < second->address);
}

// The samples stand in order of stack and thread: the longest run of a stack names its thread.
static void threads_find(profile_t *profile)
{
    uint32_t most = 0, stack = LOOKUP_NONE;
    for (uint32_t i = 0, end; i < profile->sample_count; i = end) {
        const profile_sample_t *first = &profile->samples[i];
        for (end = i + 1; end < profile->sample_count && profile->samples[end].stack == first->stack &&
                          profile->samples[end].thread == first->thread;)
            end++;
        most = first->stack == stack ? most : 0;
        stack = first->stack;
        if (end - i > most && first->thread < profile->thread_count) {
            most = end - i;
            profile->stacks[stack].thread = (int)first->thread;
        }
    }
}

static void samples_read(build_t *build)
{
    profile_t *profile = build->profile;
    for (uint64_t i = 0; i < recording_count(build->recording, RECORDING_SAMPLES); i++) {
        const recording_sample_t *sample = recording_row(build->recording, RECORDING_SAMPLES, i);
        if (sample->state == RECORDING_SAMPLE_LIVE && sample->birth_number != 0)
            sample_read(build, sample);
    }
    if (profile->sample_count > 1)
        qsort(profile->samples, profile->sample_count, sizeof *profile->samples, samples_compare);
    threads_find(profile);
}

// --- errors ----------------------------------------------------------------------------------------------------------

// The variance of a sum of n samples of b bytes that each stand for w blocks is n * (w * b)^2 * (1 - 1/w).
static void errors_estimate(build_t *build)
{
    profile_t *profile = build->profile;
    for (uint32_t i = 0; i < build->site_count; i++) {
        const recording_site_t *site = site_at(build, i);
        double samples = (double)site->live_samples, blocks = (double)site->live.blocks / RECORDING_BLOCK;
        if (samples > 0 && blocks > samples)
            profile->stacks[build->stack_of[i]].live_error_bytes +=
                (double)site->live.bytes * (double)site->live.bytes / samples * (1 - samples / blocks);
    }
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        profile_stack_t *stack = &profile->stacks[i];
        stack->live_error_bytes = shares_error((double)stack->metrics[MOMENT_LAST][METRIC_LIVE_BYTES],
                                               stack->live_error_bytes);
    }
}

void profile_build_stacks(profile_t *profile, const recording_t *recording)
{
    build_t build = {.profile = profile, .recording = recording};
    modules_read(&build);
    stacks_read(&build);
    profile_close(profile, recording, build.stack_of);
    samples_read(&build);
    errors_estimate(&build);
    lookup_free(&build.locations);
    lookup_free(&build.stacks);
    free(build.location_words);
    free(build.stack_of);
}
