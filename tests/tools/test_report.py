#!/usr/bin/env python3
"""test_report.py TARN LIBTARN PLANTED [CASE] - what `tarn report` says of programs whose fault is known."""

import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / 'recording'))

import reader
import recordings
from recordings import Case, PATIENCE_S, folded_stacks, metric_lines, site_first

MOST = 0.9    # of the planted bytes


def keys_of(value):
    """The names of all fields, however deep."""
    if isinstance(value, dict):
        return set(value) | set().union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


class Planted(Case):
    """The verdict names the cause, and the planted call site is first with nearly all of its bytes, in every form."""

    def check(self, program, function, kind, metric, planted_bytes, words):
        recording = self.record(program)
        report = self.report(recording)
        self.assert_adds_up(report)
        self.assertEqual(report['cause']['kind'], kind, report['verdict'])
        self.assertIn(function, report['cause']['site'])
        self.assertTrue(site_first(report, metric)['site'].startswith(function + ' ('))
        planted = sum(site[metric] for site in report['sites'] if site['site'].startswith(function + ' ('))
        self.assertGreaterEqual(planted, MOST * planted_bytes(report))
        self.check_text(recording, function, metric, words)
        self.check_pprof(recording, function, metric, planted)
        self.check_folded(recording, function, metric, planted)

    def check_text(self, recording, function, metric, words):
        text = self.output('report', recording)
        verdict = ' '.join(text.split('\n\n')[1].split())
        for word in (*words, function):
            self.assertIn(word, verdict)
        self.assertLessEqual(max(map(len, text.splitlines())), 120)
        table = text[text.index(f'{metric}, '):].split('\n')
        self.assertIn(function, table[1])

    def check_pprof(self, recording, function, metric, planted):
        kind = {'pinned_bytes': 'pinned', 'rounding_bytes': 'rounding', 'live_bytes': 'inuse_space'}[metric]
        stacks = self.pprof(recording)
        found = sum(values[kind] for names, values in stacks if function in names)
        self.assertEqual(found, planted)
        self.assertEqual(max(stacks, key=lambda stack: stack[1][kind])[0][:2], [function, *self.caller[:1]])

    def check_folded(self, recording, function, metric, planted):
        stacks = folded_stacks(self.output('report', '--folded', metric, recording))
        self.assertEqual(sum(value for names, value in stacks if function in names), planted)

    def test_a_cache_that_pins_pages(self):
        self.caller = ['main']
        self.check('pinning_cache', 'cache_insert', 'holes', 'pinned_bytes',
                   lambda report: report['snapshots'][report['last']]['holes_bytes'], ['holes', 'pinned'])

    def test_a_size_that_rounds_up_badly(self):
        self.caller = ['main']
        self.check('bad_rounding', 'record_new', 'rounding', 'rounding_bytes',
                   lambda report: 800000 * (48 - 33), ['rounded up'])

    def test_a_leak(self):
        self.caller = ['request_serve']
        self.check('leak', 'note_request', 'leak', 'live_bytes', lambda report: 300000 * 128, ['leak'])


    def test_a_verdict_says_when_it_rests_on_few_samples(self):
        for sample in ('64KiB', '6MiB'):
            report = self.report(self.record('leak', f'sample={sample}', name=sample))
            if report['cause']['site'] is not None:    # of seven samples none in a few thousand runs
                site = next(site for site in report['sites'] if site['site'] == report['cause']['site'])
                of_the_last = report['cause']['snapshot'] == report['last']    # of the peak the samples are not counted
                self.assertEqual('a rough estimate' in report['verdict'], of_the_last and site['live_samples'] < 10,
                                 report['verdict'])


class Totals(Case):
    def test_every_form_adds_up_to_the_balance_sheet(self):
        for program in ('pinning_cache', 'leak'):
            recording = self.record(program)
            report = self.report(recording)
            last = report['snapshots'][report['last']]
            self.assert_adds_up(report)
            values = [values for _, values in self.pprof(recording)]
            for kind, field in {'inuse_objects': 'live_blocks', 'inuse_space': 'live_bytes', 'pinned': 'holes_bytes',
                                'requested': 'requested_bytes', 'rounding': 'rounding_bytes',
                                'alloc_objects': 'allocated_total'}.items():
                self.assertEqual(sum(value[kind] for value in values), last[field], kind)
            for metric, field in recordings.METRICS.items():
                stacks = folded_stacks(self.output('report', '--folded', metric, recording))
                self.assertEqual(sum(value for _, value in stacks), last[field], metric)
            samples = list(metric_lines(self.output('report', '--prometheus', '--top', '1', recording)))
            for metric, field in (('pinned', 'holes'), ('live', 'live'), ('rounding', 'rounding')):
                self.assertEqual(sum(value for name, _, value, _ in samples if name == f'tarn_site_{metric}_bytes'),
                                 last[f'{field}_bytes'], metric)

    def test_a_pprof_file_of_the_peak_adds_up_to_the_balance_sheets_of_then(self):
        recording = self.record('pinning_cache')
        report = self.report(recording)
        peak, worst, last = (report['snapshots'][report[which]] for which in ('peak_live', 'worst', 'last'))
        self.assertGreater(peak['live_bytes'], 2 * last['live_bytes'])
        values = [values for _, values in self.pprof(recording, '--at', 'peak')]
        for kind, expected in {'inuse_objects': peak['live_blocks'], 'inuse_space': peak['live_bytes'],
                               'requested': peak['requested_bytes'], 'rounding': peak['rounding_bytes'],
                               'pinned': worst['holes_bytes'], 'alloc_objects': last['allocated_total']}.items():
            self.assertEqual(sum(value[kind] for value in values), expected, kind)

    def test_estimates_without_a_profile_are_nobody_s(self):
        report = self.report(self.record('leak', 'profile=off'))
        self.assert_adds_up(report)
        self.assertEqual((len(report['stacks']), report['sample_bytes']), (1, 0))
        self.assertEqual(report['cause']['stack'], None)

    def test_a_dense_profile_counts_what_the_program_did(self):
        report = self.report(self.record('leak', 'sample=16KiB'))
        self.assert_adds_up(report)
        note = site_first(report, 'live_bytes')
        self.assertAlmostEqual(note['live_blocks'], 300000, delta=15000)
        self.assertAlmostEqual(note['allocated_blocks'], 300000, delta=30000)
        work = max(report['sites'], key=lambda site: site['allocated_blocks'])
        self.assertTrue(work['site'].startswith('request_work'), work)
        self.assertGreaterEqual(work['died_young_percent'], 99)


class Ends(Case):
    def test_a_running_process(self):
        process, recording = self.start('leak')
        report = self.report(recording)
        self.assertEqual((report['ended_by'], report['pid']), ('running', process.pid))
        self.assert_adds_up(report)
        self.assertIn('note_request', site_first(report, 'live_bytes')['site'])

    def test_a_killed_one(self):
        process, recording = self.start('leak')
        self.end(process)
        report = self.report(recording)
        self.assertEqual(report['ended_by'], 'unknown')
        self.assert_adds_up(report)
        self.assertIn('note_request', report['verdict'])
        self.assertRegex(self.output('report', recording).splitlines()[0], r'killed .*, last heard of after \d+\.\d s$')

    def test_a_killed_one_that_was_not_seen_for_long(self):
        process, recording = self.start('leak')
        self.end(process)
        report = self.report(recording)
        data = bytearray(recording.read_bytes())
        struct.pack_into('<Q', data, recordings.reader.Header.last_ns.offset, 60 * 10**9)
        recording.write_bytes(data)
        seen_ms = report['snapshots'][report['last']]['time_ms']
        self.assertRegex(self.report(recording)['verdict'], rf'^as last seen, {60 - seen_ms / 1000:.1f} s before the end'
                         r'(, before live bytes rose by [\d.]+ MiB)?: a leak')

    def test_a_killed_one_whose_samples_are_newer_than_its_snapshot(self):
        process, recording = self.start('leak', 'sample=64KiB')
        self.end(process)
        data, header = bytearray(recording.read_bytes()), reader.Header
        last = reader.Recording(recording).snapshots[-1]
        for now, words in ((last.live_weighted_bytes // 4, 'fell by'), (last.live_weighted_bytes * 4, 'rose by'),
                           (last.live_weighted_bytes * 9 // 10, None)):
            struct.pack_into('<Q', data, header.live_weighted_bytes.offset, now)
            recording.write_bytes(data)
            told = self.report(recording)['verdict']
            if words is None:
                self.assertNotIn('before live bytes', told)
            else:
                change = abs(now - last.live_weighted_bytes) / (1 << 20)
                self.assertRegex(told, rf'^as last seen.*, before live bytes {words} {change:.2f} MiB: a leak')
        struct.pack_into('<Q', data, header.live_samples.offset, 3)    # too few to go by, for what has come since
        struct.pack_into('<Q', data, header.live_weighted_bytes.offset, last.live_weighted_bytes * 4)
        recording.write_bytes(data)
        self.assertNotIn('before live bytes', self.report(recording)['verdict'])

    def becomes(self, *command):
        """A recorded shell becomes a program that is not recorded; what is told of it, alive and when it has ended."""
        recording = self.folder / 'recording'
        process = subprocess.Popen(['sh', '-c', 'echo started; read go; exec "$@"', 'sh', *map(str, command)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.options(recording), text=True)
        try:
            deadline = time.monotonic() + PATIENCE_S
            self.assertEqual(process.stdout.readline(), 'started\n') # with a first snapshot in its recording
            process.stdin.write('go\n')
            process.stdin.flush()
            while self.report(recording)['ended_by'] == 'running' and time.monotonic() < deadline:
                time.sleep(0.05)
            alive = self.report(recording), self.output('report', recording).splitlines()[0]
        finally:
            process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()
        return *alive, self.report(recording)

    def test_one_that_became_a_static_program(self):
        alive, line, ended = self.becomes(recordings.PLANTED / 'grow_static', 1, PATIENCE_S * 1000)
        self.assertEqual((alive['ended_by'], alive['became']), ('exec', 'grow_static'))
        self.assertIn('went on as grow_static (exec)', line)
        self.assertEqual(ended['ended_by'], 'unknown')
        self.assert_adds_up(ended)

    @unittest.skipUnless(os.geteuid() == 0, 'only root can make a file that raises privileges')
    def test_one_that_became_a_program_with_raised_privileges(self):
        program = shutil.copy('/bin/sleep', self.folder / 'raised')
        os.chown(program, 65534, 65534)
        os.chmod(program, 0o4755)
        alive, _, ended = self.becomes(program, PATIENCE_S)
        self.assertEqual((alive['ended_by'], alive['became'], ended['ended_by']), ('exec', 'raised', 'unknown'))

    def test_one_that_a_signal_ended(self):
        process, recording = self.start('leak')
        process.send_signal(signal.SIGTERM)
        process.wait()
        self.assertEqual(self.report(recording)['ended_by'], 'SIGTERM')

    def test_one_that_exited(self):
        report = self.report(self.record('leak'))
        self.assertEqual((report['ended_by'], report['end_value']), ('exit', 0))
        self.assertEqual(report['command'], [str(recordings.PLANTED / 'leak')])

    def test_the_command_is_shown_as_one_types_it(self):
        recording = self.folder / 'recording'
        words = [recordings.PLANTED / 'bad_rounding', 'i < 9', '', "it's", '--deep=1', 'new\nline', 'long' * 40]
        subprocess.run(words, env=self.options(recording), check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        line = self.output('report', recording).splitlines()[1]
        whole = f"      {words[0]} 'i < 9' '' 'it'\\''s' --deep=1 'new?line' {words[-1]}"
        self.assertEqual(line, whole[:107] + '...')

    def test_a_title_over_the_arguments_has_no_empty_words_behind_it(self):
        recording = self.folder / 'recording'
        for words, kept in ((['zzzz', 'zzzz'], []), (['zzzz', 'last'], ['', '', '', '', '', 'last']), ([''], [''])):
            subprocess.run([recordings.PLANTED / 'bad_rounding', *words], env=self.options(recording), check=True,
                           stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
            recording.write_bytes(recording.read_bytes().replace(b'zzzz', bytes(4)))
            self.assertEqual(self.report(recording)['command'][1:], kept)
            recording.unlink()

    def test_one_that_tidied_up_has_its_blocks_counted_from_the_start(self):
        recording = self.folder / 'recording'
        program = 'rows = [bytearray(1000) for _ in range(60000)]; del rows'
        subprocess.run([sys.executable, '-c', program], check=True, timeout=PATIENCE_S,
                       env={**self.options(recording, 'sample=64KiB'), 'PYTHONMALLOC': 'malloc'})
        text = self.output('report', recording)
        self.assertIn('before it tidied up', text)
        self.assertRegex(text, r'blocks since the start, (none|[\d,]+) of them live at exit')
        self.assertNotRegex(text, r'\b0 live blocks')

    def test_a_heap_that_is_the_smaller_part_is_not_taken_for_the_whole(self):
        """40 MB of mappings beside 20 MB of blocks."""
        recording = self.folder / 'recording'
        program = ('import mmap, os; pages = mmap.mmap(-1, 40 << 20); pages.write(b"x" * (40 << 20));'
                   'rows = [bytearray(1000) for _ in range(20000)]; os._exit(0)')
        subprocess.run([sys.executable, '-c', program], check=True, timeout=PATIENCE_S, env=self.options(recording))
        report = self.report(recording)
        last = report['snapshots'][report['last']]
        part = f'{100 * last["other_rss_bytes"] / last["rss_bytes"]:.0f} % of resident memory'
        self.assertRegex(report['verdict'], rf"; but {part}, [\d.]+ MiB, is not the heap's$")
        self.assertNotIn('of resident memory', self.report(self.record('pinning_cache', name='other'))['verdict'])

    def test_one_of_a_thing_is_not_many(self):
        self.assertRegex(self.output('report', self.record('leak')), r'; 1 thread\n')

    def test_the_distance_of_samples_is_told_in_full(self):
        for sample, shown in ('512KiB', '512 KiB'), ('5000', '5000 B'):
            recording = self.record('leak', f'sample={sample}', name=sample)
            self.assertIn(f', a sample each {shown}\n', self.output('report', recording))


class Directory(Case):
    def test_the_biggest_process_is_shown_behind_all(self):
        for name in ('leak', 'bad_rounding'):
            self.record(name, name=name)
        (self.folder / 'notes.txt').write_text('no recording\n')
        report = self.report(self.folder)
        rows = report['processes']
        self.assertEqual({row['program'] for row in rows}, {'leak', 'bad_rounding'})
        self.assertGreaterEqual(rows[0]['peak_rss_bytes'], rows[1]['peak_rss_bytes'])
        self.assertEqual(report['program'], rows[0]['program'])
        text = self.output('report', self.folder)
        self.assertTrue(text.startswith('2 processes'))
        self.assertRegex(text, r'(?m)^ +\d+  leak ')

    def test_without_a_name_it_is_the_last_run_s(self):
        result = self.tarn('run', '--library', recordings.LIBTARN, '-q', '--', recordings.PLANTED / 'leak')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('note_request', self.output('report'))

    def test_one_without_recordings_is_refused(self):
        self.assert_refused(self.tarn('report', self.folder), 'no recording', str(self.folder))

    def test_one_bad_recording_among_good_ones_costs_a_line(self):
        good = self.record('leak')
        (self.folder / 'short').write_bytes(good.read_bytes()[:100000])
        result = self.tarn('report', self.folder)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        self.assertIn('cut off', result.stderr)

    def test_one_cut_within_its_header_costs_a_line_too(self):
        good = self.record('leak')
        for length in (8, 100):
            (self.folder / 'short').write_bytes(good.read_bytes()[:length])
            result = self.tarn('report', self.folder)
            self.assertEqual(result.returncode, 0)
            self.assertRegex(result.stderr, rf'^[^\n]*short[^\n]*cut off: {length} bytes\n$')


class Forms(Case):
    def test_prometheus_has_no_times_and_each_family_once(self):
        text = self.output('report', '--prometheus', self.record('leak'))
        self.assertTrue(all(time is None for *_, time in metric_lines(text)))
        self.assertNotIn('# EOF', text)
        families = [line.split()[2] for line in text.splitlines() if line.startswith('# TYPE')]
        self.assertEqual(len(families), len(set(families)))
        names = [name for name, *_ in metric_lines(text)]
        self.assertEqual(sorted(set(names)), sorted(families))    # a counter's family has its _total here
        together = [name for name, before in zip(names, [None, *names]) if name != before]
        self.assertEqual(len(together), len(set(together)))

    def test_openmetrics_has_growing_times_and_an_end(self):
        recording = self.record('leak')
        text = self.output('report', '--openmetrics', recording)
        self.assertTrue(text.endswith('\n# EOF\n'))
        series = {}
        for name, labels, _, time in metric_lines(text):
            series.setdefault((name, labels), []).append(time)
        for times in series.values():
            self.assertEqual(times, sorted(set(times)))
        rss = next(times for (name, _), times in series.items() if name == 'tarn_rss_bytes')
        self.assertGreater(len(rss), 1)
        for family, kind in re.findall(r'# TYPE (\S+) (\S+)', text):
            self.assertFalse(family.endswith('_total'))
            self.assertIn(f'\n{family}_total{{' if kind == 'counter' else f'\n{family}{{', text)

    def test_metrics_have_the_names_of_the_statistics(self):
        recording = self.record('leak')
        report = self.report(recording)
        last = report['snapshots'][report['last']]
        samples = {name: value for name, _, value, _ in metric_lines(self.output('report', '--prometheus', recording))}
        for field in ('rss_bytes', 'holes_bytes', 'live_blocks', 'allocated_total', 'freed_total', 'budget_bytes'):
            self.assertEqual(samples[f'tarn_{field}'], last[field])

    def test_promtool_takes_both_forms(self):
        promtool = shutil.which('promtool')
        if promtool is None:
            self.skipTest('no promtool')
        recording, history = self.record('leak'), self.folder / 'history.om'
        check = subprocess.run([promtool, 'check', 'metrics'], input=self.output('report', '--prometheus', recording),
                               check=False, text=True, capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((check.returncode, check.stdout, check.stderr), (0, '', ''))
        self.output('report', '--openmetrics', '--output', history, recording)
        blocks = subprocess.run([promtool, 'tsdb', 'create-blocks-from', 'openmetrics', history, self.folder / 'blocks'],
                                check=True, text=True, capture_output=True, timeout=PATIENCE_S).stdout.splitlines()
        self.assertRegex(blocks[0], r'DURATION +NUM SAMPLES')    # a row for each two hours
        samples = len(list(metric_lines(history.read_text())))
        self.assertEqual(sum(int(row.split()[4]) for row in blocks[1:]), samples)

    def test_pprof_has_go_s_types_first_and_the_program_as_its_first_mapping(self):
        data = self.pprof_data(self.record('leak'))
        texts = recordings.pprof_texts(data)
        types = [tuple(texts[recordings.number_of(each, field)] for field in (1, 2))
                 for each in recordings.messages(data, 1)]
        self.assertEqual(types, [('alloc_objects', 'count'), ('alloc_space', 'bytes'), ('inuse_objects', 'count'),
                                 ('inuse_space', 'bytes'), ('requested', 'bytes'), ('rounding', 'bytes'),
                                 ('pinned', 'bytes')])
        self.assertEqual(recordings.number_of(data, 12), 512 * 1024)
        program = recordings.messages(data, 3)[0]
        self.assertEqual(texts[recordings.number_of(program, 5)], str(recordings.PLANTED / 'leak'))
        self.assertRegex(texts[recordings.number_of(program, 6)], r'\A[0-9a-f]{8,}\Z')

    def assert_refers_well(self, data):
        """Every reference leads somewhere, and ids are places."""
        texts = recordings.pprof_texts(data)
        mappings, locations, functions = (recordings.messages(data, number) for number in (3, 4, 5))
        for kind in (mappings, locations, functions):
            self.assertEqual([recordings.number_of(each, 1) for each in kind], list(range(1, len(kind) + 1)))
        for each, fields in [(each, (5, 6)) for each in mappings] + [(each, (2, 3, 4)) for each in functions]:
            for field in fields:
                self.assertLess(recordings.number_of(each, field), len(texts))
        for location in locations:
            self.assertLessEqual(recordings.number_of(location, 2), len(mappings))
            for line in recordings.messages(location, 4):
                self.assertIn(recordings.number_of(line, 1), range(1, len(functions) + 1))
        for sample in recordings.messages(data, 2):
            for number in recordings.numbers(sample, 1):
                self.assertIn(number, range(1, len(locations) + 1))

    def test_pprof_has_the_program_first_though_a_library_was_seen_before_it(self):
        recording = self.record('copies')
        modules = [module['path'] for module in self.report(recording)['modules']]
        program = str(recordings.PLANTED / 'copies')
        self.assertGreater(modules.index(program), 0)    # or this tests nothing
        data = self.pprof_data(recording)
        self.assert_refers_well(data)    # or Parca says "mapping id is not sequential"
        texts, mappings, functions = recordings.pprof_texts(data), *(recordings.messages(data, n) for n in (3, 5))
        paths = [texts[recordings.number_of(each, 5)] for each in mappings]
        self.assertEqual((paths[0], sorted(paths)), (program, sorted(modules)))
        of_function = {}
        for location in recordings.messages(data, 4):
            for line in recordings.messages(location, 4):
                function = functions[recordings.number_of(line, 1) - 1]
                of_function[texts[recordings.number_of(function, 2)]] = paths[recordings.number_of(location, 2) - 1]
        self.assertEqual(of_function['copy_text'], program)
        self.assertEqual([path for name, path in of_function.items() if 'strdup' in name], [modules[0]])

    def test_pprof_keeps_the_rules_of_parca_and_pyroscope(self):
        """What their servers check, drop or rely on when they take a file: docs/fleet.md."""
        for program in ('leak', 'pinning_cache', 'bad_rounding', 'copies'):
            recording = self.record(program, name=program)
            packed = subprocess.run([recordings.TARN, 'report', '--pprof', '/dev/stdout', recording], check=True,
                                    env=self.environment, stdout=subprocess.PIPE, timeout=PATIENCE_S).stdout
            self.assertEqual(packed[:2], b'\x1f\x8b')    # gzip, of one member
            data = self.pprof_data(recording)
            texts, types = recordings.pprof_texts(data), recordings.messages(data, 1)
            self.assertEqual((texts[0], texts.count('')), ('', 1))
            self.assertEqual(len(texts), len(set(texts)))
            self.assert_refers_well(data)
            samples = recordings.messages(data, 2)
            self.assertTrue(samples)
            for sample in samples:
                self.assertEqual(len(recordings.numbers(sample, 2)), len(types))
                self.assertTrue(recordings.numbers(sample, 1))
                self.assertTrue(any(recordings.numbers(sample, 2)))    # Pyroscope drops what is all 0
                for label in recordings.messages(sample, 3):
                    self.assertNotEqual((recordings.number_of(label, 1), recordings.number_of(label, 2)), (0, 0))
            names = [texts[recordings.number_of(each, 1)] for each in types]
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue({'alloc_space', 'inuse_space'} <= set(names))    # by which profilecli calls it "memory"
            for field in (9, 12):    # its time, and its period
                self.assertGreater(recordings.number_of(data, field), 0)
            self.assertEqual(recordings.number_of(data, 10), 0)    # with a duration, Parca makes rates of the values
            period = recordings.messages(data, 11)[0]
            self.assertEqual([texts[recordings.number_of(period, field)] for field in (1, 2)], ['space', 'bytes'])

    def test_go_s_own_tool_draws_it_and_lists_it_raw(self):
        go = shutil.which('go')
        if go is None or shutil.which('dot') is None:
            self.skipTest('no go, or no dot')
        profile, drawing = self.folder / 'profile.pb.gz', self.folder / 'drawing.svg'
        self.output('report', '--pprof', profile, self.record('pinning_cache'))
        for arguments in (['-raw'], ['-svg', f'-output={drawing}']):
            result = subprocess.run([go, 'tool', 'pprof', '-sample_index=pinned', *arguments, profile], check=True,
                                    text=True, env={**self.environment, 'PPROF_TMPDIR': str(self.folder)},
                                    capture_output=True, timeout=PATIENCE_S)
            self.assertIn('cache_insert', result.stdout if arguments == ['-raw'] else drawing.read_text())

    def test_go_s_own_tool_reads_every_sample_type(self):
        go = shutil.which('go')
        if go is None:
            self.skipTest('no go')
        profile = self.folder / 'profile.pb.gz'
        self.output('report', '--pprof', profile, self.record('pinning_cache'))
        for kind, function in {'alloc_objects': 'request_buffer', 'alloc_space': 'request_buffer',
                               'inuse_objects': 'cache_insert', 'inuse_space': 'cache_insert',
                               'requested': 'cache_insert', 'rounding': 'cache_insert', 'pinned': 'cache_insert'}.items():
            top = subprocess.run([go, 'tool', 'pprof', f'-sample_index={kind}', '-top', profile], check=True, text=True,
                                 env={**self.environment, 'PPROF_TMPDIR': str(self.folder)}, capture_output=True,
                                 timeout=PATIENCE_S).stdout.splitlines()
            self.assertIn(f'Type: {kind}', top)
            head = next(line for line in range(len(top)) if top[line].split()[:2] == ['flat', 'flat%'])
            self.assertIn(function, top[head + 1])    # the first of the table

    def test_the_json_is_as_its_page_describes(self):
        report = self.report(self.record('leak'))
        self.assertEqual((report['schema'], report['kind']), (1, 'report'))
        frames, samples = report['frames'], report['samples']
        for stack in report['stacks']:
            self.assertTrue(all(0 <= frame < len(frames) for frame in stack['frames']))
        for snapshot in report['snapshots']:
            for row in snapshot.get('map', []):
                for page in row['pages']:
                    self.assertTrue(all(0 <= sample < len(samples) for sample in (page[2] if len(page) > 2 else [])))
        self.assertEqual(report['stacks'][-1]['frames'], [])
        self.assertEqual(report['stacks'][-1]['site'], '[unattributed]')
        self.assertTrue(any(page[2:] for row in report['snapshots'][-1]['map'] for page in row['pages']))

    def test_each_field_is_documented(self):
        docs = pathlib.Path(__file__).parents[2] / 'docs'
        text = (docs / 'report-json.md').read_text() + (docs / 'statistics.md').read_text()
        words = set(re.findall(r'[a-z_]+', text))
        self.assertEqual(sorted(keys_of(self.report(self.record('pinning_cache'))) - words), [])

    def test_lines_and_files_are_named(self):
        report = self.report(self.record('leak'))
        frame = next(frame for frame in report['frames'] if frame['function'] == 'note_request')
        self.assertTrue(frame['file'].endswith('planted/leak.c'))
        source = pathlib.Path(__file__).parent / 'planted' / 'leak.c'
        self.assertIn('malloc(', source.read_text().splitlines()[frame['line'] - 1])

    def test_a_program_without_symbols_has_offsets(self):
        program = self.folder / 'leak'
        subprocess.run(['strip', '-o', program, recordings.PLANTED / 'leak'], check=True)
        subprocess.run([program], env=self.options(self.folder / 'recording'), check=True, stdout=subprocess.DEVNULL)
        report = self.report(self.folder / 'recording')
        self.assertRegex(site_first(report, 'live_bytes')['site'], r'\Aleak\+0x[0-9a-f]+\Z')
        self.assertTrue(any(re.search(r'call sites in leak have no names: .*debug symbols', warning)
                            for warning in report['warnings']), report['warnings'])
        named = self.report(self.record('leak', name='named'))
        self.assertFalse(any('debug symbols' in warning for warning in named['warnings']), named['warnings'])

    def test_a_program_that_has_changed_is_not_asked_for_names(self):
        program = shutil.copy(recordings.PLANTED / 'leak', self.folder / 'leak')
        subprocess.run([program], env=self.options(self.folder / 'recording'), check=True, stdout=subprocess.DEVNULL)
        shutil.copy(recordings.PLANTED / 'pinning_cache', self.folder / 'new')
        os.rename(self.folder / 'new', program)
        report = self.report(self.folder / 'recording')
        self.assertRegex(site_first(report, 'live_bytes')['site'], r'\Aleak\+0x')
        self.assertTrue(any('another build' in warning for warning in report['warnings']))

    def test_the_tables_are_as_long_as_asked_for(self):
        recording = self.record('leak', 'sample=4KiB')
        text = self.output('report', '--top', '1', recording)
        self.assertIn('note_request', text)
        self.assertRegex(self.output('report', '--at', 'peak', recording), r'live_bytes, by call site, at the peak')


class CommandLine(Case):
    def test_help_tells_every_option(self):
        text = self.output('report', '--help')
        for word in ('--html', '--pprof', '--folded', '--json', '--openmetrics', '--prometheus', '--output', '--top',
                     '--at', 'FILE|DIR'):
            self.assertIn(word, text)

    def test_what_it_does_not_know_is_refused(self):
        recording = self.record('leak')
        for arguments in (['--folded', 'weight'], ['--top', '0'], ['--top', 'x'], ['--top', '-1'], ['--at', 'noon'],
                          ['--walk'], ['--json', '--prometheus'], ['--pprof', ''], ['second']):
            with self.subTest(arguments):
                self.assert_refused(self.tarn('report', recording, *arguments), 'tarn report: ')
        self.assert_refused(self.tarn('report'), 'which recording')


class Names(Case):
    def test_a_program_goes_by_the_name_it_was_called_by(self):
        program, link = self.folder / 'program', self.folder / 'link'
        subprocess.run(['strip', '-o', program, recordings.PLANTED / 'leak'], check=True)
        link.symlink_to(program)
        subprocess.run([link], env=self.options(self.folder / 'recording'), check=True, stdout=subprocess.DEVNULL)
        report = self.report(self.folder / 'recording')
        self.assertRegex(report['cause']['site'], r'^link\+0x[0-9a-f]+$')
        self.assertEqual(report['modules'][0]['path'], str(program))

    ORDERS_CPP = '''\
#include <memory>
#include <unistd.h>
#include <vector>
namespace { struct Line { char text[1000]; }; }
__attribute__((noinline)) static void order_take(std::vector<std::unique_ptr<std::vector<Line>>> &orders)
{
    orders.push_back(std::make_unique<std::vector<Line>>(30));
}
__attribute__((noinline)) static void event_log(std::vector<std::shared_ptr<void>> &events)
{
    struct Event { char text[500]; };
    events.push_back(std::make_shared<Event>());
}
int main()
{
    static std::vector<std::unique_ptr<std::vector<Line>>> orders;
    static std::vector<std::shared_ptr<void>> events;
    for (int i = 0; i < 1000; i++) {
        order_take(orders);
        for (int j = 0; j < 10; j++)
            event_log(events);
    }
    _exit(0);
}
'''

    @unittest.skipUnless(shutil.which('c++'), 'no C++ compiler')
    def test_containers_of_what_no_other_file_knows_are_not_to_blame(self):
        for options in (['-O2'], ['-O0']):
            program = self.folder / 'orders'
            subprocess.run(['c++', '-g', *options, '-x', 'c++', '-', '-o', program], input=self.ORDERS_CPP, text=True,
                           check=True)
            recording = self.folder / 'recording'
            subprocess.run([program], env=self.options(recording, 'sample=64KiB'), check=True)
            live = {site['site'].partition(' (')[0]: site['live_bytes'] for site in self.report(recording)['sites']}
            self.assertGreater(live['order_take'], 0.9 * 30 * 1000 * 1000)
            self.assertGreater(live['event_log'], 0.9 * 500 * 10000)

    HOARD_C = '''\
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) static void *hoard_add(void) { return memset(malloc(1000), 1, 1000); }
void *hoard[30000];
void hoard_fill(void) { for (int i = 0; i < 30000; i++) hoard[i] = hoard_add(); }
'''

    def record_hoard(self, path):
        """A Python that opens a library by this path, from the folder of the test, and has it allocate."""
        subprocess.run([sys.executable, '-c', f'import ctypes; ctypes.CDLL({path!r}).hoard_fill()'], cwd=self.folder,
                       env=self.options(self.folder / 'recording'), check=True)
        return self.folder / 'recording'

    def build_hoard(self, *options):
        (self.folder / 'plugins').mkdir(exist_ok=True)
        subprocess.run(['cc', '-O1', '-g', '-shared', '-fPIC', '-Wl,--build-id', *options, '-x', 'c', '-', '-o',
                        self.folder / 'plugins' / 'libhoard.so'], input=self.HOARD_C, text=True, check=True)

    def test_a_library_that_is_opened_by_a_relative_path_has_names(self):
        self.build_hoard()
        for path in ('plugins/libhoard.so', './plugins/libhoard.so'):
            recording = self.record_hoard(path)
            outputs = [self.tarn('report', '--json', recording, cwd=folder).stdout for folder in (self.folder, '/')]
            for report in map(json.loads, outputs):
                self.assertEqual(recordings.site_first(report, 'live_bytes')['site'], 'hoard_add (<stdin>:3)')
                self.assertIn(str(self.folder / 'plugins' / 'libhoard.so'),
                              [module['path'] for module in report['modules']])

    def test_but_not_those_of_another_library_there(self):
        self.build_hoard()
        recording = self.record_hoard('./plugins/libhoard.so')
        self.build_hoard('-DOTHER', '-O2')
        self.assertRegex(recordings.site_first(self.report(recording), 'live_bytes')['site'], r'^libhoard\.so\+0x')


class Terminal(Case):
    def lines_at(self, columns, *arguments):
        """What a terminal of so many columns is told."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 25, columns, 0, 0))
        result = self.tarn(*arguments, capture_output=False, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        text = b''
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:    # EIO is the end
            pass
        os.close(ours)
        return text.decode().splitlines()

    def test_a_report_is_as_wide_as_the_terminal(self):
        self.record('pinning_cache')
        self.record('growing', name='other')
        for arguments in (['report', 'recording'], ['report', '.'], ['diff', 'recording', 'other']):
            widths = {columns: max(map(len, self.lines_at(columns, *arguments))) for columns in (80, 100, 300)}
            self.assertLessEqual(widths[80], 80)
            self.assertLessEqual(widths[100], 100)
            self.assertEqual(widths[300], max(map(len, self.output(*arguments).splitlines())))


class Output(Case):
    """A file is there whole, or as it was."""

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def test_an_output_replaces_what_was_there(self):
        recording = self.record('leak')
        out = self.folder / 'out'
        out.write_text('before')
        out.chmod(0o640)
        self.assertEqual(self.output('report', '--json', '-o', out, recording), '')
        self.assertTrue(out.read_text().startswith('{'))
        self.assertEqual(out.stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.files(), ['out', 'recording'])

    def test_a_failure_leaves_what_was_there(self):
        out = self.folder / 'out'
        out.write_text('before')
        for form in (['--pprof', out], ['--json', '-o', out]):
            self.assert_refused(self.tarn('report', *form, self.folder / 'missing'), 'missing')
            self.assertEqual(out.read_text(), 'before')

    def test_a_recording_is_not_written_over(self):
        recording = self.record('leak')
        before = recording.read_bytes()
        (self.folder / 'link').symlink_to(recording)
        for form in (['--pprof', recording], ['-o', recording], ['--json', '-o', self.folder / 'link']):
            with self.subTest(form):
                self.assert_refused(self.tarn('report', *form, recording), 'cannot write', 'it is a recording')
                self.assertEqual(recording.read_bytes(), before)

    def test_a_folder_that_is_not_there_is_named(self):
        recording = self.record('leak')
        for form in ('--pprof', '-o'):
            result = self.tarn('report', form, self.folder / 'no' / 'out', recording)
            self.assert_refused(result, 'cannot write', 'no/out')
        self.assert_refused(self.tarn('report', '-o', self.folder, recording), 'cannot write')

    @unittest.skipUnless(os.geteuid() == 0, 'mounts a small file system')
    def test_a_disk_that_fills_midway_leaves_what_was_there(self):
        recording, disk = self.record('leak'), self.folder / 'disk'
        disk.mkdir()
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=32k', 'tmpfs', disk], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest('may not mount')
        self.addCleanup(subprocess.run, ['umount', '-l', disk], check=True)
        (disk / 'out').write_text('an earlier one\n')
        page = 4096
        full = bytes((32 << 10) - page)    # but for the earlier one
        for left, *form in ((page, '--html', disk / 'out'), (page, '--json', '-o', disk / 'out'),
                            (page, '--openmetrics', '-o', disk / 'out'), (0, '--pprof', disk / 'out')):
            with self.subTest(form):
                (disk / 'fill').write_bytes(full[left:])
                self.assert_refused(self.tarn('report', *form, recording), 'No space left')
                self.assertEqual((disk / 'out').read_text(), 'an earlier one\n')
                self.assertEqual({path.name for path in disk.iterdir()}, {'out', 'fill'})

    def test_a_full_disk_is_told(self):
        recording = self.record('leak')
        with open('/dev/full', 'w', encoding='utf-8') as full:
            for form in ([], ['--json'], ['--prometheus']):
                result = self.tarn('report', *form, recording, capture_output=False, stdout=full,
                                   stderr=subprocess.PIPE)
                self.assertEqual(result.returncode, 2)
                self.assertIn('No space left', result.stderr)
        self.assert_refused(self.tarn('report', '--pprof', '/dev/full', recording), 'No space left')


if __name__ == '__main__':
    recordings.main(sys.argv)
