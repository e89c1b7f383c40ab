#!/usr/bin/env python3
"""Ordinary programs under the limits that administrators set: they run as they do without the library."""

import json
import os
import pathlib
import re
import resource
import shutil
import struct
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).parent.parent / 'recording'))
import harness
import memory_limit
from harness import Hostile, needs_root

# Deterministic, each with some allocation of its own.
COMMANDS = [
    ['echo', 'text'],
    ['ls', '-l', '/usr/bin'],
    ['sort', '-R', '--random-source=/bin/sort', '/etc/passwd'],
    ['/usr/bin/python3', '-c', 'print(sum(len(str(i)) for i in range(100000)), [0] * 10)'],
    ['/usr/bin/perl', '-e', 'my %h; $h{$_ % 1000} .= $_ for 1..50000; print join(",", map {length} sort values %h), "\n"'],
    ['sh', '-c', 'for i in 1 2 3; do echo $i | cat; done'],
]
KIB, MIB = 1024, 1 << 20
SHIPPED_MOST = 720 * KIB  # loaded; with assertions it is 900


def loaded_bytes(library):
    """Addresses from the first to the last byte of what is loaded of an ELF file of 64 bits."""
    data = pathlib.Path(library).read_bytes()
    table, = struct.unpack_from('<Q', data, 32)
    entry_bytes, count = struct.unpack_from('<HH', data, 54)
    segments = (struct.unpack_from('<IIQQQQQ', data, table + i * entry_bytes) for i in range(count))
    return max(address + bytes_there for kind, _, _, address, _, _, bytes_there in segments if kind == 1)


class Limits(Hostile):
    def require_same(self, commands=COMMANDS, options='stats=off', **more):
        """Output and status as without the library, under the same limits; which must let the program run."""
        for command in commands:
            with self.subTest(' '.join(command)[:40]):
                without = self.run_program(*command, environment={'LD_PRELOAD': ''}, **more)
                self.assertEqual(without.returncode, 0, without.stderr)
                result = self.run_program(*command, options=options, **more)
                self.assertEqual((result.returncode, result.stdout), (0, without.stdout), result.stderr)
                self.assertEqual(options == 'stats=text', bool(self.reports(result.stderr)), result.stderr)

    def under(self, limit, amount):
        return {'preexec_fn': lambda: resource.setrlimit(limit, (amount, amount))}

    def test_100000_kib_of_addresses_are_enough(self):
        self.require_same(**self.under(resource.RLIMIT_AS, 100000 * KIB))

    def test_200000_kib_of_addresses_are_enough(self):
        self.require_same(**self.under(resource.RLIMIT_AS, 200000 * KIB))

    def test_the_report_comes_under_an_address_limit(self):
        self.require_same(options='stats=text', **self.under(resource.RLIMIT_AS, 100000 * KIB))

    # The least in which the programs run without the library, and a mebibyte for its code and tables.
    def test_a_little_more_than_the_programs_need_is_enough(self):
        for command in COMMANDS[:3]:
            with self.subTest(' '.join(command)[:40]):
                least = self.least_addresses(command)
                self.require_same([command], **self.under(resource.RLIMIT_AS, least + 8 * MIB))

    def least_addresses(self, command):
        for amount in range(2 * MIB, 200 * MIB, MIB // 2):
            result = self.run_program(*command, environment={'LD_PRELOAD': ''}, **self.under(resource.RLIMIT_AS, amount))
            if result.returncode == 0:
                return amount
        self.fail(f'{command} does not run')

    def test_a_data_limit_of_20_mib_is_enough(self):
        self.require_same(**self.under(resource.RLIMIT_DATA, 20 * MIB))

    def test_a_data_limit_of_8_mib_is_enough_for_small_programs(self):
        self.require_same(COMMANDS[:2], **self.under(resource.RLIMIT_DATA, 8 * MIB))

    def test_a_small_stack_is_enough(self):
        self.require_same(COMMANDS[:2], options='stats=text', **self.under(resource.RLIMIT_STACK, 128 * KIB))

    def test_no_locked_memory_is_no_hindrance(self):
        self.require_same(**self.under(resource.RLIMIT_MEMLOCK, 0))

    def test_no_descriptor_left(self):
        """Nothing can be opened after the start, /proc neither."""
        def preexec():
            os.closerange(3, 1024)
            resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))    # the loader needs one for the libraries
        result = self.act('work', 'threads=4', 'print=worked', options='stats=text', preexec_fn=preexec)
        self.require_worked(result)

    def test_all_future_memory_locked(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')
        script = ('import ctypes, os, sys; libc = ctypes.CDLL(None); '
                  'assert libc.mlockall(3) == 0; blocks = [bytearray(i) for i in range(0, 400000, 1000)]; '
                  'del blocks[::2]; blocks = None; print("done")')
        self.require_same([['/usr/bin/python3', '-c', script]])


class Locked(Hostile):
    """mlockall, in a process in which most addresses are reserved and hold nothing."""

    SCRIPT = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)

def status(key):
    return next(int(line.split()[1]) << 10 for line in open('/proc/self/status') if line.startswith(key + ':'))

def lock(flags):
    return 'locked' if libc.mlockall(flags) == 0 else errno.errorcode[ctypes.get_errno()]

def fill():
    return [bytearray(i) for i in range(0, 400000, 1000)] + [str(i) * 3 for i in range(200000)]    # 95 MB

"""

    def run_script(self, script, options='stats=off'):
        result = self.run_program('/usr/bin/python3', '-c', self.SCRIPT + script, options=options,
                                  environment={'PYTHONMALLOC': 'malloc'})
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.split()

    @needs_root
    def test_what_is_reserved_is_not_locked_by_one_who_then_drops_his_privileges(self):
        """It would count against his limit, and none of his own memory could be locked any more."""
        figures = self.run_script("""
import os, resource
assert lock(1) == 'locked'
resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
blocks = fill(); block = bytearray(30 << 20)
print(status('VmLck'))
""")
        self.assertLess(int(figures[0]), 100 * MIB)    # the program and its libraries

    @needs_root
    def test_the_part_of_the_front_map_that_is_not_in_use_is_not_locked(self):
        """It can be read, but holds nothing, and would count against the limit of one who then drops his privileges."""
        for flags in (1, 3):
            with self.subTest(flags):
                idle = self.run_script(f"""
import re
assert lock({flags}) == 'locked'
for mapping in re.split('^(?=[0-9a-f]+-[0-9a-f]+ )', open('/proc/self/smaps').read(), flags=re.M):
    if re.match('[0-9a-f]+-[0-9a-f]+ r--p 0+ 00:00 0 *(.anon:.*)?$', mapping, re.M):
        size = int(re.search('^Size: *([0-9]+)', mapping, re.M)[1])
        print(size, 'lo' in re.search('^VmFlags:(.*)', mapping, re.M)[1].split())
""")
                self.assertGreater(sum(map(int, idle[0::2])), 256)    # KiB; 1 MiB for each GiB of the machine's memory
                self.assertNotIn('True', idle[1::2])

    @needs_root
    def test_what_the_kernel_joins_to_the_front_map_is_locked(self):
        """A mapping of the program's, just behind it and of the same kind."""
        figures = self.run_script("""
import re
libc.mmap.restype = ctypes.c_void_p
def mapping_of(address):
    for mapping in re.split('^(?=[0-9a-f]+-[0-9a-f]+ )', open('/proc/self/smaps').read(), flags=re.M)[1:]:
        start, end = (int(each, 16) for each in mapping.split()[0].split('-'))
        if start <= address < end:
            return start, mapping
idle = [int(match[1], 16) for match in re.finditer('^[0-9a-f]+-([0-9a-f]+) r--p 0+ 00:00 0 *(?:.anon:.*)?$', open('/proc/self/maps').read(), re.M)]
end = idle[-1]    # the second small zone's part, which ends the map
block = libc.mmap(ctypes.c_void_p(end), ctypes.c_size_t(4096), 1, 0x104022, -1, ctypes.c_long(0))    # private, NORESERVE, FIXED_NOREPLACE
if block != end: print('taken')
else:
    joined = mapping_of(end)[0] < end
    assert lock(1) == 'locked'
    print(joined, 'lo' in re.search('^VmFlags:(.*)', mapping_of(end)[1], re.M)[1].split())
""")
        if figures[0] != 'True':
            self.skipTest('the kernel joins nothing to it here')
        self.assertEqual(figures[1], 'True')

    def require_little_more_resident(self, served, without):
        self.assertEqual((served[0], without[0]), ('locked, much', 'locked, much'))
        self.assertLess(int(served[1]), int(without[1]) + 512 * KIB)    # the library's tables are 1.8 MiB

    @needs_root
    def test_own_tables_are_not_resident_because_all_is_locked(self):
        for flags in (1, 3):
            with self.subTest(flags):
                self.require_little_more_resident(*(
                    self.run_program(harness.ACTOR, f'lock-all={flags}', 'print-resident', environment=environment).stdout.splitlines()
                    for environment in ({}, {'LD_PRELOAD': '', 'TARN_TEST_LIBRARY': 'libc'})))

    def test_own_tables_are_not_resident_because_all_that_holds_memory_is_locked(self):
        """By one who may not lock the reservation."""
        for flags in (1, 3):
            with self.subTest(flags):
                self.require_little_more_resident(*self.act_as_nobody(f'lock-all={flags}', 'print-resident', lockable=8 * MIB))

    @needs_root
    def test_memory_is_given_back_although_all_is_locked(self):
        """Neither what is reserved becomes resident by mlockall, nor what was given back before or is so afterwards."""
        file = self.folder / 'json'
        figures = self.run_script("""
blocks = fill(); del blocks; before = status('VmRSS')
assert lock(3) == 'locked'; at_first = status('VmRSS')
blocks = fill(); full = status('VmRSS'); del blocks
print(before, at_first, full, status('VmRSS'))
""", options=f'stats=json:stats_file={file}')
        before, at_first, full, freed = map(int, figures)
        self.assertLess(at_first, before + 24 * MIB)    # the program and its libraries are resident whole
        self.assertGreater(full, at_first + 80 * MIB)
        if int(os.uname().release.split('.')[0]) < 6:
            self.skipTest('kernels before 5.18 give back no locked memory')
        self.assertLess(freed, at_first + 16 * MIB)
        self.assertLess(json.loads(file.read_text())['retained_bytes'], 8 * MIB)

    @needs_root
    def test_what_comes_later_is_locked(self):
        for flags in (2, 3, 2 | 4, 3 | 4):
            with self.subTest(flags):
                child, unlocked, locked = map(int, self.run_script(f"""
import os
assert lock({flags}) == 'locked'; before = status('VmLck')
blocks = fill(); locked = status('VmLck') - before
if os.fork() == 0: more = fill(); print(status('VmLck'), flush=True); os._exit(0)
os.wait(); libc.munlockall(); more = fill(); print(status('VmLck'), locked)
"""))
                if not flags & 1:
                    self.assertGreater(locked, 80 * MIB)    # else the reservation is locked, and most of it is no memory
                self.assertEqual((child, unlocked), (0, 0))

    def act_as_nobody(self, *actions, lockable):
        """Under a limit that counts; with the library, and without it."""
        most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        if most != resource.RLIM_INFINITY and most < lockable:
            self.skipTest('even less may be locked here')
        actor, library = (shutil.copy(file, self.folder) for file in (harness.ACTOR, harness.LIBRARY))

        def become():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (lockable, lockable))
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
        results = [self.run_program(actor, *actions, preexec_fn=become, environment=environment)
                   for environment in ({'LD_PRELOAD': str(library)}, {'LD_PRELOAD': '', 'TARN_TEST_LIBRARY': 'libc'})]
        for result in results:
            self.assertEqual(result.returncode, 0, result.stderr)
        return [result.stdout.splitlines() for result in results]

    def test_a_small_limit_is_enough_for_what_holds_memory(self):
        """As without the library: all that is there is locked, and what comes later as far as the limit goes.

        All of it as shipped. With assertions the library's own code, which is locked, too, is 240 KiB more, and takes what the last
        of these blocks would need; more than 8 MiB is not to be had without privileges."""
        if loaded_bytes(harness.LIBRARY) > SHIPPED_MOST:
            self.skipTest('the library is not as shipped: its own code takes more')
        served, without = self.act_as_nobody('lock-all=3', 'hold=2', 'hold=20', 'unlock-all', 'hold=20', lockable=8 * MIB)
        self.assertEqual(without, ['locked, much', 'held, locked', 'no memory, locked', 'held, not locked'])
        self.assertEqual(served, without)

    def test_a_limit_that_is_too_small_is_told(self):
        for lockable, told in ((MIB, 'Cannot allocate memory, little'), (0, 'Operation not permitted, little')):
            served, without = self.act_as_nobody('lock-all=3', 'hold=20', lockable=lockable)
            self.assertEqual(without, [told, 'held, not locked'])
            self.assertEqual(served, without)


@needs_root
class Overcommit(Hostile):
    """vm.overcommit_memory=2 for a few seconds, for the whole machine; a watcher puts it back whatever happens here."""

    SETTING = pathlib.Path('/proc/sys/vm/overcommit_memory')
    WATCHER = ('import os, signal, sys\n'
               'for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n'
               'sys.stdin.read()\n'    # to the end of the test, or of this process
               'open(sys.argv[1], "w").write(sys.argv[2])\n')

    def setUp(self):
        super().setUp()
        before = self.SETTING.read_text()
        watcher = subprocess.Popen([sys.executable, '-c', self.WATCHER, self.SETTING, before], stdin=subprocess.PIPE,
                                   start_new_session=True)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.stdin.close)
        if self.committed() > self.limit() * 0.8:
            self.skipTest('this machine has promised too much already')
        try:
            self.SETTING.write_text('2')
        except OSError as error:
            self.skipTest(f'cannot be set: {error}')

    def meminfo(self, key):
        for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
            if line.startswith(key + ':'):
                return int(line.split()[1]) * KIB
        raise KeyError(key)

    def committed(self):
        return self.meminfo('Committed_AS')

    def limit(self):
        return self.meminfo('CommitLimit')

    def test_programs_run_without_overcommit(self):
        for command in COMMANDS:
            result = self.run_program(*command, options='stats=text')
            self.assertEqual(result.returncode, 0, result.stderr)
        self.require_worked(self.act('work', 'threads=8', 'work', 'print=worked'))

    # What is reserved but not used must not be counted: otherwise a few processes would take all that may be promised.
    def test_a_small_program_commits_little(self):
        result = self.run_program('cat', '/proc/self/smaps')
        total = size = 0
        for line in result.stdout.splitlines():
            if line.startswith('Size:'):
                size = int(line.split()[1]) * KIB
            elif line.startswith('VmFlags:') and 'ac' in line.split():    # accounted
                total += size
        self.assertGreater(total, 0)
        self.assertLess(total, 8 * MIB)


class HeapLimit(Hostile):
    """limit=BYTES: the heap refuses, and says so once."""

    def fill(self, options):
        result = self.act('fill-up', 'work', options=f'limit=32MiB:{options}')
        self.assertEqual(result.returncode, 0, result.stderr)
        blocks = int(result.stdout.split()[0])
        self.assertTrue(500 <= blocks <= 512, blocks)    # what the C library and the program hold is in it, too
        return result

    def test_it_is_said_once_with_who_holds_what(self):
        result = self.fill('stats=off')
        self.assertEqual(result.stderr.count('is reached'), 1, result.stderr)
        self.assertRegex(result.stderr, r'\Atarn: \S+ \(pid \d+\): limit=33554432 is reached: '
                                        r'a request of 65536 bytes is refused\ntarn: \S+ \(pid \d+\), at request\n')
        self.assertIn('limit_bytes 32.00 MiB, of the heap', result.stderr)
        live = int(re.search(r'live_blocks (\d+)', result.stderr.replace(',', '')).group(1))
        self.assertTrue(500 <= live <= 600, live)

    def test_the_recording_is_named(self):
        path = self.folder / 'a recording'
        result = self.fill(f'stats=off:record={path}')
        self.assertIn(f'\ntarn: who holds it: tarn report {path}\n', result.stderr)

    def test_the_exit_report_names_it(self):
        result = self.act('work', options=f'limit=1GiB:stats=json:stats_file={self.folder}/json')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads((self.folder / 'json').read_text())['limit_bytes'], 1 << 30)

    def test_a_limit_that_is_none_is_one_line(self):
        for value in ('0', '4095', '1MB-', 'x', '-1', '99999999999999999999'):
            result = self.act('work', 'print=worked', options=f'limit={value}:stats=off')
            self.require_worked(result)
            self.require_one_line(result.stderr, 'limit', value, '1MiB')


class CgroupLimit(Hostile):
    @needs_root
    def test_the_memory_cgroups_limit_is_shown(self):
        try:
            limit = memory_limit.MemoryLimit(100 * MIB)
        except memory_limit.Unavailable as error:
            self.skipTest(str(error))
        self.addCleanup(limit.remove)
        result = self.act('work', options='stats=text', preexec_fn=limit.enter)
        self.assertIn('cgroup_limit_bytes 100.00 MiB', result.stderr)
        result = self.act('work', options=f'stats=json:stats_file={self.folder}/json', preexec_fn=limit.enter)
        self.assertEqual(json.loads((self.folder / 'json').read_text())['cgroup_limit_bytes'], 100 * MIB)


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
