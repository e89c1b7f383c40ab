#!/usr/bin/env python3
"""The report at exit: one write to standard error at every kind of end, and never into anything else."""

import json
import os
import signal
import socket
import sys

import harness
from harness import Hostile

# How the actor ends, and the status the parent must see.
ENDS = {'exit=0': 0, 'exit=3': 3, '_exit=4': 4, 'quick_exit=5': 5, 'thread-exit=6': 6,
        'signal=15': -signal.SIGTERM, 'signal=6': -signal.SIGABRT, 'signal=1': -signal.SIGHUP,
        'fault': -signal.SIGSEGV}

# What heap_rss_bytes is the sum of, less untouched_bytes (docs/statistics.md).
CAUSES = 'requested rounding holes tail retained pending metadata'.split()


class OneWrite(Hostile):
    """A datagram socket for standard error keeps apart what was written apart."""

    def messages(self, *actions, options, status):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            result = self.act(*actions, options=options, stderr=theirs)
            theirs.close()
            self.assertEqual(result.returncode, status)
            messages = []
            while message := ours.recv(1 << 20):
                messages.append(message.decode())
            return messages

    def test_the_report_is_one_write_at_every_end(self):
        for end, status in ENDS.items():
            with self.subTest(end):
                messages = self.messages('work', 'print=worked', end, options='stats=text', status=status)
                self.assertEqual(len(messages), 1, messages)
                self.assertEqual(len(self.reports(messages[0])), 1, messages)

    def test_the_report_is_one_json_object_in_one_write_at_every_end(self):
        for end, status in ENDS.items():
            with self.subTest(end):
                messages = self.messages('work', 'threads=3', end, options='stats=json', status=status)
                self.assertEqual(len(messages), 1, messages)
                report = json.loads(messages[0])
                self.assertIn('schema', report)
                self.assertGreater(report['rss_bytes'], report['heap_rss_bytes'])

    def test_the_causes_add_up_to_what_is_resident_at_every_end(self):
        for end, status in ENDS.items():
            with self.subTest(end):
                (message,) = self.messages('work', 'threads=3', end, options='stats=json', status=status)
                report = json.loads(message)
                causes = sum(report[f'{cause}_bytes'] for cause in CAUSES) - report['untouched_bytes']
                self.assertEqual(report['heap_rss_bytes'], causes)
                self.assertEqual(report['rss_bytes'], report['other_rss_bytes'] + report['heap_rss_bytes'])
                self.assertEqual(report['live_bytes'], report['requested_bytes'] + report['rounding_bytes'])

    def test_without_a_report_nothing_is_written(self):
        for end, status in ENDS.items():
            with self.subTest(end):
                self.assertEqual(self.messages('work', end, options='stats=off', status=status), [])


class StandardError(Hostile):
    def test_output_and_status_are_those_of_the_program(self):
        for end, status in ENDS.items():
            with self.subTest(end):
                self.require_worked(self.act('work', 'print=worked', end, options='stats=text'), status)

    def test_a_file_that_took_the_number_of_stderr_stays_clean(self):
        file = self.folder / 'data'
        for options in ('stats=text', 'stats=json', 'nonsense=1', 'stats_file=/nowhere/report'):
            for end, status in ENDS.items():
                with self.subTest(f'{options} {end}'):
                    result = self.act('work', f'reuse-stderr={file}', 'print=worked', end, options=options)
                    self.require_worked(result, status)
                    self.assertEqual(file.read_text(), 'data\n')

    def test_a_file_opened_with_stderr_closed_from_the_start_stays_clean(self):
        file = self.folder / 'data'
        for options in ('stats=text', 'stats=json', 'nonsense=1', 'stats_file=/nowhere/report', 'waste=x:stats=text'):
            for end, status in ENDS.items():
                with self.subTest(f'{options} {end}'):
                    result = self.act('work', f'reuse-stderr={file}', 'print=worked', end, options=options, stderr=None,
                                      preexec_fn=lambda: os.close(2))
                    self.require_worked(result, status)
                    self.assertEqual(file.read_text(), 'data\n')

    def test_a_misuse_message_stays_out_of_a_file_that_took_the_number_of_stderr(self):
        file = self.folder / 'data'
        result = self.act(f'reuse-stderr={file}', 'free-wild', 'print=worked', options='on_error=report')
        self.require_worked(result)
        self.assertEqual(file.read_text(), 'data\n')

    def test_any_of_the_standard_descriptors_may_be_closed_at_start(self):
        for closed in ([0], [2], [0, 2], [0, 1, 2], [1, 2], [1]):
            for options in ('stats=text', 'stats=off', 'nonsense=1'):
                with self.subTest(f'{closed} {options}'):
                    command = f'exec "{harness.ACTOR}" work fds system=true ' + ' '.join(f'{fd}>&-' for fd in closed)
                    result = self.run_program('env', '-u', 'LD_PRELOAD', 'sh', '-c',
                                              f'LD_PRELOAD="{harness.LIBRARY}" {command}', options=options)
                    self.assertEqual(result.returncode, 0, result.stderr)
                    if 1 not in closed:
                        left = [fd for fd in range(3) if fd not in closed]
                        self.assertEqual(result.stdout, ' '.join(map(str, left)) + ' open\n')

    def test_the_report_comes_although_the_program_closes_stderr_at_exit(self):
        result = self.act('close-stderr-at-exit', 'work', 'print=worked', options='stats=text')
        self.require_worked(result)
        self.assertEqual(len(self.reports(result.stderr)), 1, result.stderr)

    def test_no_report_comes_when_the_program_closes_stderr_before(self):
        result = self.act('close=2', 'work', 'print=worked', options='stats=text')
        self.require_worked(result)
        self.assertEqual(result.stderr, '')

    def test_a_reader_of_stderr_that_is_gone_changes_nothing(self):
        reader, writer = os.pipe()
        os.close(reader)
        for end, status in ENDS.items():
            with self.subTest(end):
                result = self.act('work', 'print=worked', end, options='stats=text', stderr=writer)
                self.require_worked(result, status)
        os.close(writer)

    def test_a_full_pipe_that_nobody_reads_does_not_hold_up_the_end(self):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, bytes(65536))
        except BlockingIOError:
            pass
        self.require_worked(self.act('work', 'print=worked', options='stats=text', stderr=writer, timeout=15))
        os.close(reader)
        os.close(writer)


class Descriptors(Hostile):
    def test_nothing_is_left_open(self):
        for options in ('stats=off', 'stats=text', 'stats=json', 'stats_file=report', 'nonsense=1'):
            with self.subTest(options):
                result = self.act('fds', 'work', 'threads=8', 'fds', options=options)
                self.assertEqual((result.returncode, result.stdout), (0, '0 1 2 open\n' * 2))

    def test_children_inherit_nothing(self):
        show = 'env -u LD_PRELOAD ls /proc/self/fd; true'
        for options in ('stats=off', 'stats=text', 'stats=json'):
            with self.subTest(options):
                for action in ('system', 'exec'):
                    result = self.act('work', f'{action}={show}', options=options)
                    self.assertEqual((result.returncode, result.stdout), (0, '0\n1\n2\n3\n'))    # 3: ls's own

    def test_exit_handlers_find_the_descriptors_they_knew(self):
        self.assertEqual(self.act('fds-at-exit', 'work', options='stats=off').stdout, '0 1 2 open\n')

    # A second descriptor keeps standard error for the report, behind the numbers that programs count on.
    def test_exit_handlers_find_at_most_one_more_with_a_report(self):
        fds = self.act('fds-at-exit', 'work', options='stats=text').stdout.split()
        self.assertEqual((fds[:3], fds[-1]), (['0', '1', '2'], 'open'))
        self.assertTrue(all(int(fd) >= 100 for fd in fds[3:-1]) and len(fds) <= 5, fds)


class Processes(Hostile):
    """One command makes one report, whatever it starts; with a file each process makes its own."""

    def require_reports(self, *names, actions, options='stats=text'):
        result = self.act(*actions, options=options)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([name for name, _ in self.reports(result.stderr)], list(names), result.stderr)

    def test_children_of_a_fork_write_none(self):
        self.require_reports('actor', actions=['work', 'fork=exit', 'fork=_exit', 'work'])

    def test_what_started_no_heap_has_the_same_children(self):
        self.require_reports('actor', actions=[])
        self.require_reports('actor', actions=['fork=exit', 'fork=_exit'])
        self.require_reports('actor', actions=['vfork-allocate', 'fork=exit'])
        self.require_reports(actions=['fork=exit', 'vfork-allocate'], options='stats_file=%n.%p')
        self.assertEqual(len(list(self.folder.iterdir())), 2)

    def test_a_child_that_started_no_heap_reports_when_it_is_asked_to(self):
        for actions in (['fork-report'], ['vfork-allocate', 'fork-report'], ['work', 'fork-report']):
            with self.subTest(actions):
                result = self.act(*actions, options='stats=text')
                processes = self.reports(result.stderr)
                self.assertEqual([name for name, _ in processes], ['actor', 'actor'], result.stderr)
                self.assertNotEqual(processes[0][1], processes[1][1], result.stderr)

    def test_commands_that_are_run_write_none(self):
        self.require_reports('actor', actions=['work', 'system=true; true | true'])

    def test_after_exec_the_program_at_the_end_writes_one(self):
        self.require_reports('sh', actions=['work', 'exec=true; true'])
        self.require_reports('true', actions=['work', 'exec=exec true'])

    def test_every_process_writes_its_file(self):
        self.require_reports(actions=['work', 'fork=exit', 'fork=_exit', 'system=true; true'],
                             options='stats_file=%n.%p')
        found = sorted(path.name.split('.')[0] for path in self.folder.iterdir())
        self.assertEqual(found, ['actor', 'actor', 'actor', 'sh', 'true', 'true'] if 'true' in found
                         else ['actor', 'actor', 'actor', 'sh'])
        for path in self.folder.iterdir():
            self.assertEqual(self.reports(path.read_text()), [(path.name.split('.')[0], int(path.name.split('.')[1]))])

    def test_a_shell_with_many_children_makes_one_report(self):
        script = 'for i in $(seq 50); do /bin/echo $i | cat; done'
        result = self.run_program('bash', '-c', script, options='stats=text')
        self.assertEqual(result.stdout, ''.join(f'{i}\n' for i in range(1, 51)))
        self.assertEqual([name for name, _ in self.reports(result.stderr)], ['bash'], result.stderr)


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
