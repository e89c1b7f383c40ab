#!/usr/bin/env python3
"""test_fleet.py TARN LIBTARN PLANTED METRICS [CASE] - docs/fleet/tarn-metrics: a file of metrics for each service."""

import os
import pathlib
import subprocess
import sys

import recordings

METRICS = None     # set from the command line below
MONTH_S = 30 * 24 * 3600


class Fleet(recordings.Case):
    def setUp(self):
        super().setUp()
        self.textfiles = self.folder / 'textfiles'
        self.recordings = self.folder / 'services'
        for folder in ('textfiles', 'services', 'services/ended', 'services/running', 'services/new'):
            (self.folder / folder).mkdir()

    def metrics(self, **environment):
        path = f'{pathlib.Path(recordings.TARN).parent}:{os.environ["PATH"]}'
        result = subprocess.run([METRICS, self.recordings, self.textfiles], capture_output=True, text=True, check=False,
                                env={**self.environment, 'PATH': path, **environment})
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, '', ''))
        return {file.name: file.read_text() for file in self.textfiles.iterdir()}

    def aged(self, recording):
        then = recording.stat().st_mtime - MONTH_S
        os.utime(recording, (then, then))

    def test_each_service_has_a_file_without_times(self):
        self.record('pinning_cache', name='services/ended/pinning_cache.9000001.tarn')
        self.start('leak', name='services/running/leak.9000002.tarn')
        files = self.metrics()
        self.assertEqual(set(files), {'tarn-ended.prom', 'tarn-running.prom'})
        self.assertIn('site="cache_insert (pinning_cache.c:', files['tarn-ended.prom'])
        for text in files.values():
            rows = [line for line in text.splitlines() if not line.startswith('#')]
            self.assertGreater(len(rows), 20)
            for row in rows:
                self.assertRegex(row, r'^tarn_\w+\{.*\} [0-9.e+]+$')

    def test_old_recordings_of_ended_processes_go(self):
        old = self.record('leak', name='services/ended/leak.9000003.tarn')    # above the kernel's largest process id
        new = self.record('leak', name='services/ended/leak.9000004.tarn')
        process, _ = self.start('leak', name='services/running/leak.tarn')
        running = self.recordings / 'running' / f'leak.{process.pid}.tarn'
        (self.recordings / 'running' / 'leak.tarn').rename(running)
        for recording in (old, running):
            self.aged(recording)
        self.metrics()
        self.assertEqual([file.exists() for file in (old, new, running)], [False, True, True])


if __name__ == '__main__':
    METRICS = os.path.abspath(sys.argv.pop(4))
    recordings.main(sys.argv)
