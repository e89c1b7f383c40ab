#!/usr/bin/env python3
"""Bare places: no /proc, no /tmp, nothing but the libraries; containers with a process 1; set-user-ID programs."""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).parent.parent / 'recording'))
import harness
import reader
from harness import Hostile, needs_root

ENDS = {'exit=3': 3, '_exit=4': 4, 'quick_exit=5': 5, 'signal=15': -signal.SIGTERM, 'fault': -signal.SIGSEGV}


class Base(Hostile):
    def copy(self, program):
        """Program and library into the test's folder, where every user can reach them."""
        library = shutil.copy(harness.LIBRARY, self.folder / 'libtarn.so')
        return str(shutil.copy(program, self.folder / 'actor')), str(library)

    def require_namespaces(self, *options):
        if subprocess.run(['unshare', *options, 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('namespaces cannot be made here')


@needs_root
class NoProc(Base):
    def act_without_proc(self, *actions, **more):
        # The preload is for the actor alone: mount and sh are not what is tested.
        self.require_namespaces('--mount')
        words = ' '.join(f"'{word}'" for word in (harness.ACTOR, *actions))
        script = f'umount -l /proc && LD_PRELOAD="{harness.LIBRARY}" exec {words}'
        return self.run_program('env', '-u', 'LD_PRELOAD', 'unshare', '--mount', 'sh', '-c', script, **more)

    def test_programs_work_without_proc(self):
        for end, status in ENDS.items():
            for options in ('stats=off', 'stats=text', 'stats=json'):
                with self.subTest(f'{end} {options}'):
                    result = self.act_without_proc('work', 'threads=4', 'fork=exit', 'print=worked', end, options=options)
                    self.require_worked(result, status)

    def test_the_report_comes_without_proc(self):
        result = self.act_without_proc('work', 'print=worked', options='stats=text')
        self.require_worked(result)
        self.assertEqual(len(self.reports(result.stderr)), 1, result.stderr)

    def test_misuse_is_reported_without_proc(self):
        result = self.act_without_proc('free-wild', 'print=worked', options='stats=off:on_error=report')
        self.require_worked(result)
        self.require_one_line(result.stderr, 'free()', 'not from this heap')


@needs_root
class Chroot(Base):
    """A directory with the program, the library, libc and the loader: no /proc, /dev, /tmp, /etc."""

    def setUp(self):
        super().setUp()
        self.copy(harness.ACTOR)
        listed = subprocess.run(['ldd', harness.ACTOR], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r'(/\S+)', listed):
            target = self.folder / library.lstrip('/')
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)

    def act_inside(self, *actions, options, writable=True):
        def enter():
            os.chroot(self.folder)
            os.chdir('/')
            if not writable:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
        return self.run_program('/actor', *actions, options=options, environment={'LD_PRELOAD': '/libtarn.so'},
                                preexec_fn=enter)

    def test_programs_work_in_an_empty_room(self):
        for end, status in ENDS.items():
            for options in ('stats=off', 'stats=text', 'stats=json'):
                with self.subTest(f'{end} {options}'):
                    result = self.act_inside('work', 'threads=4', 'fork=_exit', 'print=worked', end, options=options)
                    self.require_worked(result, status)
                    self.assertEqual(len(self.reports(result.stderr)), int(options == 'stats=text'), result.stderr)

    def test_a_file_that_cannot_be_written_there_is_one_line(self):
        result = self.act_inside('work', 'print=worked', options='stats_file=/tmp/report')
        self.require_worked(result)
        self.require_one_line(result.stderr, 'stats_file', '/tmp/report')

    def test_users_without_rights_can_run_it(self):
        result = self.act_inside('work', 'print=worked', options='stats=text', writable=False)
        self.require_worked(result)
        self.assertEqual(len(self.reports(result.stderr)), 1, result.stderr)


@needs_root
class Containers(Base):
    def act_as_init(self, *actions, **more):
        """Process 1 of a pid namespace, for which the kernel's default actions do not count."""
        self.require_namespaces('--pid', '--fork')
        words = ' '.join(f"'{word}'" for word in (harness.ACTOR, *actions))
        script = f'LD_PRELOAD="{harness.LIBRARY}" exec {words}'
        return self.run_program('env', '-u', 'LD_PRELOAD', 'unshare', '--pid', '--fork', '--mount-proc', 'sh', '-c', script,
                                **more)

    def test_process_1_works_and_writes_its_report(self):
        result = self.act_as_init('work', 'threads=4', 'fork=exit', 'system=true', 'print=worked', options='stats=text')
        self.require_worked(result)
        self.assertEqual(self.reports(result.stderr), [('actor', 1)])

    def test_process_1_is_spared_by_signals_as_without_the_library(self):
        result = self.act_as_init('signal=15', 'work', 'print=worked', options='stats=text')
        self.require_worked(result)


class UserNamespaces(Base):
    """What an ordinary user can have: rights inside, ids mapped, process 1 of its own, and a /proc that shows no other."""

    def act_as_user(self, *actions, **more):
        options = ['--user', '--map-root-user', '--pid', '--fork', '--mount-proc']
        self.require_namespaces(*options)
        words = ' '.join(f"'{word}'" for word in (harness.ACTOR, *actions))
        script = f'LD_PRELOAD="{harness.LIBRARY}" exec {words}'
        return self.run_program('env', '-u', 'LD_PRELOAD', 'unshare', *options, 'sh', '-c', script, **more)

    def test_each_process_keeps_a_whole_recording(self):
        result = self.act_as_user('work', 'threads=4', 'fork=exit', 'print=worked',
                                  options=f'sample=4KiB:record={self.folder}/%n.%p')
        self.require_worked(result)
        self.assertEqual(self.reports(result.stderr), [('actor', 1)])
        recordings = [reader.Recording(path) for path in sorted(self.folder.glob('actor.*'))]
        self.assertEqual(sorted((recording.header.pid == 1, recording.header.parent_pid) for recording in recordings),
                         [(False, 1), (True, 0)])
        for recording in recordings:
            self.assertEqual(recording.faults(), [])
            self.assertEqual((recording.header.end, recording.header.end_value), (reader.EXIT, 0))
            self.assertGreater(recording.header.sampled_total, 100)

    def test_a_process_killed_in_there_leaves_one(self):
        result = self.act_as_user('fork=exit', f'system=LD_PRELOAD={harness.LIBRARY} {harness.ACTOR} work signal=9 || true',
                                  'print=worked', options=f'record={self.folder}/%n.%p')
        self.require_worked(result)
        ends = sorted(reader.Recording(path).header.end for path in self.folder.glob('actor.*'))
        self.assertEqual(ends, [reader.RUNNING, reader.EXIT, reader.EXIT])


@needs_root
class Secure(Base):
    """A set-user-ID program that is linked with the library: its user's options are not its own."""

    def setUp(self):
        super().setUp()
        options = pathlib.Path('/proc/self/mountinfo').read_text().splitlines()
        mounts = sorted(((line.split()[4], line.split()[5]) for line in options), key=lambda mount: len(mount[0]))
        flags = [flags for point, flags in mounts if str(self.folder).startswith(point)][-1]
        if 'nosuid' in flags:
            self.skipTest(f'set-user-ID does not count in {self.folder}')
        shutil.copy(harness.LIBRARY, self.folder / 'libtarn.so')
        self.program = self.folder / 'secure'
        source = self.folder / 'secure.c'
        source.write_text(PROGRAM)
        compiler = os.environ.get('CC', 'cc').split()
        subprocess.run([*compiler, '-fno-builtin', '-o', self.program, source, '-Wl,--no-as-needed',
                        self.folder / 'libtarn.so', f'-Wl,-rpath,{self.folder}'], check=True)
        self.folder.chmod(0o777)    # so that a report could be written
        self.nobody = pwd.getpwnam('nobody')

    def run_as_nobody(self, mode, options):
        self.program.chmod(mode)
        return self.run_program(self.program, options=options, environment={'LD_PRELOAD': ''}, user=self.nobody.pw_uid,
                                group=self.nobody.pw_gid, extra_groups=[])

    def test_options_are_ignored_and_no_report_is_written(self):
        file = self.folder / 'report'
        for options in ('stats=text', f'stats_file={file}', 'nonsense=1', 'on_error=report', f'record={file}',
                        f'stats=json:record={file}:sample=1:profile=on', 'limit=1MiB', 'limit=1MiB:requested=exact'):
            with self.subTest(options):
                result = self.run_as_nobody(0o4755, options)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, 'secure\n', ''))
                self.assertFalse(file.exists())

    # The same program without the bit, so that the test above says something.
    def test_without_the_bit_they_count(self):
        result = self.run_as_nobody(0o755, 'stats=text')
        self.assertEqual((result.returncode, result.stdout), (0, 'not secure\n'))
        self.assertEqual(len(self.reports(result.stderr)), 1, result.stderr)
        file = self.folder / 'report'
        result = self.run_as_nobody(0o755, f'limit=1MiB:stats=off:record={file}')
        self.assertEqual(result.stdout, 'limited\nnot secure\n', result.stderr)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)


PROGRAM = r'''
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
int main(void)
{
    for (int i = 0; i < 1000; i++)
        free(malloc(i * 100));
    void *volatile more = malloc(8 << 20);
    if (more == NULL)
        puts("limited");
    free(more);
    puts(getauxval(AT_SECURE) ? "secure" : "not secure");
    return 0;
}
'''


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
