#!/usr/bin/env python3
"""test_top.py TARN LIBTARN PLANTED [CASE] - `tarn top` finds the recording of a process that runs, and shows it."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

import recordings
from recordings import Case, PATIENCE_S


class Top(Case):
    def test_once_is_one_screen(self):
        process, _ = self.start('leak')
        text = self.output('top', '--once', process.pid)
        self.assertIn(', running, 1 thread, ', text)
        for word in (f'pid {process.pid}', 'running', 'holes_bytes', 'block size', 'note_request (leak.c:',
                     'allocated/s'):
            self.assertIn(word, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 120)
        self.assertNotRegex(text, r'(?m)^ +0\.00 MiB +0\.00 MiB ')    # call sites that hold nothing

    def test_resident_memory_is_the_kernel_s_figure(self):
        process, _ = self.start_held('leak')
        shown = re.search(r'rss ([\d,.]+) MiB now', self.output('top', '--once', process.pid)).group(1)
        with open(f'/proc/{process.pid}/statm', encoding='utf-8') as statm:
            resident = int(statm.read().split()[1]) * os.sysconf('SC_PAGESIZE') / 2**20
        self.assertAlmostEqual(float(shown.replace(',', '')), resident, delta=resident / 10)    # each processor counts in batches

    def test_json_is_a_report(self):
        process, _ = self.start('leak')
        report = json.loads(self.output('top', '--json', process.pid))
        self.assertEqual((report['kind'], report['pid'], report['ended_by']), ('report', process.pid, 'running'))
        self.assert_adds_up(report)

    def test_a_recording_without_a_name_is_found(self):
        process, recording = self.start('leak')
        recording.unlink()
        result = self.tarn('top', '--once', process.pid)
        if result.returncode != 0:    # the kernel shows the link to those only who may have it
            self.assertIn('no recording', result.stderr)
        else:
            self.assertIn('note_request', result.stdout)

    def test_processes_that_are_not_ours_are_refused(self):
        self.assert_refused(self.tarn('top', '--once', os.getpid()), 'has no recording', 'tarn run')
        process = subprocess.Popen(['true'])
        process.wait()
        self.assert_refused(self.tarn('top', '--once', process.pid), 'no process')

    def test_bad_input_is_refused(self):
        for arguments in ([], ['x'], ['0'], ['-5'], ['1', '2'], ['--top', '0', '1'], ['--interval', '0', '1'],
                          ['--interval', 'often', '1'], ['99999999999']):
            with self.subTest(arguments):
                self.assert_refused(self.tarn('top', *arguments), 'tarn top: ')

    def screen_until(self, terminal, word):
        """What came to the terminal until `word` did."""
        shown, until = b'', time.monotonic() + PATIENCE_S
        while word not in shown and time.monotonic() < until:
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536)
        self.assertIn(word, shown)
        return shown

    def drawn(self, process, columns):
        """`tarn top` on a terminal, and that."""
        terminal, other = pty.openpty()
        self.addCleanup(os.close, terminal)
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
        top = subprocess.Popen([recordings.TARN, 'top', '-d', '0.2', str(process.pid)], stdin=other, stdout=other,
                               stderr=other, env={**self.environment, 'TERM': 'xterm'})
        os.close(other)
        self.addCleanup(top.kill)
        return top, terminal

    def test_a_terminal_is_drawn_on_until_q(self):
        process, _ = self.start('leak')
        top, terminal = self.drawn(process, 120)
        self.screen_until(terminal, b'note_request')
        os.write(terminal, b'q')
        self.assertEqual(top.wait(timeout=PATIENCE_S), 0)

    def test_a_narrow_terminal_has_all_of_the_verdict(self):
        process, _ = self.start_held('leak')
        verdict = json.loads(self.output('top', '--json', process.pid))['verdict']
        top, terminal = self.drawn(process, 32)
        shown = self.screen_until(terminal, b'block size').decode()
        os.write(terminal, b'q')
        self.assertEqual(top.wait(timeout=PATIENCE_S), 0)
        missing = [word for word in re.findall('[a-z_]{4,}', verdict) if word not in shown]
        self.assertEqual(missing, [], shown)

    def test_the_end_of_the_process_ends_it(self):
        process, _ = self.start('leak')
        top, terminal = self.drawn(process, 120)
        self.screen_until(terminal, b'note_request')
        self.end(process)
        self.screen_until(terminal, b'ended without a word')
        self.assertEqual(top.wait(timeout=PATIENCE_S), 0)


if __name__ == '__main__':
    recordings.main(sys.argv)
