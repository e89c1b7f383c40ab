// tests/plain/criterion/criterion.h - as much of Criterion as the unit tests use, without its sandbox.
//
// Criterion lays the memory of its sandbox where ThreadSanitizer keeps its shadow, so neither starts in the other's
// company. Builds with b_sanitize=thread therefore find this header in Criterion's place: same names, each test in a
// forked child of a single-threaded parent. What is missing here is a compile error, never a test left out.
#ifndef TARN_PLAIN_CRITERION_H
#define TARN_PLAIN_CRITERION_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct plain_options {
    void (*init)(void);
    void (*fini)(void);
    int signal;      // the signal that is to end the test
    int exit_code;   // the status it is to end with
    double timeout;  // seconds
    bool disabled;
    const char *description;
} plain_options_t;

typedef struct plain_test {
    struct plain_test *next;
    const char *name;
    const char *suite;
    void (*run)(void);
    plain_options_t options;
} plain_test_t;

typedef struct plain_suite {
    struct plain_suite *next;
    const char *name;
    plain_options_t options;
} plain_suite_t;

// Weak: one copy, however many files of a program include this.
__attribute__((weak)) plain_test_t *plain_tests;
__attribute__((weak)) plain_suite_t *plain_suites;
__attribute__((weak)) int plain_failures; // of the test that runs in this process

#define Test(SUITE, NAME, ...)                                                                                         \
    static void SUITE##_##NAME##_test(void);                                                                           \
    __attribute__((constructor)) static void SUITE##_##NAME##_register(void) {                                         \
        static plain_test_t test = {NULL, #SUITE "/" #NAME, #SUITE, SUITE##_##NAME##_test, {__VA_ARGS__}};             \
        test.next = plain_tests;                                                                                       \
        plain_tests = &test;                                                                                           \
    }                                                                                                                  \
    static void SUITE##_##NAME##_test(void)

#define TestSuite(SUITE, ...)                                                                                          \
    __attribute__((constructor)) static void SUITE##_suite_register(void) {                                            \
        static plain_suite_t suite = {NULL, #SUITE, {__VA_ARGS__}};                                                    \
        suite.next = plain_suites;                                                                                     \
        plain_suites = &suite;                                                                                         \
    }                                                                                                                  \
    typedef int SUITE##_suite_needs_semicolon

__attribute__((format(printf, 4, 5))) static inline void plain_fail(const char *file, int line, const char *what,
                                                                    const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: %s:", file, line, what);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    plain_failures++;
}

// An expectation that fails is counted; an assertion that fails ends the test.
#define plain_expect(HOLDS, WHAT, ...)                                                                                 \
    ((HOLDS) ? (void)0 : plain_fail(__FILE__, __LINE__, WHAT, " " __VA_ARGS__))
#define plain_assert(HOLDS, WHAT, ...)                                                                                 \
    ((HOLDS) ? (void)0 : (plain_fail(__FILE__, __LINE__, WHAT, " " __VA_ARGS__), exit(1)))

#define cr_assert(X, ...) plain_assert((X), #X, __VA_ARGS__)
#define cr_assert_not(X, ...) plain_assert(!(X), "not " #X, __VA_ARGS__)
#define cr_assert_eq(A, B, ...) plain_assert((A) == (B), #A " == " #B, __VA_ARGS__)
#define cr_assert_neq(A, B, ...) plain_assert((A) != (B), #A " != " #B, __VA_ARGS__)
#define cr_assert_lt(A, B, ...) plain_assert((A) < (B), #A " < " #B, __VA_ARGS__)
#define cr_assert_leq(A, B, ...) plain_assert((A) <= (B), #A " <= " #B, __VA_ARGS__)
#define cr_assert_gt(A, B, ...) plain_assert((A) > (B), #A " > " #B, __VA_ARGS__)
#define cr_assert_geq(A, B, ...) plain_assert((A) >= (B), #A " >= " #B, __VA_ARGS__)
#define cr_assert_null(P, ...) plain_assert((P) == NULL, #P " == NULL", __VA_ARGS__)
#define cr_assert_not_null(P, ...) plain_assert((P) != NULL, #P " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(A, B, ...) plain_assert(strcmp((A), (B)) == 0, #A " is " #B, __VA_ARGS__)
#define cr_assert_arr_eq(A, B, SIZE, ...) plain_assert(memcmp((A), (B), (SIZE)) == 0, #A " is " #B, __VA_ARGS__)
#define cr_assert_fail(...) plain_assert(0, "failed", __VA_ARGS__)

#define cr_expect(X, ...) plain_expect((X), #X, __VA_ARGS__)
#define cr_expect_not(X, ...) plain_expect(!(X), "not " #X, __VA_ARGS__)
#define cr_expect_eq(A, B, ...) plain_expect((A) == (B), #A " == " #B, __VA_ARGS__)
#define cr_expect_neq(A, B, ...) plain_expect((A) != (B), #A " != " #B, __VA_ARGS__)
#define cr_expect_lt(A, B, ...) plain_expect((A) < (B), #A " < " #B, __VA_ARGS__)
#define cr_expect_leq(A, B, ...) plain_expect((A) <= (B), #A " <= " #B, __VA_ARGS__)
#define cr_expect_gt(A, B, ...) plain_expect((A) > (B), #A " > " #B, __VA_ARGS__)
#define cr_expect_geq(A, B, ...) plain_expect((A) >= (B), #A " >= " #B, __VA_ARGS__)
#define cr_expect_null(P, ...) plain_expect((P) == NULL, #P " == NULL", __VA_ARGS__)
#define cr_expect_not_null(P, ...) plain_expect((P) != NULL, #P " != NULL", __VA_ARGS__)
#define cr_expect_str_eq(A, B, ...) plain_expect(strcmp((A), (B)) == 0, #A " is " #B, __VA_ARGS__)
#define cr_expect_arr_eq(A, B, SIZE, ...) plain_expect(memcmp((A), (B), (SIZE)) == 0, #A " is " #B, __VA_ARGS__)

#define cr_log_info(...) (fprintf(stderr, __VA_ARGS__), (void)fputc('\n', stderr))

static inline const plain_options_t *plain_suite_options(const char *name)
{
    static const plain_options_t none = {0};
    for (const plain_suite_t *suite = plain_suites; suite != NULL; suite = suite->next)
        if (strcmp(suite->name, name) == 0)
            return &suite->options;
    return &none;
}

static inline void plain_call(void (*function)(void))
{
    if (function != NULL)
        function();
}

// In the child.
static inline void plain_test_run(const plain_test_t *test, const plain_options_t *suite)
{
    double seconds = test->options.timeout > 0 ? test->options.timeout : suite->timeout;
    if (seconds > 0)
        alarm((unsigned)seconds + 1);
    plain_call(suite->init);
    plain_call(test->options.init);
    test->run();
    plain_call(test->options.fini);
    plain_call(suite->fini);
    exit(plain_failures != 0);
}

static inline bool plain_test_passes(const plain_test_t *test)
{
    const plain_options_t *suite = plain_suite_options(test->suite);
    int signal = test->options.signal != 0 ? test->options.signal : suite->signal;
    int code = test->options.exit_code != 0 ? test->options.exit_code : suite->exit_code;
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        plain_test_run(test, suite);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    return signal != 0 ? WIFSIGNALED(status) && WTERMSIG(status) == signal
                       : WIFEXITED(status) && WEXITSTATUS(status) == code;
}

__attribute__((weak)) int main(void)
{
    int passed = 0, failed = 0;
    for (const plain_test_t *test = plain_tests; test != NULL; test = test->next) {
        if (test->options.disabled)
            continue;
        bool passes = plain_test_passes(test);
        printf("%s %s\n", passes ? "ok    " : "FAILED", test->name);
        passed += passes;
        failed += !passes;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0 || passed == 0;
}

#endif
