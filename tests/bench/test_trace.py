#!/usr/bin/env python3
"""test_trace.py PROGRAMS FOLDER LIBTARN - recorder, pack and replay of PROGRAMS on the calls that FOLDER/calls makes."""

import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAMS = FOLDER = LIBTARN = None    # set from the command line below
PATIENCE_S = 60
FIRST, SECOND, THIRD, FOURTH, GROWN = 100003, 100019, 100043, 100049, 200003    # as in calls.c
OPERATIONS = ['malloc', 'calloc', 'memalign', 'realloc', 'free', 'leave', 'thread', 'end']
NUMBERS = {'malloc': 2, 'calloc': 2, 'memalign': 3, 'realloc': 2, 'free': 1, 'thread': 1, 'end': 0}
HEADER = struct.Struct('<8s4Q')


class Trace(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-trace-')).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.log, self.trace = self.folder / 'log', self.folder / 'trace'
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in ('LD_PRELOAD', 'TARN_OPTIONS', 'MALLOC_PERTURB_')}

    def run_(self, *argv, **environment):
        return subprocess.run([str(word) for word in argv], cwd=self.folder, check=False, text=True,
                              capture_output=True, timeout=PATIENCE_S, env={**self.environment, **environment})

    def record(self, mode):
        result = self.run_(FOLDER / 'calls', mode, LD_PRELOAD=str(PROGRAMS / 'recorder.so'),
                           BENCH_TRACE_LOG=str(self.log))
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        packed = self.run_(PROGRAMS / 'pack', self.log, self.trace)
        self.assertEqual((packed.returncode, packed.stderr), (0, ''))
        self.assertIn('unknown 0\n', packed.stdout)    # every free has its malloc
        return self.read()

    def read(self):
        """The trace by another reader: header, and tuples of thread, operation and its numbers."""
        content = self.trace.read_bytes()
        magic, *header = HEADER.unpack_from(content)
        self.assertEqual(magic, b'TARNTRC1')
        at, thread, events = HEADER.size, 0, []

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = content[at]
                at += 1
                value |= (byte & 0x7f) << shift
                shift += 7
                if byte < 0x80:
                    return value

        while at < len(content):
            operation = OPERATIONS[number()]
            numbers = [number() for _ in range(NUMBERS[operation])]
            if operation == 'thread':
                thread = numbers[0]
            else:
                events.append((thread, operation, *numbers))
        self.assertEqual(len(events), header[0])
        return dict(zip(('events', 'slots', 'threads', 'peak_bytes'), header)), events

    def replay(self, library=None, trace=None):
        environment = {'LD_PRELOAD': str(library), 'TARN_OPTIONS': 'stats=off'} if library else {}
        return self.run_(PROGRAMS / 'replay', trace or self.trace, **environment)

    def figures(self, library=None):
        result = self.replay(library)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        return {key: int(value) for key, value in (line.split() for line in result.stdout.splitlines())}

    def ours(self, events):
        """Without what the C library does for itself; slots are named by the size that came first."""
        known, shown = {}, []
        for thread, operation, *numbers in events:
            slot, *sizes = numbers or [None]
            if operation in ('malloc', 'calloc', 'memalign') and sizes[0] in (FIRST, SECOND, 3 * SECOND, THIRD, FOURTH):
                known[slot] = sizes[0]
            if slot in known:
                shown.append((thread, operation, known[slot], *sizes))
                if operation == 'free':
                    del known[slot]
        return shown

    def test_each_call_is_there_in_order(self):
        header, events = self.record('each')
        self.assertEqual(self.ours(events), [
            (0, 'malloc', FIRST, FIRST), (0, 'calloc', 3 * SECOND, 3 * SECOND), (0, 'memalign', THIRD, THIRD, 12),
            (0, 'memalign', FOURTH, FOURTH, 6), (0, 'realloc', FIRST, GROWN), (0, 'free', 3 * SECOND),
            (0, 'free', THIRD), (0, 'realloc', FIRST, 2 * FIRST), (0, 'free', FIRST), (0, 'malloc', SECOND, SECOND),
            (0, 'free', SECOND)])
        self.assertIn((0, 'malloc', 0), [event[:2] + event[3:] for event in events])
        self.assertEqual(header['peak_bytes'] // 1000, (GROWN + 3 * SECOND + THIRD + FOURTH) // 1000)

    def test_what_failed_is_not_there(self):
        _, events = self.record('failing')
        self.assertEqual(self.ours(events), [(0, 'malloc', FIRST, FIRST), (0, 'free', FIRST)])

    def test_threads_have_numbers_and_ends(self):
        header, events = self.record('threads')
        self.assertEqual(header['threads'], 3)
        self.assertEqual(self.ours(events), [(1, 'malloc', SECOND, SECOND), (0, 'free', SECOND),
                                             (2, 'malloc', SECOND, SECOND), (0, 'free', SECOND)])
        for thread in (1, 2):
            self.assertEqual([event[1] for event in events if event[0] == thread][-1], 'end')

    def test_a_child_is_not_recorded(self):
        _, events = self.record('child')
        self.assertEqual(self.ours(events), [(0, 'malloc', FIRST, FIRST)])

    def test_slots_are_used_again(self):
        header, events = self.record('many')
        self.assertLess(header['slots'], 41000)
        self.assertGreaterEqual(header['slots'], 40000)
        self.assertGreaterEqual(sum(event[1] == 'free' for event in events), 80000)

    @staticmethod
    def checksum(events):
        """The marks of all blocks that a replay reads: of those with room for one, at each free and realloc."""
        sizes, total = {}, 0
        for _, operation, *numbers in events:
            if operation == 'end':
                continue
            slot, size, *_ = *numbers, 0
            if operation in ('free', 'realloc') and sizes[slot] >= 8:
                total += slot + 1
            sizes[slot] = size
        return total

    def test_every_malloc_replays_the_same(self):
        for mode in ('each', 'failing', 'threads', 'crowd', 'many'):
            with self.subTest(mode):
                self.log.unlink(missing_ok=True)
                header, events = self.record(mode)
                system, tarn = self.figures(), self.figures(LIBTARN)
                self.assertEqual(system['checksum'], self.checksum(events))
                for key in ('checksum', 'live_bytes'):
                    self.assertEqual(system[key], tarn[key])
                live = {}
                for _, _operation, *numbers in events:
                    if numbers:
                        live[numbers[0]] = numbers[1] if len(numbers) > 1 else 0
                self.assertEqual(system['live_bytes'], sum(live.values()))
                self.assertGreaterEqual(header['peak_bytes'], system['live_bytes'])

    def test_what_lives_is_resident(self):
        self.record('crowd')
        for library in (None, LIBTARN):
            figures = self.figures(library)
            self.assertGreaterEqual(figures['fragmentation_percent'], 100)
            self.assertLess(figures['fragmentation_percent'], 1000)
            self.assertGreaterEqual(figures['rss_end_bytes'], figures['live_bytes'])

    def test_a_malloc_that_gives_a_block_out_twice_is_noticed(self):
        self.record('crowd')
        result = self.replay(FOLDER / 'libtwice.so')
        self.assertEqual(result.returncode, 1)
        self.assertIn('twice', result.stderr)

    def test_what_is_no_log_and_no_trace_is_refused(self):
        other = self.folder / 'other'
        for content in (b'', b'short', b'x' * 100):
            other.write_bytes(content)
            packed = self.run_(PROGRAMS / 'pack', other, self.folder / 'out')
            self.assertEqual(packed.returncode, 1)
            self.assertIn('not a log', packed.stderr)
            self.assertNotEqual(self.replay(trace=other).returncode, 0)
        self.assertFalse((self.folder / 'out').exists())

    def test_a_cut_or_damaged_trace_is_refused(self):
        self.record('threads')
        whole = self.trace.read_bytes()
        for length in (HEADER.size, HEADER.size + 3, len(whole) - 4):
            self.trace.write_bytes(whole[:length])
            result = self.replay()
            self.assertEqual((result.returncode, result.stdout), (1, ''))
        self.trace.write_bytes(whole[:HEADER.size] + b'\x00\xff\xff\xff\x7f' + whole[HEADER.size:])
        self.assertIn('slot', self.replay().stderr)


if __name__ == '__main__':
    PROGRAMS, FOLDER, LIBTARN = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
