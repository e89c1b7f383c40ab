"""What the tests of report, diff and top share: programs run with a recording, and readers of what tarn writes."""

import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).parent.parent / 'recording'))
import reader

TARN = LIBTARN = PLANTED = None    # set by main()
SOURCES = pathlib.Path(__file__).resolve().parent / 'planted'
PATIENCE_S = 60
METRICS = {'live_bytes': 'live_bytes', 'live_blocks': 'live_blocks', 'requested_bytes': 'requested_bytes',
           'rounding_bytes': 'rounding_bytes', 'pinned_bytes': 'holes_bytes'}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-report-')).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in ('LD_PRELOAD', 'TARN_OPTIONS', 'TARN_LIBRARY', 'DEBUGINFOD_URLS')}
        self.environment['XDG_STATE_HOME'] = str(self.folder / 'state')

    def options(self, recording, *more):
        """A sample for so many bytes is the default, but as rare as it has to be to cost next to nothing: of a program
        that does little but allocate, in one run of fifty none is of the call site that is looked for."""
        return {**self.environment, 'LD_PRELOAD': LIBTARN,
                'TARN_OPTIONS': ':'.join([f'record={recording}', 'stats=off', 'sample=512KiB', *more])}

    def record(self, program, *more, name='recording'):
        """The recording of a planted program, which has ended."""
        recording = self.folder / name
        subprocess.run([PLANTED / program], env=self.options(recording, *more), check=True, timeout=PATIENCE_S,
                       stdout=subprocess.DEVNULL, cwd=self.folder)
        return recording

    def start(self, program, *more, name='recording'):
        """The same of one that goes on; it has done its first work."""
        recording = self.folder / name
        process = subprocess.Popen([PLANTED / program, 'on'], env=self.options(recording, 'record_signal=USR2', *more),
                                   text=True, stdout=subprocess.PIPE, cwd=self.folder)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), 'served\n')
        self.take_snapshot(process, recording)
        return process, recording

    @staticmethod
    def take_snapshot(process, recording):
        """One that shows the first work: unasked for, it comes when the processor time that was spent allows for it."""
        until = time.monotonic() + PATIENCE_S
        process.send_signal(signal.SIGUSR2)
        while reader.AT_REQUEST not in {each.reason for each in reader.Recording(recording).snapshots}:
            assert time.monotonic() < until, 'no snapshot came'
            time.sleep(0.02)

    def start_held(self, program):
        """It stands still then, where what is looked at twice has to be the same: what goes on goes on to grow."""
        process, recording = self.start(program)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        return process, recording

    @staticmethod
    def end(process):
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()

    def tarn(self, *arguments, **more):
        return subprocess.run([TARN, *map(str, arguments)], env=self.environment, check=False, text=True,
                              timeout=PATIENCE_S, **{'cwd': self.folder, 'capture_output': True, **more})

    def output(self, *arguments):
        result = self.tarn(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ''), arguments)
        return result.stdout

    def report(self, recording):
        return json.loads(self.output('report', '--json', recording))

    def pprof_data(self, recording, *more):
        file = self.folder / 'profile.pb.gz'
        self.output('report', '--pprof', file, *more, recording)
        return gzip.decompress(file.read_bytes())

    def pprof(self, recording, *more):
        """Pairs of stack (function names, innermost first) and values by type."""
        return pprof_stacks(self.pprof_data(recording, *more))

    def assert_refused(self, result, *words):
        """One line that says what is wrong, and status 2."""
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, '')
        self.assertEqual(result.stderr.count('\n'), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def assert_adds_up(self, report):
        """Each metric's sum over all stacks, and over all sites, is the balance sheet's figure."""
        moments = {'': ('last', METRICS), 'worst_': ('worst', {'pinned_bytes': 'holes_bytes'}),
                   'peak_': ('peak_live', {key: METRICS[key] for key in METRICS if key != 'pinned_bytes'})}
        for prefix, (moment, metrics) in moments.items():
            snapshot = report['snapshots'][report[moment]]
            for metric, field in metrics.items():
                for rows in ('stacks', 'sites'):
                    total = sum(row[prefix + metric] for row in report[rows])
                    self.assertEqual(total, snapshot[field], f'{rows}: {prefix}{metric}')
        last = report['snapshots'][report['last']]
        self.assertEqual(sum(stack['allocated_blocks'] for stack in report['stacks']), last['allocated_total'])
        for stack in report['stacks']:
            self.assertEqual(stack['live_bytes'], stack['requested_bytes'] + stack['rounding_bytes'])
        self.assert_balances(report)

    def assert_balances(self, report):
        for snapshot in report['snapshots']:
            self.assertEqual(snapshot['rss_bytes'], snapshot['other_rss_bytes'] + snapshot['heap_rss_bytes'])
            self.assertEqual(snapshot['heap_rss_bytes'],
                             sum(snapshot[name + '_bytes'] for name in ('requested', 'rounding', 'holes', 'tail',
                                                                        'retained', 'pending', 'metadata'))
                             - snapshot['untouched_bytes'])
            self.assertEqual(snapshot['live_bytes'], snapshot['requested_bytes'] + snapshot['rounding_bytes'])


def site_first(report, metric):
    """The call site that has most of a metric, [unattributed] aside."""
    return max(report['sites'][:-1], key=lambda site: site[metric])


# --- pprof's format, from its published field numbers -----------------------------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """Pairs of field number and value: a number, or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f'wire type {key & 7}'
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            assert len(value) == length
        yield key >> 3, value


def numbers(message, wanted):
    """A repeated number, packed or not."""
    out = []
    for number, value in fields(message):
        if number == wanted and isinstance(value, int):
            out.append(value)
        elif number == wanted:
            at = 0
            while at < len(value):
                one, at = varint(value, at)
                out.append(one)
    return out


def number_of(message, wanted):
    return (numbers(message, wanted) or [0])[0]


def messages(message, wanted):
    return [value for number, value in fields(message) if number == wanted]


def pprof_texts(data):
    return [value.decode() for value in messages(data, 6)]


def pprof_stacks(data):
    texts = pprof_texts(data)
    assert texts[0] == ''
    types = [texts[number_of(each, 1)] for each in messages(data, 1)]
    functions = {number_of(each, 1): texts[number_of(each, 2)] for each in messages(data, 5)}
    locations = {number_of(each, 1): [functions[number_of(line, 1)] for line in messages(each, 4)]
                 for each in messages(data, 4)}
    return [([name for location in numbers(sample, 1) for name in locations[location]],
             dict(zip(types, numbers(sample, 2), strict=True))) for sample in messages(data, 2)]


# --- folded stacks, metrics -------------------------------------------------------------------------------------------

def folded_stacks(text):
    """Pairs of stack (outermost first) and value."""
    return [(line.rpartition(' ')[0].split(';'), int(line.rpartition(' ')[2])) for line in text.splitlines()]


METRIC_LINE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\} (\d+)(?: (\d+\.\d+))?')


def metric_lines(text):
    """(name, labels, value, time or None) of each sample; a line that is neither sample nor comment is an error."""
    for line in text.splitlines():
        if line.startswith('#'):
            continue
        match = METRIC_LINE.fullmatch(line)
        assert match, line
        yield match.group(1), match.group(2), int(match.group(3)), match.group(4) and float(match.group(4))


def main(arguments):
    global TARN, LIBTARN, PLANTED
    TARN, LIBTARN, PLANTED = (pathlib.Path(argument).resolve() for argument in arguments[1:4])
    LIBTARN = str(LIBTARN)
    unittest.main(module='__main__', argv=[arguments[0], *arguments[4:]], verbosity=2)
