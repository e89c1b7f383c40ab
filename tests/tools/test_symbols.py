#!/usr/bin/env python3
"""test_symbols.py PROBE - addresses become functions, files and lines, by whatever the file still has."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROBE = None    # set from the command line below

# Prints the offset of the return address in `inner`, which stands in `middle`, which stands in `outer`.
SUBJECT_C = '''\
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
static int first(struct dl_phdr_info *info, size_t size, void *bias)
{
    (void)size;
    *(unsigned long *)bias = info->dlpi_addr;
    return 1;
}
__attribute__((noinline)) static void show(void)
{
    unsigned long bias;
    dl_iterate_phdr(first, &bias);
    printf("%#lx\\n", (unsigned long)__builtin_return_address(0) - 1 - bias);
}
static inline __attribute__((always_inline)) void inner(void)
{
    show(); // line 18
    __asm__ volatile("");
}
static inline __attribute__((always_inline)) void middle(void)
{
    inner(); // line 23
}
__attribute__((noinline)) void outer(void)
{
    middle(); // line 27
}
int main(void)
{
    outer();
    return 0;
}
'''
SUBJECT_CPP = '''\
#include <cstdio>
#include <link.h>
static int first(struct dl_phdr_info *info, size_t, void *bias)
{
    *(unsigned long *)bias = info->dlpi_addr;
    return 1;
}
__attribute__((noinline)) static void show()
{
    unsigned long bias;
    dl_iterate_phdr(first, &bias);
    std::printf("%#lx\\n", (unsigned long)__builtin_return_address(0) - 1 - bias);
}
namespace shop {
template <class T> struct Cart {
    __attribute__((noinline)) void add(T) { show(); __asm__ volatile(""); }
};
}
int main()
{
    shop::Cart<int>().add(1);
}
'''
# Where the definition of `load` stands within its namespace, as clang has it, and Rust for all functions.
SUBJECT_NAMESPACE = SUBJECT_CPP[:SUBJECT_CPP.index('namespace shop')] + '''\
namespace app { namespace {
inline __attribute__((always_inline)) void fetch()
{
    show(); // line 17
    __asm__ volatile("");
}
__attribute__((noinline)) void load()
{
    fetch(); // line 22
}
} }
int main()
{
    app::load();
}
'''

# Functions that other files cannot call have no linkage name from GCC: of the C++ library, too, for types of this file's.
SUBJECT_INTERNAL = SUBJECT_CPP[:SUBJECT_CPP.index('namespace shop')].replace('<link.h>', '<link.h>\n#include <vector>') + '''\
namespace app { namespace {
struct Row {
    Row() { show(); __asm__ volatile(""); }
    int number;
};
struct Table {
    template <class T> __attribute__((noinline)) static void fill(std::vector<T> &rows) { rows.emplace_back(); }
};
} }
int main()
{
    static std::vector<app::Row> rows;
    rows.reserve(1);
    app::Table::fill(rows);
}
'''


def output(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


class Symbols(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-symbols-')).resolve()
        self.addCleanup(shutil.rmtree, self.folder)

    def build(self, *options, compiler='cc', text=SUBJECT_C, name='subject'):
        source = self.folder / (name + ('.c' if compiler == 'cc' else '.cpp'))
        source.write_text(text)
        program = self.folder / name
        output(compiler, '-O2', '-Wl,--build-id', *options, '-o', program, source)
        return program

    @staticmethod
    def build_id(program):
        return re.search(r'Build ID: (\w+)', output('readelf', '-n', program)).group(1)

    def frames(self, path, offset, build_id='-'):
        """What the names came from, and the frames as `function file:line` with the files' folders cut off."""
        source, *rows = output(PROBE, path, build_id, offset).splitlines()
        self.assertEqual(rows.pop(), '--')
        return source, [re.sub(r' \S*/', ' ', row) for row in rows]

    INLINED = ['inner subject.c:18', 'middle subject.c:23', 'outer subject.c:27']

    def test_inlined_functions_have_frames_of_their_own(self):
        for options in (['-g'], ['-g', '-gdwarf-4'], ['-g', '-no-pie'], ['-g', '-gz'], ['-g', '-gsplit-dwarf'],
                        ['-g', '-gsplit-dwarf', '-gdwarf-4']):
            with self.subTest(options):
                program = self.build(*options)
                self.assertEqual(self.frames(program, output(program).strip(), self.build_id(program)),
                                 ('debug', self.INLINED))

    def test_without_a_table_of_ranges(self):
        program = self.build('-g')
        offset = output(program).strip()
        output('objcopy', '--remove-section=.debug_aranges', program)
        self.assertEqual(self.frames(program, offset), ('debug', self.INLINED))

    def test_a_separate_debug_file_is_found_by_its_link(self):
        program = self.build('-g')
        offset = output(program).strip()
        output('objcopy', '--only-keep-debug', program, f'{program}.debug')
        output('objcopy', '--strip-all', f'--add-gnu-debuglink={program}.debug', program)
        self.assertEqual(self.frames(program, offset, self.build_id(program)), ('debug', self.INLINED))

    def test_without_the_file_of_split_debug_information_no_line_is_told(self):
        program = self.build('-g', '-gsplit-dwarf')
        offset = output(program).strip()
        for file in self.folder.glob('*.dwo'):
            file.unlink()
        self.assertEqual(self.frames(program, offset, self.build_id(program))[1], ['outer ?:0'])

    def test_without_debug_information_the_symbol_table_serves(self):
        program = self.build()
        self.assertEqual(self.frames(program, output(program).strip()), ('table', ['outer ?:0']))

    def test_without_any_there_is_no_frame(self):
        program = self.build('-s')
        self.assertEqual(self.frames(program, output(program).strip()), ('table', []))

    def test_a_file_that_has_changed_is_not_used(self):
        program = self.build('-g')
        offset = output(program).strip()
        before = self.build_id(program)
        self.build('-g', text=SUBJECT_C.replace('outer', 'other'))
        self.assertEqual(self.frames(program, offset, before), ('changed', []))

    def test_what_is_no_program_has_no_frames(self):
        (self.folder / 'text').write_text('text\n')
        os.mkfifo(self.folder / 'fifo')
        for path in (self.folder / 'text', self.folder / 'fifo', self.folder, '/nowhere', 'relative', '/dev/zero'):
            self.assertEqual(self.frames(path, '0x1000'), ('none', []))

    def test_offsets_outside_have_no_frames(self):
        program = self.build('-g')
        for offset in ('0', '0xffffffffffffffff', '0x7fffffffffff'):
            self.assertEqual(self.frames(program, offset)[1], [])

    @unittest.skipUnless(shutil.which('c++'), 'no C++ compiler')
    def test_names_of_cxx_are_readable(self):
        for options, frame in ((['-g'], 'shop::Cart<int>::add subject.cpp:16'), ([], 'shop::Cart<int>::add ?:0')):
            program = self.build(*options, compiler='c++', text=SUBJECT_CPP)
            self.assertEqual(self.frames(program, output(program).strip())[1], [frame])

    @unittest.skipUnless(shutil.which('clang++'), 'no clang++')
    def test_functions_within_namespaces_have_their_inlined_ones(self):
        program = self.build('-g', compiler='clang++', text=SUBJECT_NAMESPACE)
        self.assertEqual(self.frames(program, output(program).strip())[1],
                         ['app::(anonymous namespace)::fetch subject.cpp:17',
                          'app::(anonymous namespace)::load subject.cpp:22'])

    @unittest.skipUnless(shutil.which('c++'), 'no C++ compiler')
    def test_functions_that_no_other_file_can_call_are_named_with_what_they_stand_in(self):
        program = self.build('-g', compiler='c++', text=SUBJECT_INTERNAL)
        source, rows = self.frames(program, output(program).strip())
        self.assertEqual(source, 'debug')
        self.assertEqual(rows[0], 'app::(anonymous namespace)::Row::Row subject.cpp:17')
        self.assertRegex(rows[1], r'^std::.*construct<.*\(anonymous namespace\)::Row')
        self.assertRegex(rows[-1], r'^app::\(anonymous namespace\)::Table::fill<.*> subject\.cpp:21$')
        for row in rows[1:-1]:
            self.assertRegex(row, r'^(void )?(std|__gnu_cxx)::')


if __name__ == '__main__':
    PROBE = sys.argv.pop(1)
    unittest.main(verbosity=2)
