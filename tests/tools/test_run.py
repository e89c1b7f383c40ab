#!/usr/bin/env python3
"""test_run.py TARN LIBTARN CASE - what `tarn run` promises: environment, status, signals, one line for bad input."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TARN = LIBTARN = None    # set from the command line below
SHOW = 'echo "$LD_PRELOAD|$TARN_OPTIONS"'
PATIENCE_S = 20


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-tools-')).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in ('LD_PRELOAD', 'TARN_OPTIONS', 'TARN_LIBRARY')}
        self.environment['XDG_STATE_HOME'] = str(self.folder / 'state')

    def tarn(self, *arguments, executable=None, **environment):
        return subprocess.run([executable or TARN, *map(str, arguments)], cwd=self.folder, check=False, text=True,
                              capture_output=True, timeout=PATIENCE_S, env={**self.environment, **environment})

    def run_quiet(self, *arguments, **more):
        return self.tarn('run', '--quiet', *arguments, **more)

    def shown(self, *options, **environment):
        """LD_PRELOAD and TARN_OPTIONS as the command sees them."""
        result = self.tarn('run', '--no-record', *options, '-O', 'stats=off', '--', 'sh', '-c', SHOW, **environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.strip().split('|')

    def assert_refused(self, result, *words):
        """One line that says what is wrong, and status 2."""
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, '')
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)


class Library(Tool):
    def other(self, folder='elsewhere'):
        (self.folder / folder).mkdir()
        return pathlib.Path(shutil.copy(LIBTARN, self.folder / folder))

    def test_the_one_of_the_build_tree_is_found(self):
        self.assertEqual(self.shown()[0], LIBTARN)

    def test_it_is_mapped_into_the_command(self):
        result = self.run_quiet('cat', '/proc/self/maps')
        self.assertIn(LIBTARN, result.stdout)

    def test_an_option_names_another(self):
        other = self.other()
        self.assertEqual(self.shown('--library', other)[0], str(other))

    def test_the_environment_names_another(self):
        other = self.other()
        self.assertEqual(self.shown(TARN_LIBRARY=str(other))[0], str(other))

    def test_the_option_wins_over_the_environment(self):
        other = self.other()
        self.assertEqual(self.shown('--library', other, TARN_LIBRARY='/nowhere')[0], str(other))

    def test_a_relative_path_becomes_absolute(self):
        other = self.other()
        self.assertEqual(self.shown('--library', 'elsewhere/libtarn.so')[0], str(other))

    def test_an_earlier_preload_stays(self):
        other = self.other()
        self.assertEqual(self.shown(LD_PRELOAD=str(other))[0], f'{LIBTARN}:{other}')

    def test_a_missing_one_is_named(self):
        self.assert_refused(self.tarn('run', '--library', '/nowhere', 'true'), '--library', '/nowhere')
        self.assert_refused(self.tarn('run', 'true', TARN_LIBRARY='/nowhere'), 'TARN_LIBRARY', '/nowhere')

    def test_a_path_that_the_loader_cannot_hold_is_refused(self):
        for folder in ('with space', 'with:colon'):
            result = self.tarn('run', '--library', self.other(folder), 'true')
            self.assert_refused(result, 'LD_PRELOAD', 'space', 'colon')


class Options(Tool):
    def options(self, *arguments, **environment):
        text = self.shown(*arguments, **environment)[1]
        self.assertTrue(text.endswith('stats=off'), text)
        return text.removesuffix('stats=off').rstrip(':')

    def test_each_becomes_its_key(self):
        for arguments, text in {
            ('--stats', 'json'): 'stats=json',
            ('--stats=text',): 'stats=text',
            ('--quiet',): 'stats=off',
            ('-q',): 'stats=off',
            ('--stats-file', '/tmp/%n.%p'): 'stats_file=/tmp/%n.%p',
            ('--requested', 'exact'): 'requested=exact',
            ('--waste', '10'): 'waste=10',
            ('--waste', '1000'): 'waste=1000',
            ('--on-error', 'report'): 'on_error=report',
            ('-O', 'key=value=x'): 'key=value=x',
            ('--profile',): 'profile=on',
            ('--no-profile',): 'profile=off',
            ('--sample', '64KiB'): 'sample=64KiB',
            ('--record-max', '8M'): 'record_max=8M',
            ('--follow',): 'follow=on',
            ('--no-follow',): 'follow=off',
            ('--signal', 'SIGUSR2'): 'record_signal=USR2',
            ('--signal', 'USR1'): 'record_signal=USR1',
        }.items():
            with self.subTest(arguments):
                self.assertEqual(self.options(*arguments), text)

    def test_the_environment_comes_first(self):
        self.assertEqual(self.options('--waste', '5', '--stats=json', TARN_OPTIONS='waste=9'),
                         'waste=9:waste=5:stats=json')

    def test_without_any_the_environment_stays(self):
        script = 'echo "${TARN_OPTIONS-none}"'
        plain = ('run', '--no-record', 'sh', '-c', script)
        self.assertEqual(self.tarn(*plain, TARN_OPTIONS='stats=off').stdout, 'stats=off\n')
        self.assertEqual(self.tarn(*plain).stdout, 'none\n')

    def test_a_relative_file_is_meant_from_here(self):
        self.assertEqual(self.options('--stats-file', 'out.%p'), f'stats_file={self.folder}/out.%p')

    def test_a_percent_sign_in_this_directory_is_no_pattern(self):
        self.folder = self.folder / '5%p'
        self.folder.mkdir()
        self.addCleanup(setattr, self, 'folder', self.folder.parent)
        self.assertEqual(self.options('--stats-file', 'out%%'), f'stats_file={self.folder.parent}/5%%p/out%%')

    def test_a_colon_in_a_value_is_refused(self):
        for arguments in (['--stats-file', '/a:b'], ['-O', 'key=a:b']):
            self.assert_refused(self.tarn('run', *arguments, 'true'), arguments[0], 'colon')

    def test_a_bad_value_is_refused(self):
        for option, value in (('--stats', 'xml'), ('--stats', ''), ('--stats', 'text|json'), ('--requested', 'maybe'),
                              ('--on-error', 'ignore'), ('--waste', '-1'), ('--waste', '5%'), ('--waste', ''),
                              ('--waste', '1001'), ('--waste', '99999999999999999999'), ('--stats-file', '%x'), ('--stats-file', 'x%'),
                              ('--stats-file', ''), ('--sample', '0'), ('--sample', '5x'), ('--sample', ''),
                              ('--sample', '1|K'), ('--record-max', '-1'), ('--signal', 'KILL'), ('--signal', 'X'),
                              ('--signal', ''), ('-O', 'novalue'), ('-O', '=x'), ('-O', 'key=')):
            with self.subTest(f'{option} {value}'):
                self.assert_refused(self.tarn('run', option, value, 'true'), 'tarn run: ', option)


class Recordings(Tool):
    """Where they go, and the lines at the end."""

    def recordings(self, folder):
        return sorted(path.name.split('.')[0] for path in folder.iterdir())

    def fresh(self):
        """The only directory that a run has made."""
        found = [path for path in (self.folder / 'state/tarn').iterdir() if not path.is_symlink()]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_a_fresh_directory_has_one_of_each_process(self):
        result = self.tarn('run', '--stats', 'off', 'sh', '-c', 'cat /dev/null; true & wait; expr 1 + 1; exit 3')
        self.assertEqual(result.returncode, 3)
        self.assertRegex(self.fresh().name, r'\Ash-\d{8}-\d{6}\Z')
        self.assertEqual(self.recordings(self.fresh()), ['cat', 'expr', 'sh'])
        lines = result.stderr.split('\n')
        self.assertRegex(lines[0], r'\Atarn: 3 processes recorded in .*/state/tarn/sh-[-0-9]+ \(')
        self.assertRegex(result.stderr, r'(?m)^  peak +[0-9.]+ MiB  sh \(pid \d+\), exit status 3$')
        self.assertEqual((self.folder / 'state/tarn/latest').resolve(), self.fresh())

    def test_an_exec_is_followed(self):
        result = self.tarn('run', '--stats', 'off', 'sh', '-c', 'exec sh -c "exec cat /dev/null"')
        self.assertEqual(self.recordings(self.fresh()), ['cat', 'sh', 'sh'])
        self.assertIn('tarn: 1 process recorded in ', result.stderr)
        ends = sorted(line.split(') ', 1)[0].split(', ', 1)[1] for line in result.stderr.splitlines()
                      if line.startswith('  peak'))
        self.assertEqual(ends, ['exit status 0', 'went on as cat (exec)', 'went on as sh (exec)'])
        first = next(path for path in self.fresh().iterdir() if path.name.startswith('sh.') and
                     path.name.endswith('.tarn'))
        self.assertIn('went on as sh (exec)', self.tarn('report', first).stdout)

    def test_an_exec_of_what_is_not_recorded_is_no_kill(self):
        script = 'exec env -u LD_PRELOAD sh -c "exit 3"'    # env itself is recorded
        result = self.tarn('run', '--stats', 'off', 'sh', '-c', script)
        self.assertEqual(result.returncode, 3)
        self.assertRegex(result.stderr, r'(?m)^  peak +[0-9.]+ MiB  env \(pid \d+\), exit status 3, not recorded: it '
                                        r'went on as another program \(exec\), or ended past the C library$')
        report = self.tarn('report', next(self.fresh().glob('env.*.tarn')))
        self.assertIn('no end: killed (SIGKILL, out of memory), went on unrecorded (exec), or exited without the C library',
                      report.stdout)

    def test_one_program_killed_is_told_so(self):
        result = self.tarn('run', '--stats', 'off', 'sh', '-c', 'kill -KILL $$')
        self.assertRegex(result.stderr, r'(?m)^  peak +[0-9.]+ MiB  sh \(pid \d+\), SIGKILL$')

    def test_the_report_stays_and_one_line_more_comes_behind_it(self):
        result = self.tarn('run', 'cat', '/dev/null')
        self.assertIn('rss_bytes', result.stderr)
        self.assertRegex(result.stderr.rstrip('\n').split('\n')[-1], r'\Atarn: 1 process recorded in ')

    def test_nothing_is_left_in_the_current_directory(self):
        self.tarn('run', 'cat', '/dev/null')
        self.assertEqual([path.name for path in self.folder.iterdir()], ['state'])

    def test_a_directory_can_be_named(self):
        for _ in range(2):
            result = self.tarn('run', '-o', '5%p', 'cat', '/dev/null')
            self.assertIn('1 process recorded', result.stderr)
        self.assertEqual(self.recordings(self.folder / '5%p'), ['cat', 'cat'])
        self.assertFalse((self.folder / 'state').exists())

    def test_quiet_is_quiet_and_records(self):
        result = self.tarn('run', '-q', 'cat', '/dev/null')
        self.assertEqual(result.stderr, '')
        self.assertEqual(self.recordings(self.fresh()), ['cat'])

    def test_json_stands_alone(self):
        result = self.tarn('run', '--stats', 'json', 'cat', '/dev/null')
        self.assertEqual(json.loads(result.stderr)['program'], 'cat')

    def test_none_when_not_wanted(self):
        self.tarn('run', '--no-record', 'cat', '/dev/null')
        self.assertFalse((self.folder / 'state').exists())

    def test_no_directory_stays_when_nothing_ran(self):
        self.tarn('run', '-q', 'no-such-command')
        self.assertEqual(list((self.folder / 'state/tarn').iterdir()), [])

    def test_the_command_alone_without_follow(self):
        self.tarn('run', '-q', '--no-follow', 'sh', '-c', 'cat /dev/null; true')
        self.assertEqual(self.recordings(self.fresh()), ['sh'])

    def test_a_record_option_wins(self):
        result = self.tarn('run', '-O', f'record={self.folder}/mine', 'cat', '/dev/null')
        self.assertNotIn('recorded', result.stderr)
        self.assertTrue((self.folder / 'mine').exists())

    def test_a_bad_directory_is_refused(self):
        (self.folder / 'file').write_text('')
        for bad in ('file', 'no/such', 'with:colon'):
            with self.subTest(bad):
                self.assert_refused(self.tarn('run', '-o', bad, 'echo', 'ran'), '-o', bad)

    def test_without_a_home_the_command_runs_all_the_same(self):
        result = self.tarn('run', '--stats', 'off', 'echo', 'ran', XDG_STATE_HOME='/proc/none')
        self.assertEqual((result.returncode, result.stdout), (0, 'ran\n'))
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        self.assertIn('no recording', result.stderr)


class CommandLine(Tool):
    def test_help_tells_every_option(self):
        result = self.tarn('run', '--help')
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        for word in ('--stats', '--stats-file', '--quiet', '--requested', '--waste', '--on-error', '--library',
                     'KEY=VALUE', 'COMMAND', '128', '126', '127'):
            self.assertIn(word, result.stdout)

    def test_help_names_the_subcommands(self):
        result = self.tarn('--help')
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assertRegex(result.stdout, r'(?m)^  run +')

    def test_version_is_one_line(self):
        result = self.tarn('--version')
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r'\Atarn \d+\.\d+\.\d+\n\Z')

    def test_what_it_does_not_know_is_refused(self):
        for arguments in ([], ['walk'], ['--walk'], ['run'], ['run', '--'], ['run', '--walk', 'true'],
                          ['run', '--stats']):
            with self.subTest(arguments):
                self.assert_refused(self.tarn(*arguments))

    def test_the_command_keeps_its_own_options(self):
        result = self.run_quiet('echo', '--stats', '-O', '--help', '--')
        self.assertEqual(result.stdout, '--stats -O --help --\n')

    def test_two_dashes_end_the_options(self):
        self.assertEqual(self.run_quiet('--', 'echo', '--', 'a b').stdout, '-- a b\n')


class ExitStatus(Tool):
    def test_it_is_the_command_s(self):
        for status in (0, 1, 3, 255):
            self.assertEqual(self.run_quiet('sh', '-c', f'exit {status}').returncode, status)

    def test_a_signal_is_128_and_its_number(self):
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            self.assertEqual(self.run_quiet('sh', '-c', f'kill -{int(number)} $$').returncode, 128 + number)

    def test_an_unknown_command_is_127(self):
        result = self.run_quiet('no-such-command')
        self.assertEqual((result.returncode, result.stderr.count('\n')), (127, 1))
        self.assertIn('no-such-command', result.stderr)

    def test_a_file_that_cannot_be_executed_is_126(self):
        (self.folder / 'plain').write_text('text\n')
        result = self.run_quiet('./plain')
        self.assertEqual((result.returncode, result.stderr.count('\n')), (126, 1))

    def test_it_is_known_although_sigchld_was_ignored(self):
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            # It waits for the end of its input: ended before the signal is heeded again, its status would be lost here.
            result = subprocess.Popen([TARN, 'run', '-q', 'sh', '-c', 'read line; exit 7'], env=self.environment,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            signal.signal(signal.SIGCHLD, before)
            result.communicate(timeout=PATIENCE_S)
            self.assertEqual(result.returncode, 7)
        finally:
            signal.signal(signal.SIGCHLD, before)


class Signals(Tool):
    """A command that tells when it is ready, and traps what comes."""

    SCRIPT = 'trap "echo got {name}; exit 9" {name}; echo ready; while :; do sleep 0.05; done'

    def start(self, script, prefix=(), **more):
        process = subprocess.Popen([*prefix, TARN, 'run', '-q', 'sh', '-c', script], env=self.environment, text=True,
                                   stdout=subprocess.PIPE, start_new_session=True, **more)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), 'ready\n')
        return process

    @staticmethod
    def end(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.stdout.close()
        process.wait()

    def assert_ends(self, process, output, status):
        self.assertEqual(process.communicate(timeout=PATIENCE_S)[0], output)
        self.assertEqual(process.returncode, status)

    def test_term_and_hup_are_handed_on(self):
        for name in ('TERM', 'HUP'):
            process = self.start(self.SCRIPT.format(name=name))
            process.send_signal(getattr(signal, 'SIG' + name))
            self.assert_ends(process, f'got {name}\n', 9)

    def test_the_terminal_s_interrupt_is_left_to_the_command(self):
        for name in ('INT', 'QUIT'):
            process = self.start(self.SCRIPT.format(name=name))
            os.killpg(process.pid, getattr(signal, 'SIG' + name))
            self.assert_ends(process, f'got {name}\n', 9)

    def test_an_interrupt_of_tarn_alone_does_not_end_it(self):
        process = self.start('echo ready; sleep 0.5; echo done; exit 4')
        process.send_signal(signal.SIGINT)
        self.assert_ends(process, 'done\n', 4)

    def test_hup_stays_ignored_under_nohup(self):
        process = self.start('echo ready; sleep 0.5; echo done; exit 4', prefix=['nohup'], stdin=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        self.assert_ends(process, 'done\n', 4)

    def test_the_command_starts_with_the_signals_of_its_parent(self):
        show = ['grep', '^Sig[^Q]', '/proc/self/status']    # SigQ counts the signals of all the user's processes
        plain = subprocess.run(show, capture_output=True, text=True, check=True)
        under = self.run_quiet('--no-record', *show)    # a recording tells of fatal signals, and so handles them
        self.assertEqual(under.stdout, plain.stdout)


if __name__ == '__main__':
    TARN, LIBTARN = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:3])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
