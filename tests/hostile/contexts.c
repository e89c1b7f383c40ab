// tests/hostile/contexts.c - code that runs neither in a thread nor in a process as pthreads and fork make them: bare
// clone, coroutines, handlers of faults, small signal stacks.
#include <malloc.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "../conformance/facts.h"

// --- work ------------------------------------------------------------------------------------------------------------

enum { BLOCKS = 200 };

static size_t size_of(size_t i)
{
    return i % 25 == 0 ? i * 4000 : i * 9;
}

static void blocks_fill(void **blocks)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(size_of(i));
        CHECK(blocks[i] != NULL, "no %zu bytes", size_of(i));
        block_fill(blocks[i], size_of(i), i);
    }
}

static void blocks_grow(void **blocks)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = realloc(blocks[i], size_of(i) * 2 + 1);
        CHECK(blocks[i] != NULL && block_is_filled(blocks[i], size_of(i), i), "block %zu", i);
    }
}

static void blocks_free(void **blocks)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(block_is_filled(blocks[i], size_of(i), i), "block %zu", i);
        free(blocks[i]);
    }
}

static void *shared[BLOCKS]; // what one side fills and the other one grows and frees

// --- clone -------------------------------------------------------------------------------------------------------------

static char child_stack[64 * KIB] __attribute__((aligned(16)));

static int child_takes_over(void *unused)
{
    (void)unused;
    void *blocks[BLOCKS];
    blocks_grow(shared);
    blocks_fill(blocks);
    blocks_free(blocks);
    malloc_trim(0);
    return EXIT_SUCCESS;
}

static void require_child(pid_t child)
{
    int status = -1;
    CHECK(child > 0, "no child");
    CHECK(waitpid(child, &status, __WALL) == child && status == 0, "the child ended with status %#x", (unsigned)status);
}

// Memory, files and thread-local storage are the parent's, which waits.
static void clone_with_memory(int flags)
{
    for (size_t round = 0; round < 100; round++) {
        blocks_fill(shared);
        require_child(clone(child_takes_over, child_stack + sizeof child_stack, CLONE_VM | flags | SIGCHLD, NULL));
        blocks_free(shared);
    }
}

FACT(a_clone_that_shares_memory_allocates_while_its_parent_waits)
{
    clone_with_memory(CLONE_FS | CLONE_FILES | CLONE_SIGHAND);
}

FACT(a_clone_like_vfork_allocates)
{
    clone_with_memory(CLONE_VFORK);
}

static _Alignas(64) char no_thread[64 * KIB]; // zeros: nothing of a thread is there, not even its own address

static int child_ends(void *unused)
{
    (void)unused;
    _exit(EXIT_SUCCESS);
}

// As a browser's sandbox ends a child that was to do a system call and nothing else.
FACT(a_clone_ends_on_a_thread_pointer_that_leads_nowhere)
{
    blocks_fill(shared);
    require_child(clone(child_ends, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK | CLONE_SETTLS | SIGCHLD, NULL,
                        NULL, no_thread + sizeof no_thread / 2, NULL));
    blocks_free(shared);
}

// No handler of pthread_atfork runs: the child finds out by itself that it is another process.
FACT(a_bare_clone_is_a_fork)
{
    for (size_t round = 0; round < 50; round++) {
        blocks_fill(shared);
        pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (child == 0)
            exit(child_takes_over(NULL));
        require_child(child);
        blocks_free(shared);
    }
}

// --- coroutines --------------------------------------------------------------------------------------------------------

enum { COROUTINES = 20, TURNS = 20 };

static ucontext_t scheduler, coroutines[COROUTINES];
static char stacks[COROUTINES][32 * KIB] __attribute__((aligned(16)));

static void coroutine(int self)
{
    for (size_t turn = 0; turn < TURNS; turn++) {
        void *blocks[BLOCKS];
        blocks_fill(blocks);
        swapcontext(&coroutines[self], &scheduler);
        blocks_grow(blocks);
        swapcontext(&coroutines[self], &scheduler);
        blocks_free(blocks);
    }
}

FACT(coroutines_on_small_stacks_allocate_in_turn)
{
    for (int i = 0; i < COROUTINES; i++) {
        getcontext(&coroutines[i]);
        coroutines[i].uc_stack.ss_sp = stacks[i];
        coroutines[i].uc_stack.ss_size = sizeof stacks[i];
        coroutines[i].uc_link = &scheduler;
        makecontext(&coroutines[i], (void (*)(void))coroutine, 1, i);
    }
    for (size_t turn = 0; turn <= 2 * TURNS; turn++)
        for (int i = 0; i < COROUTINES; i++)
            swapcontext(&scheduler, &coroutines[i]);
}

// --- faults --------------------------------------------------------------------------------------------------------------

static sigjmp_buf back;

static void leave_fault(int number)
{
    (void)number;
    void *blocks[BLOCKS];
    blocks_fill(blocks);
    blocks_free(blocks);
    siglongjmp(back, 1);
}

static void handler_set(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(number, &action, NULL) == 0, "no handler");
}

// A runtime that turns null pointers into exceptions.
FACT(handlers_of_faults_allocate_and_jump_out)
{
    static void *blocks[BLOCKS];
    handler_set(SIGSEGV, leave_fault, 0);
    for (volatile size_t round = 0; round < 300; round++) {
        blocks_fill(blocks);
        if (sigsetjmp(back, 1) == 0)
            *(volatile char *)(uintptr_t)round = 1; // the first OS page is never mapped
        blocks_free(blocks);
    }
}

static char *guarded;
static const size_t guarded_bytes = 1 * MIB;
static volatile size_t opened;

static void open_page(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)4095);
    CHECK((size_t)(page - guarded) < guarded_bytes, "a fault at %p", info->si_addr);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0, "no access");
    free(memset(malloc(3000), 1, 3000));
    opened = opened + 1;
}

// A collector's write barrier, over blocks of the heap's.
FACT(blocks_may_be_protected_for_a_while)
{
    struct sigaction action = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0, "no handler");
    for (size_t round = 0; round < 20; round++) {
        guarded = aligned_alloc(4096, guarded_bytes);
        memset(guarded, 1, guarded_bytes);
        CHECK(mprotect(guarded, guarded_bytes, PROT_READ) == 0, "no protection");
        for (size_t at = 100; at < guarded_bytes; at += 4096)
            guarded[at] = 2;
        free(guarded);
    }
    CHECK(opened == 20 * (guarded_bytes / 4096), "%zu faults", (size_t)opened);
}

// --- small signal stacks -------------------------------------------------------------------------------------------------

static void use_everything(int number)
{
    (void)number;
    for (size_t size = 1; size < 4 * MIB; size = size * 3 + 1) {
        char *block = malloc(size);
        block = realloc(block, size * 2);
        CHECK(block != NULL, "no %zu bytes", size);
        block[size * 2 - 1] = 1;
        free(block);
        free(calloc(size, 1));
        free(memalign(4096, size));
    }
}

// Room for the kernel's own frame, which grows with the processor's registers, and 6 KiB.
FACT(handlers_on_a_small_stack_allocate)
{
    static char stack[64 * KIB] __attribute__((aligned(16)));
    size_t size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 6 * KIB, below = sizeof stack - size;
    stack_t small = {.ss_sp = stack + below, .ss_size = size};
    memset(stack, 0x5a, below);
    CHECK(sigaltstack(&small, NULL) == 0, "no stack of %zu bytes", size);
    handler_set(SIGUSR1, use_everything, SA_ONSTACK);
    for (size_t i = 0; i < 50; i++)
        raise(SIGUSR1);
    for (size_t i = 0; i < below; i++)
        CHECK(stack[i] == 0x5a, "the stack was too small by %zu bytes", below - i);
}

// --- foreign pointers --------------------------------------------------------------------------------------------------

// How a process ends that frees this: by the message's abort, and not by a fault while tarn looks what it is.
static void require_told(void *pointer, const char *what)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        free(pointer);
        _exit(EXIT_SUCCESS);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %#x", what, (unsigned)status);
}

// One OS page with these rights, nothing readable on either side.
static char *lonely_page(int protection, int flags)
{
    size_t page = (size_t)getpagesize();
    char *around = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(around != MAP_FAILED, "no mapping");
    CHECK(mmap(around + page, page, protection, MAP_FIXED | MAP_ANONYMOUS | flags, -1, 0) != MAP_FAILED, "no page");
    return around + page;
}

FACT(a_foreign_pointer_is_told_without_a_read_outside_its_mapping)
{
    static const int rights[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_EXEC, PROT_WRITE};
    size_t page = (size_t)getpagesize();
    for (size_t i = 0; i < COUNT(rights); i++)
        for (int shared = 0; shared < 2; shared++) {
            char *start = lonely_page(rights[i], shared ? MAP_SHARED : MAP_PRIVATE);
            require_told(start - 16, "before the page");
            require_told(start, "the page's start");
            require_told(start + 8, "8 behind the start");
            require_told(start + 16, "16 behind the start");
            require_told(start + page - 16, "the page's end");
            require_told(start + page, "behind the page");
        }
    require_told((void *)16, "16");
    require_told((void *)(UINTPTR_MAX - 15), "the last address");
    require_told((void *)((uintptr_t)1 << 63), "the kernel's half");
}

// A mapping that looks as what the C library has mapped alone, but for its size, which leads out of it.
FACT(a_header_that_leads_out_of_its_mapping_is_not_believed)
{
    size_t page = (size_t)getpagesize();
    for (unsigned flags = 0; flags < 8; flags++) {
        size_t *words = (size_t *)lonely_page(PROT_READ | PROT_WRITE, MAP_PRIVATE);
        words[0] = 0;
        words[1] = 2 * page | flags;
        require_told(words + 2, "too long");
        words[1] = flags;
        require_told(words + 2, "empty");
        words[0] = page;
        words[1] = page | flags;
        require_told(words + 2, "begins before its mapping");
    }
}
