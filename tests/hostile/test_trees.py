#!/usr/bin/env python3
"""Process trees and neighbours: static and foreign programs among those under the library, auditors, programs that bring
a malloc of their own."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import harness
from harness import Hostile

SOURCES = pathlib.Path(__file__).resolve().parent

# Works, in threads and a child too, then runs the command that its arguments are.
PROGRAM = r'''
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *unused)
{
    void *blocks[300];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 300; i++)
            blocks[i] = memset(malloc(i % 50 == 0 ? i * 1000 + 1 : i * 7 + 1), 1, i + 1);
        for (int i = 0; i < 300; i++)
            free(realloc(blocks[i], i * 20 + 1));
    }
    return malloc(100);
}

static void handle(int number)
{
    signal(number, SIG_DFL);
}

int main(int count, char **arguments)
{
    pthread_t threads[4];
    void *block;
    int status = -1;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            return 2;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &block);
        free(block);
    }
    pid_t child = fork();
    if (child == 0) {
        free(work(NULL));
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        return 3;
    signal(SIGUSR1, handle);
    raise(SIGUSR1);
    printf("%s\n", "worked");
    fflush(stdout);
    if (count > 1)
        execv(arguments[1], arguments + 1);
    return 0;
}
'''

OVERFLOW = '#include <stdlib.h>\nint main(int count) { char *volatile block = malloc(10); block[count * 10] = 1; free(block); }'


class Trees(Hostile):
    def compile(self, name, compiler, *arguments, text=None):
        program = self.folder / name
        if text is not None:
            arguments = (*arguments, '-x', 'c', '-')
        result = subprocess.run([*compiler, '-g', '-pthread', '-o', program, *arguments], input=text, text=True, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(result.returncode, 0, result.stdout)
        return program

    def cc(self):
        return os.environ.get('CC', 'cc').split()

    def require_tree(self, program):
        """The program alone, and between two that the library serves."""
        self.require_worked(self.run_program(program))
        result = self.run_program(harness.ACTOR, 'work', f'system={program} {harness.ACTOR} work print=worked',
                                  options='stats=text')
        self.assertEqual((result.returncode, result.stdout), (0, 'worked\nworked\n'), result.stderr)
        self.assertIn('actor', [name for name, _ in self.reports(result.stderr)])

    def test_a_static_program_in_the_tree(self):
        self.require_tree(self.compile('static', self.cc(), '-static', text=PROGRAM))

    def test_a_static_position_independent_program_in_the_tree(self):
        self.require_tree(self.compile('static-pie', self.cc(), '-static-pie', text=PROGRAM))

    def musl(self):
        if shutil.which('musl-gcc') is None:
            self.skipTest('no musl-gcc')
        return ['musl-gcc']

    def test_a_static_musl_program_in_the_tree(self):
        self.require_tree(self.compile('musl-static', self.musl(), '-static', text=PROGRAM))

    def test_a_musl_program_in_the_tree(self):
        self.require_tree(self.compile('musl', self.musl(), text=PROGRAM))

    def test_an_auditor_of_the_loader(self):
        """It has a malloc of its own; the program's is ours, also where it is called by way of the auditor."""
        auditor = self.compile('auditor.so', self.cc(), '-shared', '-fPIC', SOURCES / 'auditor.c')
        program = self.compile('lazy', self.cc(), '-fno-builtin', '-Wl,-z,lazy', text=PROGRAM)
        notes, report = self.folder / 'notes', self.folder / 'lazy.json'
        allocated = []
        for environment in ({}, {'LD_AUDIT': str(auditor), 'TARN_TEST_AUDIT': str(notes)}):
            result = self.run_program(program, options=f'stats=json:stats_file={report}', environment=environment)
            self.require_worked(result)
            allocated.append(json.loads(report.read_text())['allocated_total'])
        self.assertAlmostEqual(*allocated, delta=50)    # the loader's and the C library's few may differ
        self.assertIn(f' {harness.LIBRARY}\n', notes.read_text())
        if os.uname().machine == 'x86_64':
            self.assertIn('1000 calls', notes.read_text())
        for options in ('stats=off', f'stats=text:record={self.folder}/%n.%p:sample=4KiB'):
            result = self.run_program(program, options=options, environment={'LD_AUDIT': str(auditor)})
            self.require_worked(result)
            self.assertEqual(len(self.reports(result.stderr)), int(options != 'stats=off'), result.stderr)

    def compile_with_sanitizer(self, name, text, *arguments):
        """Whose runtime brings a malloc; skipped where there is none, or it does not start on this machine."""
        command = [*self.cc(), '-fsanitize=address', *arguments, '-fno-builtin']
        probe = subprocess.run([*command, '-o', self.folder / 'probe', '-x', 'c', '-'], input='int main(void) { return 0; }',
                               text=True, capture_output=True, check=False)
        if probe.returncode != 0 or subprocess.run([self.folder / 'probe'], capture_output=True, check=False).returncode != 0:
            self.skipTest('no AddressSanitizer')
        return self.compile(name, command, text=text)

    def run_sanitized(self, program, preload=None, options='stats=off', more=''):
        return self.run_program(program, options=options, environment={
            'ASAN_OPTIONS': 'detect_leaks=0' + more, **({} if preload is None else {'LD_PRELOAD': preload})})

    def require_overflow_found(self, result):
        self.assertIn('heap-buffer-overflow', result.stderr)
        self.assertNotEqual(result.returncode, 0)

    def test_a_program_with_address_sanitizer_inside(self):
        """The program's own malloc comes first: it works, alone and in a tree, and finds what it is there to find."""
        static = '-static-libasan' if 'clang' not in ' '.join(self.cc()) else '-static-libsan'
        self.require_tree(self.compile_with_sanitizer('asan', PROGRAM, static))
        self.require_overflow_found(self.run_sanitized(self.compile_with_sanitizer('overflow', OVERFLOW, static)))

    def test_a_program_with_address_sanitizer_beside(self):
        """Its runtime is a library and refuses to come second, whatever comes first; told not to, it lets us serve."""
        program = self.compile_with_sanitizer('asan', PROGRAM)
        listed = subprocess.run(['ldd', program], check=True, capture_output=True, text=True).stdout
        runtimes = [line.split()[2] for line in listed.splitlines() if 'asan' in line]
        if not runtimes:
            self.skipTest('the runtime is inside')
        result = self.run_sanitized(program)
        self.assertIn('does not come first', result.stderr)
        result = self.run_sanitized(program, options='stats=text', more=':verify_asan_link_order=0')
        self.require_worked(result)
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['asan'], result.stderr)
        self.assertGreater(int(re.search(r'; ([\d,]+) allocated', result.stderr).group(1).replace(',', '')), 20000)
        # The runtime allocates while it puts itself in front of the C library's functions.
        self.require_worked(self.run_sanitized(program, options=f'stats=off:record={self.folder}/%n.%p',
                                               more=':verify_asan_link_order=0'))
        first = f'{runtimes[0]}:{harness.LIBRARY}'
        self.require_worked(self.run_sanitized(program, first))
        self.require_overflow_found(self.run_sanitized(self.compile_with_sanitizer('overflow', OVERFLOW), first))

    def test_a_program_with_its_own_malloc_keeps_it(self):
        program = self.compile('own', self.cc(), '-fno-builtin', SOURCES / 'own_malloc.c')
        self.require_worked(self.run_program(program, environment={'LD_PRELOAD': ''}))
        self.require_worked(self.run_program(program))
        result = self.run_program(program, options='stats=text')
        self.require_worked(result)
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['own'], result.stderr)

    def test_a_program_that_wraps_malloc_and_free_alone(self):
        program = self.compile('wrapper', self.cc(), '-fno-builtin', '-DWRAPPER', SOURCES / 'own_malloc.c')
        self.require_worked(self.run_program(program))

    def test_a_parent_that_only_reads_the_library_is_no_parent_under_it(self):
        """As a debugger does: it maps the file, and the program that it starts reports."""
        script = ('import mmap, subprocess, sys; file = open(sys.argv[1], "rb"); kept = mmap.mmap(file.fileno(), 0, '
                  'access=mmap.ACCESS_READ); sys.exit(subprocess.run(["true"], env={"LD_PRELOAD": sys.argv[1]}).returncode)')
        result = subprocess.run([sys.executable, '-c', script, harness.LIBRARY], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['true'], result.stderr)

    def test_a_parent_under_the_library_by_another_name(self):
        library = shutil.copy(harness.LIBRARY, self.folder / 'other.so')
        result = self.run_program('/bin/sh', '-c', '/bin/cat /dev/null; true', options='stats=text',
                                  environment={'LD_PRELOAD': str(library)})
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['sh'])

    def test_a_daemon(self):
        """Double fork, a session of its own, standard error closed: the work is done and nothing is written elsewhere."""
        done = self.folder / 'done'
        script = f'({harness.ACTOR} work threads=2 fork=exit close=2 print=worked > {done} &) ; true'
        result = self.run_program('setsid', 'sh', '-c', script, options='stats=text')
        self.assertEqual(result.returncode, 0, result.stderr)
        for _ in range(200):
            if done.exists() and done.read_text():
                break
            subprocess.run(['sleep', '0.05'], check=True)
        self.assertEqual(done.read_text(), 'worked\n')


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
