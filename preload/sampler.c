// preload/sampler.c - what the pool samples (pool/sample.h), with the call stack that asked for it.
//
// Nothing of ours is held while the stack is taken (stack.h).
#include <string.h>

#include "../pool/sample.h"
#include "kernel.h"
#include "recorder.h"
#include "recorder_file.h"
#include "recorder_modules.h"
#include "recorder_sites.h"
#include "stack.h"
#include "stack_quick.h"

#define EVENT_NS_MOST 20000u // a stack that is new takes 10 us, most others 1: more was not ours, the thread did not run

// --- modules ---------------------------------------------------------------------------------------------------------

typedef struct modules {
    stack_modules_t of_stack;
    uint8_t of_frame[STACK_DEPTH_MAX]; // index in of_stack; MODULES_A_STACK: none
} modules_t;

static void modules_find(modules_t *modules, const stack_walk_t *walk)
{
    for (uint32_t i = 0; i < walk->depth; i++)
        modules->of_frame[i] = (uint8_t)stack_module(&modules->of_stack, walk->address[i] - 1);
}

// [recorder_lock]
static void frames_make(call_stack_t *stack, const stack_walk_t *walk, const modules_t *modules, uint64_t now_ns)
{
    uint64_t number[MODULES_A_STACK + 1];
    for (uint32_t i = 0; i < modules->of_stack.count; i++)
        number[i] = recorder_module(&modules->of_stack.seen[i], now_ns);
    number[MODULES_A_STACK] = 0;
    stack->depth = walk->depth;
    stack->cut = walk->cut;
    for (uint32_t i = 0; i < walk->depth; i++)
        stack->frame[i] = number[modules->of_frame[i]] << RECORDING_FRAME_ADDRESS_BITS |
                          RECORDING_FRAME_ADDRESS((uint64_t)walk->address[i]);
}

// --- threads ---------------------------------------------------------------------------------------------------------

// The calling thread, as of a few samples ago: names seldom change.
typedef struct thread_known {
    char name[16];
    uint32_t tid;     // 0: not known yet
    uint32_t births;  // since the name was asked for
    uint32_t pid;     // of the process it was known in
    uint32_t index;   // in that one's recording; 0: not looked up
} thread_known_t;

#define BIRTHS_A_NAME 16u

static __thread thread_known_t self __attribute__((tls_model("initial-exec")));

static void self_look(void)
{
    char name[16] = "";
    bool another = self.pid != recorder_header->pid;
    if (!another && ++self.births < BIRTHS_A_NAME)
        return;
    kernel_thread_name(name);
    if (another || memcmp(name, self.name, sizeof name) != 0)
        self.index = 0;
    if (another)
        self.tid = (uint32_t)kernel_gettid();
    memcpy(self.name, name, sizeof name);
    self.pid = recorder_header->pid;
    self.births = 0;
}

static recording_thread_t *thread_at(uint64_t index)
{
    return recorder_record(RECORDING_THREADS, index);
}

static uint32_t thread_add(void)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_THREADS];
    uint64_t count = table->count;
    for (uint64_t i = 1; i < count; i++)
        if (memcmp(thread_at(i)->name, self.name, sizeof self.name) == 0)
            return (uint32_t)i;
    if (!recorder_reserve(RECORDING_THREADS, count + 1)) {
        recorder_header->flags |= RECORDING_FULL_TEXT;
        return 0;
    }
    recording_thread_t *thread = thread_at(count);
    *thread = (recording_thread_t){.first_tid = self.tid};
    memcpy(thread->name, self.name, sizeof self.name);
    __atomic_store_n(&table->count, count + 1, __ATOMIC_RELEASE);
    return (uint32_t)count;
}

// [recorder_lock] The record of the thread's name; 0 if there is no room.
static uint32_t thread_of_self(void)
{
    if (self.index == 0)
        self.index = thread_add();
    thread_at(self.index)->samples++;
    return self.index;
}

// --- the pool's hooks ------------------------------------------------------------------------------------------------

// [recorder_lock]
static uint32_t birth_write(const sample_t *sample, const stack_walk_t *walk, const modules_t *modules, uint64_t now_ns)
{
    call_stack_t stack;
    frames_make(&stack, walk, modules, now_ns);
    birth_t birth = {.now_ns = now_ns, .tid = self.tid, .thread = thread_of_self()};
    return recorder_sample_birth(sample, &stack, &birth);
}

static uint32_t birth_locked(const sample_t *sample, const stack_walk_t *walk, const modules_t *modules, uint64_t now_ns)
{
    uint32_t number = 0;
    if (!recorder_lock_take())
        return 0;
    if (recorder_sites_begin())
        number = birth_write(sample, walk, modules, now_ns);
    else
        recorder_header->sampled_dropped++;
    recorder_pace();
    recorder_lock_give();
    return number;
}

static uint32_t birth_take(const sample_t *sample, uint64_t now_ns)
{
    uintptr_t frames[STACK_DEPTH_MAX];
    stack_walk_t walk = {.address = frames, .most = STACK_DEPTH_MAX};
    modules_t modules;
    modules.of_stack.count = 0;
    if (!stack_walk_quick(&walk, &modules.of_stack))
        stack_walk(&walk);
    modules_find(&modules, &walk);
    self_look();
    return birth_locked(sample, &walk, &modules, now_ns);
}

// The event is over: what it took, and whether it is time for a snapshot.
static void event_end(const recorder_section_t *section)
{
    uint64_t now_ns = recorder_now_ns(), spent_ns = now_ns - section->begun_ns;
    recorder_header->last_ns = now_ns;
    __atomic_fetch_add(&recorder_header->samples_ns, spent_ns < EVENT_NS_MOST ? spent_ns : EVENT_NS_MOST,
                       __ATOMIC_RELAXED);
    recorder_event(now_ns);
    recorder_leave(section);
}

uint32_t sample_hook_birth(const sample_t *sample)
{
    recorder_section_t section;
    if (!recorder_enter(&section))
        return 0;
    uint32_t number = birth_take(sample, section.begun_ns);
    event_end(&section);
    return number;
}

void sample_hook_death(uint32_t number, const void *block)
{
    recorder_section_t section;
    if (!recorder_enter(&section))
        return;
    if (recorder_lock_take()) {
        recorder_sample_death(number, block, section.begun_ns);
        recorder_lock_give();
    }
    event_end(&section);
}

void sample_hook_resize(uint32_t number, const void *old_block, const sample_t *sample)
{
    recorder_section_t section;
    if (!recorder_enter(&section))
        return;
    if (recorder_lock_take()) {
        recorder_sample_resize(number, old_block, sample, section.begun_ns);
        recorder_lock_give();
    }
    event_end(&section);
}
