#!/usr/bin/env python3
"""test_planted.py TARN LIBTARN PLANTED [CASE] - `tarn report --html` of programs whose fault is known, in a headless
Chromium: the headline is the verdict, and the planted call site is first with nearly all of its bytes."""

import os
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))

import browser
import recordings

MOST_PERCENT = 90    # of the metric's bytes
SKIPPED = 77


class Planted(recordings.Case):
    @classmethod
    def setUpClass(cls):
        cls.browser = browser.Browser(browser.find())
        cls.addClassCleanup(cls.browser.close)

    def open(self, recording):
        page = self.folder / 'report.html'
        result = self.tarn('report', '--html', page, recording)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, '', ''))
        self.browser.view(1280, 900)
        self.browser.open(page)
        self.browser.wait_for('document.querySelectorAll("table.stacks tbody tr").length > 0')
        return page

    def text(self, selector):
        return self.browser.value(f'document.querySelector("{selector}").textContent')

    def check(self, program, function, metric):
        recording = self.record(program)
        page = self.open(recording)
        self.assertEqual(self.text('h1'), self.report(recording)['verdict'])
        self.assertEqual(self.text('#flame .segmented [aria-pressed=true]'), metric)
        self.assertTrue(self.text('table.stacks tbody button').startswith(function + ' ('))
        share = self.text('table.stacks tbody td:nth-child(3)')
        self.assertGreaterEqual(float(share.removesuffix(' %')), MOST_PERCENT)
        self.assertEqual(self.browser.console, [])
        self.assertEqual(self.browser.requests, [page.as_uri()])

    def test_a_cache_that_pins_pages(self):
        self.check('pinning_cache', 'cache_insert', 'pinned')

    def test_a_size_that_rounds_up_badly(self):
        self.check('bad_rounding', 'record_new', 'rounding')

    def test_a_leak(self):
        self.check('leak', 'note_request', 'live')

    def test_a_process_that_still_runs(self):
        _, recording = self.start('leak')
        self.open(recording)
        self.assertIn('still running', self.text('#provenance'))
        self.assertEqual(self.browser.console, [])


if __name__ == '__main__':
    if not browser.find() and os.environ.get('TARN_TEST_ALL') != '1':
        print('SKIP: Chromium is missing')
        sys.exit(SKIPPED)
    recordings.main(sys.argv)
