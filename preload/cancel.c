// preload/cancel.c - threads that can be cancelled at any instruction (PTHREAD_CANCEL_ASYNCHRONOUS), so also in the midst of
// malloc, with a lock held or a list half changed.
//
// For the C library such a thread stays one that is cancelled at cancellation points, of which this library has none. Who
// cancels it sends it the C library's signal for that once more, marked; our handler, put before the C library's, ends the
// thread where it is, or, where the thread must not end, lets a timer send the signal again. So the thread's calls of malloc
// are anybody's. docs/decisions/039.
#include "cancel.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/auxv.h>

#include "../pool/bits.h"
#include "export.h"
#include "glibc.h"
#include "interrupted.h"
#include "kernel.h"
#include "stack.h"

#define SIGNAL_CANCEL 32 // the C library's SIGCANCEL, which no function of it blocks

// --- the C library's own ---------------------------------------------------------------------------------------------

typedef struct next {
    const char *name;
    void *_Atomic function; // NULL: not looked up yet, in calls before the library's own start
} next_t;

static next_t next_set_type = {.name = "pthread_setcanceltype"}, next_set_state = {.name = "pthread_setcancelstate"},
              next_cancel = {.name = "pthread_cancel"};

static void *next_function(next_t *next)
{
    void *function = next->function;
    if (function == NULL)
        next->function = function = dlsym(RTLD_NEXT, next->name);
    return function;
}

static int next_set(next_t *next, int value, int *old)
{
    int (*set)(int, int *);
    *(void **)&set = next_function(next);
    return set(value, old);
}

// --- where a thread must not end -------------------------------------------------------------------------------------

// Where a loaded module has its code.
typedef struct span {
    uintptr_t start, bytes;
} span_t;

static span_t own, c_library, loader, kernel; // kernel: the vDSO; written before anywhere_ever is

static bool span_has(const span_t *span, uintptr_t address)
{
    return address - span->start < span->bytes;
}

static span_t module_code(const struct dl_phdr_info *module)
{
    uintptr_t start = UINTPTR_MAX, end = 0;
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
        uintptr_t first = module->dlpi_addr + segment->p_vaddr;
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_X) == 0)
            continue;
        start = first < start ? first : start;
        end = first + segment->p_memsz > end ? first + segment->p_memsz : end;
    }
    return start < end ? (span_t){start, end - start} : (span_t){0};
}

static int module_see(struct dl_phdr_info *module, size_t size, void *unused)
{
    span_t code = module_code(module);
    (void)size;
    (void)unused;
    if (span_has(&code, (uintptr_t)module_see))
        own = code;
    else if (span_has(&code, (uintptr_t)next_set_type.function))
        c_library = code;
    else if (module->dlpi_addr == getauxval(AT_BASE))
        loader = code;
    else if (module->dlpi_addr == getauxval(AT_SYSINFO_EHDR))
        kernel = code;
    return 0;
}

// Below a call of this library there are few frames: of the C library, and of a handler that interrupted either.
#define FRAMES_SEEN 64

// Whether what the signal interrupted returns into the library sooner or later. Before glibc 2.35 there is no unwinder
// (stack.h), and it is never known: then only the C library's wait below is between such a thread and its end.
static bool returns_here(void)
{
    uintptr_t address[FRAMES_SEEN];
    stack_walk_t walk = {.address = address, .most = FRAMES_SEEN};
    stack_walk(&walk); // without the frames of our handler
    for (uint32_t i = 0; i < walk.depth; i++)
        if (span_has(&own, address[i]))
            return true;
    return false;
}

// --- who can be cancelled anywhere -----------------------------------------------------------------------------------

// Whose thread it is may have ended: an id that is used again is no harm, since the thread looks at its own type.
typedef struct noted {
    _Atomic pid_t tid; // whose entry it is, as long as that one lives; 0: nobody's yet
    _Atomic pthread_t thread;
    _Atomic bool disabled; // by pthread_setcancelstate: not to be interrupted in its system calls
    _Atomic int timer;     // that sends the signal again: the kernel's number + 1; 0: none
} noted_t;

#define NOTED 1024 // More threads at a time are cancelled at cancellation points only.

static RARE_DATA noted_t noted[NOTED]; // used ones first
static __thread noted_t *own_entry;
static _Atomic bool anywhere_ever; // a thread's type is, or was. [atomic] release, acquire

static void entry_timer_delete(noted_t *entry)
{
    if (entry->timer != 0)
        kernel_timer_delete(entry->timer - 1);
    entry->timer = 0;
}

// A new one, or that of a thread that has ended, which may have left its timer. NULL: there is none.
static noted_t *entry_claim(void)
{
    for (noted_t *entry = noted; entry < noted + NOTED; entry++) {
        pid_t tid = entry->tid;
        if ((tid == 0 || !kernel_thread_exists(tid)) &&
            atomic_compare_exchange_strong(&entry->tid, &tid, kernel_gettid())) {
            entry_timer_delete(entry);
            return entry;
        }
    }
    return NULL;
}

int cancel_disable(void)
{
    int state = PTHREAD_CANCEL_ENABLE;
    next_set(&next_set_state, PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void cancel_restore(int state)
{
    next_set(&next_set_state, state, NULL);
}

static bool is_disabled(void)
{
    int state = cancel_disable();
    cancel_restore(state);
    return state == PTHREAD_CANCEL_DISABLE;
}

static void note_self(void)
{
    if (own_entry == NULL || own_entry->tid != kernel_gettid())
        own_entry = entry_claim();
    if (own_entry == NULL)
        return;
    own_entry->disabled = is_disabled();
    own_entry->thread = pthread_self();
}

// --- a cancellation that has to wait ---------------------------------------------------------------------------------

// A thread that does little but allocate large blocks is found outside once in 800 looks.
#define WAIT_US 50u
// Each so many looks the wait is twice as long: under a debugger a look may take longer than one, and the thread gets nowhere.
#define WAIT_LOOKS        500u
#define WAIT_DOUBLED_MOST 10u // 51 ms
// The C library may hold locks, too, and its own functions put an asynchronous cancellation off meanwhile, where they do; a
// thread that waits there for what nobody gives (a mutex) is cancelled after a tenth of a second.
#define C_LIBRARY_WAIT_US 100000u

static __thread bool anywhere;         // the type that the program has set
static __thread unsigned held;         // times that the thread must not end wherever it is
static __thread unsigned looks;        // how often the cancellation that is due has been put off
static __thread unsigned c_library_us; // for so long it was found in the C library

static unsigned wait_us(void)
{
    unsigned doubled = looks / WAIT_LOOKS;
    return WAIT_US << (doubled < WAIT_DOUBLED_MOST ? doubled : WAIT_DOUBLED_MOST);
}

static bool must_wait(const ucontext_t *context)
{
    uintptr_t at = interrupted_instruction(context);
    if (held != 0 || span_has(&own, at) || returns_here()) {
        c_library_us = 0;
        return true;
    }
    if (!span_has(&c_library, at) && !span_has(&loader, at) && !span_has(&kernel, at))
        return false;
    c_library_us += wait_us();
    return c_library_us <= C_LIBRARY_WAIT_US;
}

static bool timer_create_own(void)
{
    int timer;
    if (!kernel_timer_create(CLOCK_MONOTONIC, SIGNAL_CANCEL, NULL, &timer))
        return false;
    own_entry->timer = timer + 1;
    return true;
}

// Where there can be no timer the thread ends at its next cancellation point.
static void wait_once(void)
{
    const struct itimerspec once = {.it_value.tv_nsec = wait_us() * 1000};
    if (own_entry == NULL || (own_entry->timer == 0 && !timer_create_own()))
        return;
    looks++;
    kernel_timer_start(own_entry->timer - 1, &once);
}

static void wait_end(void)
{
    if (own_entry != NULL)
        entry_timer_delete(own_entry);
    looks = c_library_us = 0;
}

// The thread may end in it.
static void act(void)
{
    wait_end();
    pthread_testcancel();
}

static void (*_Atomic next_handler)(int, siginfo_t *, void *);

static void on_signal(int number, siginfo_t *info, void *context)
{
    void (*next)(int, siginfo_t *, void *) = next_handler;
    int error = errno;
    if (!anywhere)
        wait_end();
    if (info->si_code == SI_TKILL || !anywhere)
        next(number, info, context); // the C library's own, or that of another copy of this library
    else if (must_wait(context))
        wait_once();
    else
        act();
    errno = error;
}

// --- who cancels -----------------------------------------------------------------------------------------------------

// The C library has put its handler there by its pthread_cancel. False: it has not. (Two threads that are the first to call
// that may both do it, the later one over ours.) Who has put another one before ours since then passes on to it: if ours came
// before that again, each would call the other.
static bool handler_install(void)
{
    kernel_action_t action;
    if (!kernel_action_get(SIGNAL_CANCEL, &action) || action.handler == 0)
        return false;
    uintptr_t behind = (uintptr_t)next_handler;
    if (action.handler == (uintptr_t)on_signal || (behind != 0 && action.handler != behind))
        return true;
    next_handler = (void (*)(int, siginfo_t *, void *))action.handler;
    action.handler = (uintptr_t)on_signal;
    return kernel_action_set(SIGNAL_CANCEL, &action);
}

static void others_interrupt(pthread_t thread)
{
    for (noted_t *entry = noted; entry < noted + NOTED && entry->tid != 0; entry++)
        if (entry->thread == thread && !entry->disabled && handler_install())
            kernel_thread_signal(entry->tid, SIGNAL_CANCEL);
}

// In a handler that has interrupted the library as little as anywhere else.
static void self_interrupt(void)
{
    if (held == 0 && !returns_here())
        act();
    else if (handler_install())
        kernel_thread_signal(kernel_gettid(), SIGNAL_CANCEL);
}

// --- what the program calls --------------------------------------------------------------------------------------------

// Who was cancelled before others could see that it may be interrupted got no signal.
static void look_again(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    pthread_testcancel();
}

EXPORT RARE int pthread_setcanceltype(int type, int *old)
{
    bool to_anywhere = type == PTHREAD_CANCEL_ASYNCHRONOUS && glibc_is_here();
    int before, error = next_set(&next_set_type, to_anywhere ? PTHREAD_CANCEL_DEFERRED : type, &before);
    if (error != 0)
        return error;
    if (old != NULL)
        *old = anywhere ? PTHREAD_CANCEL_ASYNCHRONOUS : before;
    anywhere = false;
    if (to_anywhere) {
        if (!atomic_load_explicit(&anywhere_ever, memory_order_acquire)) {
            dl_iterate_phdr(module_see, NULL);
            atomic_store_explicit(&anywhere_ever, true, memory_order_release);
        }
        note_self();
        anywhere = true;
        look_again();
    }
    return 0;
}

EXPORT RARE int pthread_setcancelstate(int state, int *old)
{
    int error = next_set(&next_set_state, state, old);
    if (error != 0 || !anywhere)
        return error;
    if (own_entry != NULL)
        own_entry->disabled = state == PTHREAD_CANCEL_DISABLE;
    if (state == PTHREAD_CANCEL_ENABLE)
        look_again();
    return 0;
}

EXPORT RARE int pthread_cancel(pthread_t thread)
{
    int (*cancel)(pthread_t);
    *(void **)&cancel = next_function(&next_cancel);
    int error = cancel(thread);
    atomic_thread_fence(memory_order_seq_cst); // pairs with that of look_again()
    if (error != 0 || !atomic_load_explicit(&anywhere_ever, memory_order_acquire))
        return error;
    if (!pthread_equal(thread, pthread_self()))
        others_interrupt(thread);
    else if (anywhere)
        self_interrupt();
    return 0;
}

// Somebody may hold the loader's lock while it waits for a thread that calls one of these: a library's constructor.
void cancel_start(void)
{
    next_function(&next_set_type);
    next_function(&next_set_state);
    next_function(&next_cancel);
}

void cancel_hold(void)
{
    held++;
}

void cancel_release(void)
{
    held--;
}

void cancel_forked(void)
{
    for (noted_t *entry = noted; anywhere_ever && entry < noted + NOTED && entry->tid != 0; entry++)
        entry->timer = 0; // the parent's
    looks = c_library_us = 0;
    if (anywhere)
        note_self();
}
