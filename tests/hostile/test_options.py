#!/usr/bin/env python3
"""TARN_OPTIONS that make no sense: one line for each thing that is wrong, and the program runs as ever."""

import sys

import harness
from harness import Hostile

# Each entry is wrong in one way. `stats=off` behind it keeps the report out of what is looked at.
WRONG = [
    'nonsense', 'nonsense=1', 'nonsense=', '=', '=x', '==', 'stats', 'stats=', 'stats=xml', 'stats=TEXT', 'stats=text ',
    ' stats=text', 'Stats=text', 'stats=off=on', 'stats_file', 'stats_file=', 'stats_file=%', 'stats_file=%x',
    'stats_file=a%', 'stats_file=' + 'x' * 5000, 'waste=', 'waste=abc', 'waste=-1', 'waste=+1', 'waste=1001',
    'waste=3%', 'waste=0x10', 'waste=1e2', 'waste=99999999999999999999999', 'waste=18446744073709551619', 'waste= 3',
    'on_error=', 'on_error=maybe', 'on_error=Abort', 'requested=', 'requested=maybe', 'x' * 100000, 'stats=' + 'x' * 100000,
    'x=' + 'y' * 100000, '%s%n%p=%d', 'stats=%s%s%s%n', '\t', ' ', '-', 'stats,off', 'statsx=off', 'stat=off',
]

# What a terminal or a log reader would take for something else.
STRANGE = ['st\nats=off', 'stats=o\nff', 'stats=\x1b[31mred', '\x1b]0;title\x07=1', 'stats=\r\n', 'caf\u00e9=1', 'stats=\x7f',
           'stats=\x01']


class Options(Hostile):
    def require_lines(self, options, count):
        result = self.act('work', 'print=worked', 'exit=3', options=options)
        self.require_worked(result, 3)
        lines = result.stderr.splitlines(keepends=True)
        self.assertEqual(len(lines), count, result.stderr[:2000])
        for line in lines:
            self.require_one_line(line)

    def test_each_wrong_entry_is_one_line(self):
        for wrong in WRONG:
            with self.subTest(wrong[:60]):
                self.require_lines(f'{wrong}:stats=off', 1)

    def test_a_wrong_entry_is_one_line_wherever_it_stands(self):
        for options in ('nonsense:stats=off', 'stats=off:nonsense', ':nonsense:stats=off:', 'stats=off:::nonsense:::'):
            with self.subTest(options):
                self.require_lines(options, 1)

    def test_as_many_lines_as_wrong_entries(self):
        self.require_lines('nonsense:waste=x:stats=off:on_error=y', 3)
        self.require_lines(':'.join(['nonsense'] * 50 + ['stats=off']), 50)

    def test_control_characters_do_not_reach_the_terminal(self):
        for strange in STRANGE:
            with self.subTest(repr(strange)):
                self.require_lines(f'{strange}:stats=off', 1)

    def test_the_line_names_what_is_wrong(self):
        for options, words in {'nonsense=1': ['nonsense'], 'stats=xml': ['stats', 'xml', 'json'],
                               'waste=1001': ['waste', '1001'], 'on_error=maybe': ['on_error', 'maybe', 'abort'],
                               'lonely': ['lonely', 'value']}.items():
            self.require_one_line(self.act('work', options=f'{options}:stats=off').stderr, *words)

    def test_nothing_wrong_is_no_line(self):
        for options in ('stats=off', ':stats=off', 'stats=off:', ':::stats=off:::', 'stats=off:stats=off',
                        'waste=0:stats=off', 'waste=1000:stats=off', 'stats=text:stats=off', 'on_error=report:stats=off',
                        'requested=exact:stats=off', 'requested=sampled:stats=off'):
            with self.subTest(options):
                self.require_lines(options, 0)

    def test_no_options_and_empty_options_make_a_report(self):
        for options in (None, '', ':', '::::'):
            with self.subTest(options):
                result = self.act('work', 'print=worked', options=options)
                self.require_worked(result)
                self.assertEqual(len(self.reports(result.stderr)), 1, result.stderr)
                self.assertEqual(result.stderr.count('tarn: '), 1, result.stderr)

    def test_a_wrong_entry_leaves_the_others_valid(self):
        result = self.act('work', 'free-wild', 'print=worked', options='nonsense:on_error=report:stats=off')
        self.require_worked(result)
        self.assertEqual(result.stderr.count('\n'), 2, result.stderr)

    def test_options_of_later_versions_are_one_line_or_none(self):
        for options in ('record=/nowhere/x', 'profile=on', 'sample=1000', 'limit=1000000000', 'huge=auto', 'harden=1'):
            with self.subTest(options):
                result = self.act('work', 'print=worked', options=f'{options}:stats=off')
                self.require_worked(result)
                self.assertLessEqual(result.stderr.count('\n'), 1, result.stderr)

    def test_children_do_not_repeat_the_line(self):
        result = self.act('work', 'fork=exit', 'system=true; true', 'print=worked', options='nonsense:stats=off')
        self.require_worked(result)
        self.require_one_line(result.stderr, 'nonsense')

    # The option table must not depend on where the environment's strings lie, or on how many there are.
    def test_options_are_found_in_a_large_environment(self):
        more = {f'VARIABLE_{i}': 'x' * 1000 for i in range(1000)}
        self.require_worked(self.act('work', 'print=worked', options='stats=off', environment=more))
        more['TARN_OPTIONS_'] = more['XTARN_OPTIONS'] = 'nonsense'
        result = self.act('work', 'print=worked', options='stats=off', environment=more)
        self.require_worked(result)
        self.assertEqual(result.stderr, '')


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
