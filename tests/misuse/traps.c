// tests/misuse/traps.c - one fault of a block that is a trap (harden=3:traps=1), and whether the program goes on.
//
//   traps CASE [none|handler|informed]    prints the block's address, commits the fault, prints "went on"
//
// With "handler" or "informed" the program has a handler of its own, without and with SA_SIGINFO: it prints "handled",
// and ends the program with status 3. Before, it prints "changed" if sigaction shows something else than what was set.
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The compiler would warn of the fault, had it seen where the address comes from.
static volatile char *hide(char *address)
{
    __asm__ volatile("" : "+r"(address) : : "memory");
    return address;
}

static void handled(int number)
{
    _exit(number == SIGSEGV && write(STDOUT_FILENO, "handled\n", 8) == 8 ? 3 : 4);
}

static void handled_informed(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_signo == SIGSEGV && info->si_addr != NULL)
        handled(number);
    _exit(5);
}

static void handler_set(bool informed)
{
    struct sigaction action = {.sa_flags = SA_RESTART}, shown;
    if (informed) {
        action.sa_sigaction = handled_informed;
        action.sa_flags |= SA_SIGINFO;
    } else {
        action.sa_handler = handled;
    }
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGSEGV, NULL, &shown);
    const int flags = SA_RESTART | SA_SIGINFO;
    if (shown.sa_sigaction != action.sa_sigaction || (shown.sa_flags & flags) != (action.sa_flags & flags) ||
        sigismember(&shown.sa_mask, SIGUSR1) != 1)
        puts("changed");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    free(malloc(1)); // a heap's first block is none
    char *block = malloc(40);
    volatile char *hidden = hide(block);
    if (argc < 2)
        return 1;
    printf("%p\n", (void *)block);
    if (argc > 2 && strcmp(argv[2], "none") != 0)
        handler_set(strcmp(argv[2], "informed") == 0);
    if (strcmp(argv[1], "write_behind") == 0)
        hidden[48] = 1;
    else if (strcmp(argv[1], "read_before") == 0)
        (void)hidden[-5000];
    else if (strcmp(argv[1], "read_freed") == 0)
        free(block), (void)hidden[3];
    else if (strcmp(argv[1], "write_freed") == 0)
        free(block), hidden[39] = 1;
    else if (strcmp(argv[1], "double_free") == 0)
        free(block), free((char *)hidden);
    else if (strcmp(argv[1], "null") == 0)
        (void)*hide(NULL);
    for (unsigned i = 0; i < 2000; i++)
        free(malloc(i));
    puts("went on");
}
