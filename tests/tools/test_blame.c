// tests/tools/test_blame.c - which functions only hand memory on, so that their callers are to blame.
#include "../../tools/blame.h"

#include <criterion/criterion.h>

static bool passes_on(const char *function)
{
    profile_module_t module = {.name = "program"};
    profile_t profile = {.modules = &module, .module_count = 1};
    return blame_passes_on(&profile, &(profile_frame_t){.function = function});
}

Test(blame, operators_of_a_class_pass_on)
{
    cr_assert(passes_on("operator new"));
    cr_assert(passes_on("v8::internal::Malloced::operator new"));
    cr_assert(passes_on("Arena::operator new[]"));
    cr_assert_not(passes_on("cache::operator new_entry"));
    cr_assert_not(passes_on("renew"));
}

Test(blame, what_rust_does_for_all_types_passes_on)
{
    cr_assert(passes_on("<T as alloc::vec::spec_from_elem::SpecFromElem>::from_elem"));
    cr_assert(passes_on("<alloc::vec::Vec<T> as core::clone::Clone>::clone"));
    cr_assert_not(passes_on("<app::Cache as core::clone::Clone>::clone"));
    cr_assert_not(passes_on("<T as app::Store>::keep"));
    cr_assert_not(passes_on("<T"));
}

Test(blame, allocators_within_programs_pass_on)
{
    cr_assert(passes_on("os::malloc"));
    cr_assert(passes_on("palloc"));
    cr_assert(passes_on("__zend_malloc"));
    cr_assert_not(passes_on("cache_insert"));
}

// The frame to blame of a stack of two functions of one module and one of another, innermost first.
static const char *blamed(profile_frame_t frames[3])
{
    static uint32_t stack_locations[] = {0, 1, 2};
    profile_location_t locations[] = {{.frame_first = 0, .frame_count = 1}, {.frame_first = 1, .frame_count = 1},
                                      {.frame_first = 2, .frame_count = 1}};
    profile_module_t modules[] = {{.name = "postgres"}, {.name = "plugin.so"}};
    profile_t profile = {.modules = modules, .module_count = 2, .locations = locations, .location_count = 3,
                         .frames = frames, .frame_count = 3};
    profile_stack_t stack = {.locations = stack_locations, .location_count = 3};
    return blame_frame(&profile, &stack)->function;
}

Test(blame, a_function_without_a_name_is_a_part_of_the_allocator_that_calls_it)
{
    cr_assert_str_eq(blamed((profile_frame_t[]){
        {.function = "postgres+0x10", .unnamed = true}, {.function = "palloc"}, {.function = "array_make"}}),
        "array_make");
    cr_assert_str_eq(blamed((profile_frame_t[]){
        {.function = "postgres+0x10", .unnamed = true}, {.function = "array_make"}, {.function = "main"}}),
        "postgres+0x10");
    cr_assert_str_eq(blamed((profile_frame_t[]){
        {.function = "plugin.so+0x10", .unnamed = true, .module = 1}, {.function = "palloc"}, {.function = "main"}}),
        "plugin.so+0x10");
    cr_assert_str_eq(blamed((profile_frame_t[]){
        {.function = "cache_fill"}, {.function = "palloc"}, {.function = "main"}}), "cache_fill");
}
