// tests/conformance/facts.h - a program that is a list of facts about the preloaded library.
//
// FACT(name) { checks } at the beginning of a line. meson.build reads the names from the source and runs each as a
// test of its own, in its own process; by hand, `./program` runs them all and `./program NAME` one.
// With FACTS_WITHOUT_LIBRARY defined the program is meant to run without the preload.
#ifndef TARN_TESTS_FACTS_H
#define TARN_TESTS_FACTS_H

#include <sys/wait.h>

#include "check.h"

#define FACT_SECONDS 100 // then it hangs, and SIGALRM ends it

typedef struct fact {
    const char *name;
    void (*check)(void);
    struct fact *next;
} fact_t;

static fact_t *facts;

#define FACT(fact_name)                                                                                                \
    static void fact_name(void);                                                                                       \
    __attribute__((constructor)) static void fact_name##_join(void)                                                    \
    {                                                                                                                  \
        static fact_t fact = {#fact_name, fact_name, NULL};                                                            \
        fact_join(&fact);                                                                                              \
    }                                                                                                                  \
    static void fact_name(void)

static inline void fact_join(fact_t *fact)
{
    fact_t **last = &facts;
    while (*last != NULL)
        last = &(*last)->next;
    *last = fact;
}

static inline void child_ends_well(pid_t child)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with status %#x", (unsigned)status);
}

static inline int fact_run(const char *name)
{
    for (fact_t *fact = facts; fact != NULL; fact = fact->next)
        if (strcmp(fact->name, name) == 0) {
            alarm(FACT_SECONDS);
            fact->check();
            return EXIT_SUCCESS;
        }
    check_say("no fact %s", name);
    return STATUS_FAILED;
}

static inline bool fact_run_apart(const char *program, const char *name)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", program, name, (char *)NULL);
        _exit(STATUS_FAILED);
    }
    waitpid(child, &status, 0);
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED;
    check_say("%s %s", status == 0 ? "ok  " : skipped ? "skip" : "FAIL", name);
    return status == 0 || skipped;
}

int main(int argc, char **argv)
{
    bool all = true;
#ifndef FACTS_WITHOUT_LIBRARY
    library_require();
#endif
    if (argc > 1)
        return fact_run(argv[1]);
    for (fact_t *fact = facts; fact != NULL; fact = fact->next)
        all &= fact_run_apart(argv[0], fact->name);
    return all ? EXIT_SUCCESS : STATUS_FAILED;
}

#endif
