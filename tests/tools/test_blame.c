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
