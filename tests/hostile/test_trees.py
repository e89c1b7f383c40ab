#!/usr/bin/env python3
"""Process trees and neighbours: static and foreign programs among those under the library, auditors, programs that bring
a malloc of their own."""

import os
import pathlib
import shutil
import subprocess
import sys

import harness
from harness import Hostile

SOURCES = pathlib.Path(__file__).resolve().parent

# Works, then runs the command that its arguments are.
PROGRAM = r'''
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    for (int i = 1; i < 3000; i++)
        free(memset(malloc(i * 100), 1, i * 100));
    char *block = realloc(malloc(10), 1000000);
    printf("%s\n", block != NULL ? "worked" : "no memory");
    fflush(stdout);
    if (count > 1)
        execv(arguments[1], arguments + 1);
    return 0;
}
'''


class Trees(Hostile):
    def compile(self, name, compiler, *arguments, text=None):
        program = self.folder / name
        if text is not None:
            arguments = (*arguments, '-x', 'c', '-')
        result = subprocess.run([*compiler, '-g', '-o', program, *arguments], input=text, text=True, check=False,
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

    def test_an_auditor_of_the_loader(self):
        auditor = self.compile('auditor.so', self.cc(), '-shared', '-fPIC', SOURCES / 'auditor.c')
        for options in ('stats=off', 'stats=text'):
            result = self.act('work', 'threads=4', 'fork=exit', 'system=true', 'print=worked', options=options,
                              environment={'LD_AUDIT': str(auditor)})
            self.require_worked(result)
            self.assertEqual(len(self.reports(result.stderr)), int(options == 'stats=text'), result.stderr)

    def test_a_program_with_its_own_malloc_keeps_it(self):
        program = self.compile('own', self.cc(), '-fno-builtin', '-pthread', SOURCES / 'own_malloc.c')
        self.require_worked(self.run_program(program, environment={'LD_PRELOAD': ''}))
        self.require_worked(self.run_program(program))
        result = self.run_program(program, options='stats=text')
        self.require_worked(result)
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['own'], result.stderr)

    def test_a_program_that_wraps_malloc_and_free_alone(self):
        program = self.compile('wrapper', self.cc(), '-fno-builtin', '-pthread', '-DWRAPPER', SOURCES / 'own_malloc.c')
        self.require_worked(self.run_program(program))

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
