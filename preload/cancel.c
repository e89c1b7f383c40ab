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
#include <ucontext.h>

#include "../pool/bits.h"
#include "export.h"
#include "glibc.h"
#include "kernel.h"
#include "stack.h"

#define SIGNAL_CANCEL 32 // the C library's SIGCANCEL, which no function of it blocks

// --- the C library's own ---------------------------------------------------------------------------------------------

typedef struct next {
    const char *name;
    void *_Atomic function; // NULL: not looked up yet
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

static span_t c_library, loader; // written before anywhere_ever is

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
    if (span_has(&code, (uintptr_t)next_set_type.function))
        c_library = code;
    else if (module->dlpi_addr == getauxval(AT_BASE))
        loader = code;
    return 0;
}

static uintptr_t instruction(const ucontext_t *context)
{
#if defined __x86_64__
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined __aarch64__
    return context->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

static bool is_own(uintptr_t address)
{
    stack_own_t own = stack_own();
    return address >= own.start && address < own.end;
}

// Below a call of this library there are few frames: of the C library, and of a handler that interrupted either.
#define FRAMES_SEEN 64

// Whether what the signal interrupted returns into the library sooner or later.
static bool returns_here(void)
{
    uintptr_t address[FRAMES_SEEN];
    stack_walk_t walk = {.address = address, .most = FRAMES_SEEN};
    stack_walk(&walk); // without the frames of our handler
    for (uint32_t i = 0; i < walk.depth; i++)
        if (is_own(address[i]))
            return true;
    return false;
}

// --- a cancellation that has to wait ---------------------------------------------------------------------------------

// A thread that does little but allocate large blocks is found outside once in 800 looks.
#define WAIT_US 50
// The C library may hold locks, too, and its own functions put an asynchronous cancellation off meanwhile, where they do; a
// thread that waits there for what nobody gives (a mutex) is cancelled after a tenth of a second.
#define C_LIBRARY_WAITS (100 * 1000 / WAIT_US)

static __thread bool anywhere;    // the type that the program has set
static __thread unsigned held;    // times that the thread must not end wherever it is
static __thread unsigned waits;   // how often the cancellation that is due has been put off
static __thread int timer;        // that sends the signal again
static __thread bool timer_is_there;

static bool must_wait(const ucontext_t *context)
{
    uintptr_t at = instruction(context);
    if (held != 0 || is_own(at) || returns_here())
        return true;
    return waits < C_LIBRARY_WAITS && (span_has(&c_library, at) || span_has(&loader, at));
}

// Where there can be no timer the thread ends at its next cancellation point.
static void wait_begin(void)
{
    const struct itimerspec every = {.it_value.tv_nsec = WAIT_US * 1000, .it_interval.tv_nsec = WAIT_US * 1000};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL_CANCEL};
    if (timer_is_there)
        return;
    event._sigev_un._tid = kernel_gettid();
    if (kernel_timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return;
    timer_is_there = true;
    kernel_timer_start(timer, &every);
}

static void wait_end(void)
{
    if (timer_is_there)
        kernel_timer_delete(timer);
    timer_is_there = false;
    waits = 0;
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
    if (info->si_code == SI_TKILL)
        next(number, info, context); // of the C library's own
    else if (!anywhere)
        wait_end();
    else if (must_wait(context)) {
        waits++;
        wait_begin();
    } else
        act();
    errno = error;
}

// --- who can be cancelled anywhere -----------------------------------------------------------------------------------

// Whose thread it is may have ended: an id that is used again is no harm, since the thread looks at its own type.
typedef struct noted {
    _Atomic pthread_t thread; // 0: nobody
    _Atomic pid_t tid;
    _Atomic bool disabled; // by pthread_setcancelstate: not to be interrupted in its system calls
} noted_t;

#define NOTED 1024 // More threads at a time are cancelled at cancellation points only.

static RARE_DATA noted_t noted[NOTED]; // used ones first
static __thread noted_t *own_entry;
static _Atomic bool anywhere_ever; // a thread's type is, or was. [atomic] release, acquire

static noted_t *noted_find(pthread_t thread)
{
    for (noted_t *entry = noted; entry < noted + NOTED && entry->thread != 0; entry++)
        if (entry->thread == thread)
            return entry;
    return NULL;
}

// A new entry, or that of a thread that has ended. NULL: there is none.
static noted_t *noted_claim(pthread_t self)
{
    for (noted_t *entry = noted; entry < noted + NOTED; entry++) {
        pthread_t thread = entry->thread;
        if ((thread == 0 || !kernel_thread_exists(entry->tid)) &&
            atomic_compare_exchange_strong(&entry->thread, &thread, self))
            return entry;
    }
    return NULL;
}

static void note_self(void)
{
    pthread_t self = pthread_self();
    int state = PTHREAD_CANCEL_ENABLE;
    next_set(&next_set_state, PTHREAD_CANCEL_DISABLE, &state);
    own_entry = noted_find(self);
    if (own_entry == NULL)
        own_entry = noted_claim(self);
    if (own_entry != NULL) {
        own_entry->disabled = state == PTHREAD_CANCEL_DISABLE;
        own_entry->tid = kernel_gettid();
    }
    next_set(&next_set_state, state, NULL);
}

// The C library has put its handler there by its pthread_cancel. False: it has not.
static bool handler_install(void)
{
    kernel_action_t action;
    if (!kernel_action_get(SIGNAL_CANCEL, &action) || action.handler == 0)
        return false;
    if (action.handler == (uintptr_t)on_signal)
        return true;
    next_handler = (void (*)(int, siginfo_t *, void *))action.handler;
    action.handler = (uintptr_t)on_signal;
    return kernel_action_set(SIGNAL_CANCEL, &action);
}

static void interrupt(pthread_t thread)
{
    noted_t *entry = noted_find(thread);
    if (pthread_equal(thread, pthread_self())) {
        if (anywhere)
            act();
    } else if (entry != NULL && !entry->disabled && handler_install()) {
        kernel_thread_signal(entry->tid, SIGNAL_CANCEL);
    }
}

// --- what the program calls --------------------------------------------------------------------------------------------

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
            stack_own();
            atomic_store_explicit(&anywhere_ever, true, memory_order_release);
        }
        note_self();
        anywhere = true;
        pthread_testcancel();
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
        pthread_testcancel();
    return 0;
}

EXPORT RARE int pthread_cancel(pthread_t thread)
{
    int (*cancel)(pthread_t);
    *(void **)&cancel = next_function(&next_cancel);
    int error = cancel(thread);
    if (error == 0 && atomic_load_explicit(&anywhere_ever, memory_order_acquire))
        interrupt(thread);
    return error;
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
    timer_is_there = false;
    waits = 0;
    if (anywhere)
        note_self();
}
