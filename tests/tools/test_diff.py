#!/usr/bin/env python3
"""test_diff.py TARN LIBTARN PLANTED [CASE] - what `tarn diff` says of two runs whose difference is known."""

import json
import re
import subprocess
import sys

import recordings
from recordings import Case

ENTRY_BLOCK_BYTES = 1008    # a block for the program's entries of 1000 bytes
ENTRIES = 20000
INLINED = '''
#include <stdlib.h>
#include <string.h>

static inline __attribute__((always_inline)) void *grab(size_t size)
{
    void *block = malloc(size);
    memset(block, 1, size);
    return block;
}

void *blocks[5000];

int main(void)
{
    for (int i = 0; i < 5000; i++)
        blocks[i] = grab(3000);
}
'''


class Diff(Case):
    def record_with(self, entries):
        recording = self.folder / f'with-{entries}'
        subprocess.run([recordings.PLANTED / 'growing', str(entries)], env=self.options(recording), check=True)
        return recording

    def diff(self, *arguments):
        return json.loads(self.output('diff', '--json', *arguments))

    def test_what_grew_is_named_by_cause_and_call_site(self):
        few, many = self.record_with(0), self.record_with(ENTRIES)
        diff = self.diff(few, many)
        self.assertTrue(diff['sites'][0]['site'].startswith('entry_add ('), diff['sites'][0])
        grown = diff['sites'][0]['live_bytes']['change']
        self.assertAlmostEqual(grown, ENTRIES * ENTRY_BLOCK_BYTES, delta=ENTRIES * ENTRY_BLOCK_BYTES / 10)
        self.assertGreaterEqual(diff['balance']['requested_bytes']['change'], ENTRIES * 1000)
        for word in ('grew', 'requested_bytes', 'entry_add'):
            self.assertIn(word, diff['verdict'])
        text = self.output('diff', few, many)
        self.assertIn(' '.join(diff['verdict'].split()), ' '.join(text.split()))
        self.assertRegex(text, r'\+\d+\.\d\d MiB .*entry_add \(growing\.c:\d+\)')

    def test_what_shrank_too(self):
        many, few = self.record_with(ENTRIES), self.record_with(0)
        diff = self.diff(many, few)
        self.assertIn('shrank', diff['verdict'])
        self.assertTrue(diff['sites'][-1]['site'].startswith('entry_add ('))
        self.assertRegex(self.output('diff', many, few), r'-\d+\.\d\d MiB .*entry_add')

    def test_stacks_and_sites_add_up_to_the_balance_sheet(self):
        diff = self.diff(self.record_with(0), self.record_with(ENTRIES))
        for rows in (diff['sites'], diff['stacks']):
            for metric, field in recordings.METRICS.items():
                for side in ('a', 'b', 'change'):
                    self.assertEqual(sum(row[metric][side] for row in rows), diff['balance'][field][side], metric)

    def test_a_recording_does_not_differ_from_itself(self):
        recording = self.record_with(1000)
        diff = self.diff(recording, recording)
        self.assertEqual(diff['verdict'], 'the heap is as large as it was')
        self.assertTrue(all(row[metric]['change'] == 0 for row in diff['stacks'] for metric in recordings.METRICS))

    def test_a_program_that_was_built_anew_is_the_same_whatever_its_lines(self):
        """In the new version everything stands three lines further down, and the cache is larger."""
        for name, lines in (('old', 0), ('new', 3)):
            (self.folder / name).mkdir()
            source = self.folder / name / 'growing.c'
            source.write_text('\n' * lines + (recordings.SOURCES / 'growing.c').read_text())
            subprocess.run(['cc', '-g', '-O1', '-Wl,--build-id', '-o', self.folder / name / f'growing-{name}', source],
                           check=True)
        recording = {}
        for name, entries in (('old', 1000), ('new', ENTRIES)):
            recording[name] = self.folder / f'{name}.tarn'
            subprocess.run([self.folder / name / f'growing-{name}', str(entries)],
                           env=self.options(recording[name], 'sample=64KiB'), check=True)
        diff = self.diff(recording['old'], recording['new'])
        change = {row['site']: row['live_bytes']['change'] for row in diff['sites']}
        grown = (ENTRIES - 1000) * ENTRY_BLOCK_BYTES
        self.assertAlmostEqual(change['entry_add (growing.c)'], grown, delta=grown / 10)
        self.assertLess(abs(change['row_add (growing.c)']), grown / 10)
        self.assertIn('most of that at entry_add (growing.c)', diff['verdict'])
        stack = next(row for row in diff['stacks'] if row['stack'].startswith('entry_add (growing.c) < main (growing.c)'))
        self.assertGreater(stack['live_bytes']['a'], 0)
        self.assertGreater(stack['live_bytes']['b'], 0)

    def test_of_two_builds_with_damaged_debug_information_a_line_may_have_no_file(self):
        """The place of a call names a file that the list of files does not have."""
        recording = {}
        for name in ('old', 'new'):
            (self.folder / name).mkdir()
            source, program = self.folder / name / 'inlined.c', self.folder / name / 'inlined'
            source.write_text(f'const char build[] = "{name}";' + INLINED)
            text = subprocess.run(['gcc', '-gdwarf-4', '-dA', '-O1', '-S', '-o', '-', source], text=True,
                                  stdout=subprocess.PIPE, check=True).stdout
            text, count = re.subn(r'\.byte\s+\w+(.*DW_AT_call_file)', r'.byte 0x7f\1', text)
            self.assertGreater(count, 0)
            source.with_suffix('.s').write_text(text)
            subprocess.run(['gcc', '-Wl,--build-id', '-o', program, source.with_suffix('.s')], check=True)
            recording[name] = self.folder / f'{name}.tarn'
            subprocess.run([program], env=self.options(recording[name], 'sample=64KiB'), check=True)
        stacks = [row['stack'] for row in self.diff(recording['old'], recording['new'])['stacks']]
        self.assertTrue(any(stack.startswith('grab (inlined.c) < main') for stack in stacks), stacks)

    def test_the_peaks_can_be_compared(self):
        recording = self.record_with(1000)
        self.assertNotIn('pinned_bytes', self.diff('--at', 'peak', recording, recording)['stacks'][0])

    def test_bad_input_is_refused(self):
        recording = self.record_with(0)
        for arguments in ([], [recording], [recording] * 3, [recording, '/nowhere'], ['/nowhere', recording],
                          ['--top', '0', recording, recording], ['--at', 'noon', recording, recording]):
            with self.subTest(arguments):
                self.assert_refused(self.tarn('diff', *arguments), 'tarn diff: ')


if __name__ == '__main__':
    recordings.main(sys.argv)
