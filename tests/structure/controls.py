#!/usr/bin/env python3
"""controls.py STRUCTURE_FOLDER - each check of this folder finds a planted fault, and finds none without it.

Every test makes a small tree in a temporary folder, breaks one rule in it, and expects the check to name the fault.
"""

import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest

FOLDER = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else pathlib.Path(__file__).parent

POOL = {
    'bits.h': '',
    'os_linux.h': 'void *os_map(unsigned long size);\n',
    'os_linux.c': '#include "os_linux.h"\n#include <sys/mman.h>\n'
                  'void *os_map(unsigned long size) { return mmap(0, size, 3, 34, -1, 0); }\n',
    'page.h': '#include "bits.h"\n',
    'page.c': '#include "page.h"\n// mmap(2) in a comment\nconst char *page_text(void) { return "mmap("; }\n',
    'heap.h': '#include "page.h"\n',
    'survey.h': '',
    'survey_sums.h': '#include "heap.h"\n',
}
PRELOAD = {
    'boot.h': '',
    'entry.c': '#include "../pool/heap.h"\nvoid free(void *block) { (void)block; }\n',
    'report.c': '#include "../pool/survey.h"\n#include "boot.h"\nint report_write(void) { return 0; }\n',
}

FAST = ('.globl {name}\n.type {name}, @function\n{name}:\n'
        'test %rdi, %rdi\nje 1f\n{filler}ret\n1: call slow\nret\n.size {name}, .-{name}\n')


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='tarn-structure-'))
        self.addCleanup(shutil.rmtree, self.root)
        for folder, files in (('pool', POOL), ('preload', PRELOAD)):
            (self.root / folder).mkdir()
            for name, text in files.items():
                (self.root / folder / name).write_text(text)

    def append(self, name, text):
        with open(self.root / name, 'a', encoding='utf-8') as file:
            file.write(text)

    def check(self, script, *arguments):
        return subprocess.run([sys.executable, '-B', FOLDER / script, *map(str, arguments)],
                              capture_output=True, text=True, check=False)

    def assert_in_order(self, result):
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def assert_names(self, result, *words):
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        for word in words:
            self.assertIn(word, result.stdout)


class Layers(Tree):
    def expect(self, *words):
        self.assert_names(self.check('layers.py', self.root), *words)

    def test_a_tree_in_order_passes(self):
        self.assert_in_order(self.check('layers.py', self.root))

    def test_an_include_upwards_is_found(self):
        self.append('pool/page.h', '#include "heap.h"\n')
        self.expect('page.h:2', 'heap is not below page')

    def test_an_include_sideways_is_found(self):
        self.append('pool/large.c', '#include "heap.h"\n')
        self.expect('large.c:1', 'heap is not below large')

    def test_pool_that_includes_preload_is_found(self):
        self.append('pool/page.c', '#include "../preload/boot.h"\n')
        self.expect('page.c:4', 'does not know preload')

    def test_preload_by_its_bare_name_is_found(self):
        self.append('pool/page.c', '  #  include <boot.h>\n')
        self.expect('page.c:4', 'does not know preload')

    def test_a_file_without_a_place_is_found(self):
        self.append('pool/misc.c', '')
        self.expect('misc has no place')

    def test_a_report_that_looks_into_the_heap_is_found(self):
        self.append('preload/report.c', '#include "page.h"\n')
        self.expect('report.c:4', 'survey.h only')

    def test_a_report_that_looks_into_the_survey_is_found(self):
        self.append('preload/report.c', '#include "survey_sums.h"\n')
        self.expect('report.c:4', 'survey.h only')

    def test_a_tool_that_knows_the_library_is_found(self):
        (self.root / 'tools').mkdir()
        (self.root / 'tools' / 'report.c').write_text('#include "../preload/recording.h"\n')
        self.assert_in_order(self.check('layers.py', self.root))
        self.append('tools/report.c', '#include "../pool/survey.h"\n')
        self.expect('report.c:2', 'tools/ shares')

    def test_a_header_that_is_its_files_own_is_not_included_by_others(self):
        (self.root / 'pool' / 'os_calls.h').write_text('int os_advise(void);\n')
        self.append('pool/os_linux.c', '#include "os_calls.h"\n')
        self.assert_in_order(self.check('layers.py', self.root))
        self.append('pool/page.h', '#include "os_calls.h"\n')
        self.expect('page.h', 'os_calls.h is for the files of os alone')

    def test_an_empty_folder_is_not_in_order(self):
        shutil.rmtree(self.root / 'pool')
        (self.root / 'pool').mkdir()
        self.assertNotEqual(self.check('layers.py', self.root).returncode, 0)


class Seams(Tree):
    def compile(self):
        for folder, place in (('pool', 'pool/libpool.a.p'), ('preload', 'preload/libtarn.so.p')):
            objects = self.root / 'build' / place
            objects.mkdir(parents=True)
            for source in (self.root / folder).glob('*.c'):
                subprocess.run(['cc', '-c', '-fno-builtin', '-o', objects / (source.name + '.o'), source], check=True)

    def expect(self, *words):
        self.compile()
        self.assert_names(self.check('seams.py', self.root, self.root / 'build'), *words)

    def test_a_tree_in_order_passes(self):
        self.compile()
        self.assert_in_order(self.check('seams.py', self.root, self.root / 'build'))

    def test_a_stray_madvise_is_found(self):
        self.append('pool/page.c', 'int madvise();\nvoid page_purge(void *p) { madvise (p, 1, 4); }\n')
        self.expect('page.c:4', 'madvise: only os_*')

    def test_a_stray_system_call_is_found(self):
        self.append('pool/page.c', '#include <sys/syscall.h>\nlong syscall();\n'
                                   'long page_map(void) { return syscall(SYS_mremap, 0); }\n')
        self.expect('SYS_mremap')

    def test_a_stray_call_by_number_is_found(self):
        self.append('preload/report.c', 'long syscall();\nlong report_pid(void) { return syscall(39); }\n')
        self.expect('report.c:5', 'only kernel.h')

    def test_malloc_defined_in_pool_is_found(self):
        self.append('pool/page.c', 'void *malloc(unsigned long size) { return (void *)size; }\n')
        self.expect('page.c.o: defines malloc')

    def test_a_hidden_alias_is_found(self):
        self.append('preload/report.c', 'extern __typeof(report_write) mallopt\n'
                                        '    __attribute__((alias("report_write"), visibility("hidden")));\n')
        self.expect('report.c.o: defines mallopt')

    def test_a_stray_operator_new_is_found(self):
        self.append('preload/report.c',
                    'void *_ZnwmSt11align_val_t(unsigned long n, long a) { return (void *)(n + a); }\n')
        self.expect('_ZnwmSt11align_val_t')

    def test_no_objects_are_not_in_order(self):
        self.assertNotEqual(self.check('seams.py', self.root, self.root / 'build').returncode, 0)


class Linked(Tree):
    def link(self, source, *options):
        path = self.root / source[0]
        path.write_text(source[1])
        library = self.root / 'libprobe.so'
        subprocess.run(['cc', '-shared', '-fPIC', '-o', library, path, *options], check=True)
        return library

    def link_c(self, *options):
        return self.link(('probe.c', 'double sin(double); double probe(double x) { return sin(x); }\n'), *options)


class Needed(Linked):
    def needed(self, library):
        header = self.root / 'glibc.h'
        header.write_text('const char *strerrordesc_np(int error) GLIBC_ALONE;\nextern char other GLIBC_ALONE;\n')
        return self.check('needed.py', library, header)

    def test_the_c_library_alone_passes(self):
        self.assert_in_order(self.needed(self.link_c()))

    def test_another_library_is_found(self):
        self.assert_names(self.needed(self.link_c('-Wl,--no-as-needed', '-lm')), 'needs libm.so.6')

    def use(self, attribute):
        return self.needed(self.link(('use.c', f'const char *strerrordesc_np(int) {attribute};\n'
                                               'const char *use(void) { return strerrordesc_np(1); }\n')))

    def test_what_glibc_alone_has_passes_when_it_is_weak(self):
        self.assert_in_order(self.use('__attribute__((weak))'))

    def test_what_glibc_alone_has_is_found_when_it_is_required(self):
        self.assert_names(self.use(''), 'requires strerrordesc_np: where it is used, include glibc.h')


@unittest.skipUnless(platform.machine() == 'x86_64', 'the counts are those of x86-64')
class FastPath(Linked):
    def probe(self, filler, limit):
        text = '.section .note.GNU-stack\n.text\nslow: ret\n' + FAST.format(name='malloc', filler=filler)
        return self.check('fast_path.py', self.link(('probe.s', text)), f'malloc={limit}')

    def test_a_path_at_the_limit_passes(self):
        self.assert_in_order(self.probe('nop\n' * 2, 5))

    def test_one_instruction_more_is_found(self):
        self.assert_names(self.probe('nop\n' * 3, 5), '6 instructions are more than 5')

    def test_a_call_on_the_path_is_found(self):
        self.assert_names(self.probe('call slow\n', 14), 'malloc: leaves by')

    def test_a_jump_is_followed(self):
        self.assert_names(self.probe('jmp 2f\n2: ' + 'nop\n' * 3, 5), '7 instructions are more than 5')

    def test_an_indirect_jump_is_found(self):
        self.assert_names(self.probe('jmp *%rax\n', 14), 'malloc: leaves by')

    def test_a_missing_function_is_found(self):
        self.assert_names(self.check('fast_path.py', self.link_c(), 'malloc=14'), 'malloc is not exported')


if __name__ == '__main__':
    unittest.main(verbosity=2)
