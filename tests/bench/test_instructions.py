#!/usr/bin/env python3
"""test_instructions.py BENCH PROGRAMS COIN - bench/instructions --branches counts the branches of an allocator that cannot be foreseen."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

BENCH = PROGRAMS = COIN = None    # set from the command line below
PATIENCE_S = 60
OUTPUT = '''events: Ir Bc Bcm Bi Bim
fn=call_free
34 7
cfn=free
calls=10 0
34 190 30 4 10 2
34 7
cfn=slow
calls=1 0
34 50 5
fn=free
cfn=free_slow
calls=3 0
9 99 9 9 9 9
fn=call_realloc.constprop.0
cfn=realloc
calls=2 0
* 80 8 1
'''


class Parsing(unittest.TestCase):
    def test_costs_that_callgrind_leaves_out_are_none(self):
        callgrind = sys.modules['harness.callgrind']
        self.assertEqual(callgrind._calls(OUTPUT), {'free': (11, 240), 'realloc': (2, 80)})
        self.assertEqual(callgrind._calls(OUTPUT, callgrind.MISPREDICTIONS), {'free': (11, 6), 'realloc': (2, 1)})

    def test_what_was_not_counted_is_not_0(self):
        callgrind = sys.modules['harness.callgrind']
        with self.assertRaises(callgrind.CountFailed):
            callgrind._calls(OUTPUT.replace(' Bim', ''), callgrind.MISPREDICTIONS)


@unittest.skipIf(shutil.which('valgrind') is None, 'valgrind is not installed')
class Command(unittest.TestCase):
    def run_(self, *options):
        with tempfile.TemporaryDirectory(prefix='tarn-instructions-') as folder:
            path = pathlib.Path(folder) / 'counts.json'
            result = subprocess.run([BENCH / 'instructions', '--programs', PROGRAMS, '--allocators', 'system', '--with',
                                     f'coin={COIN}', '--json', path, *options],
                                    check=False, text=True, capture_output=True, timeout=PATIENCE_S)
            return result, json.loads(path.read_text()) if path.exists() else None

    def test_a_coin_is_mispredicted_every_other_time(self):
        result, counts = self.run_('--branches', '--only', 'realloc_same')
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.assertLess(counts['mispredictions']['system']['realloc_same'], 5)
        self.assertAlmostEqual(counts['mispredictions']['coin']['realloc_same'], 50, delta=10)

    def test_a_limit_is_of_the_same_unit(self):
        for limit, status in ((60, 0), (40, 1)):
            result, _ = self.run_('--branches', '--only', 'realloc_same', '--at-most', f'realloc_same={limit}')
            self.assertEqual(result.returncode, status, result.stderr)

    def test_a_limit_that_holds_nobody_is_not_kept(self):
        result = subprocess.run([BENCH / 'instructions', '--branches', '--programs', PROGRAMS, '--allocators', 'tarn', '--tarn',
                                 '/nowhere.so', '--only', 'realloc_same', '--at-most', 'realloc_same=60'],
                                check=False, text=True, capture_output=True, timeout=PATIENCE_S)
        self.assertEqual(result.returncode, 1)
        self.assertIn('no allocator', result.stderr)

    def test_a_column_that_counts_no_loop_is_refused(self):
        result, _ = self.run_('--branches', '--only', 'true')
        self.assertEqual(result.returncode, 1)
        self.assertIn('no column true', result.stderr)

    def test_whole_programs_have_instructions_alone(self):
        result, _ = self.run_('--branches', '--whole', 'system')
        self.assertEqual((result.returncode, result.stdout), (2, ''))
        self.assertIn('--whole', result.stderr)


if __name__ == '__main__':
    BENCH, PROGRAMS, COIN = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    sys.path.insert(0, str(BENCH))
    import harness.callgrind    # noqa: E402  (where it lies is known only now)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
