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
        auditor = self.compile('auditor.so', self.cc(), '-shared', '-fPIC', SOURCES / 'auditor.c')
        for options in ('stats=off', 'stats=text'):
            result = self.act('work', 'threads=4', 'fork=exit', 'system=true', 'print=worked', options=options,
                              environment={'LD_AUDIT': str(auditor)})
            self.require_worked(result)
            self.assertEqual(len(self.reports(result.stderr)), int(options == 'stats=text'), result.stderr)

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
