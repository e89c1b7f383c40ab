"""What is wrong with a pair of runs, in words."""
import difflib
import json
import os
import re

DIFF_LINES = 40
TAIL_LINES = 20

# The dynamic linker's complaint, and anything the library itself says: without a report there it speaks of misuse only.
_COMPLAINT = re.compile(rb'^.*(cannot be preloaded|\b(lib)?tarn(\.so)?: ).*$', re.MULTILINE)


def faults_find(case, without, preloaded, preload):
    """All that speaks against the case, each a text of one or more lines; [] when it passes."""
    faults = _reference_faults(without)
    if faults:
        return faults
    faults = _ending_faults(case, preloaded) + _output_faults(case, without, preloaded)
    if preload:
        faults += _library_faults(preloaded)
        if os.path.basename(preload).startswith('libtarn'):    # no other writes any
            faults += _report_faults(case, preloaded)
    if faults:
        faults.append(_tail('standard error with the preload', preloaded.stderr))
    return faults


def indent(text):
    return '\n'.join(f'    {line}' for line in text.splitlines())


def _reference_faults(run):
    """The run without the preload is the reference, so it has to succeed and to say something."""
    problem = ''
    if run.status is None:
        problem = f'ran out of time after {run.seconds:.0f} s'
    elif run.status != 0:
        problem = f'ended with status {run.status}'
    elif not run.stdout:
        problem = 'printed nothing, so nothing could be compared'
    elif run.left_running:
        problem = f'left running: {", ".join(run.left_running)}'
    if not problem:
        return []
    return [f'WITHOUT the preload it {problem}',
            _tail('standard output', run.stdout), _tail('standard error', run.stderr)]


def _ending_faults(case, run):
    if run.status is None:
        return [f'ran out of time: killed after {case.timeout_seconds:.0f} s', _tail('standard output', run.stdout)]
    faults = []
    if run.status != 0:
        faults.append(f'ended with status {run.status}, without the preload with 0')
    if run.left_running:
        faults.append(f'left running: {", ".join(run.left_running)}')
    return faults


def _output_faults(case, without, preloaded):
    faults = []
    if without.stdout != preloaded.stdout:
        faults.append(_diff('standard output', without.stdout, preloaded.stdout))
    if case.stderr_same and without.stderr != preloaded.stderr:
        faults.append(_diff('standard error', without.stderr, preloaded.stderr))
    return faults


def _library_faults(run):
    unseen = run.unseen if run.status == 0 else []  # a program that fell over at once cannot have been seen
    faults = [f'"{name}" was never seen with the library mapped' for name in unseen]
    complaint = _COMPLAINT.search(run.stderr)
    if complaint:
        faults.append(f'on standard error: {_lines(complaint[0])[0]}')
    return faults


_CAUSES = 'requested rounding holes tail retained pending metadata'.split()


def _report_faults(case, run):
    """Of each program one report has to be there, and in all of them the sheet has to add up to what is resident."""
    written = {name.rsplit('.', 2)[0] for name in run.reports}
    faults = [f'"{name}" wrote no report' for name in case.reports if name not in written]
    return faults + [f'{name}: {fault}' for name, text in sorted(run.reports.items()) for fault in _books_faults(text)]


def _books_faults(text):
    try:
        report = json.loads(text)
        causes = sum(report[f'{cause}_bytes'] for cause in _CAUSES) - report['untouched_bytes']
        sums = [('heap_rss_bytes', causes), ('rss_bytes', report['other_rss_bytes'] + report['heap_rss_bytes'])]
    except (ValueError, KeyError) as error:
        return [f'no report: {error!r}']
    return [f'the causes of {name} do not add up: {report[name]}, not {sum_}' for name, sum_ in sums if report[name] != sum_]


def _lines(data):
    return data.decode('utf-8', 'backslashreplace').splitlines()


def _diff(what, without, preloaded):
    lines = list(difflib.unified_diff(_lines(without), _lines(preloaded), 'without', 'preloaded', lineterm='', n=1))
    shown = lines[:DIFF_LINES] or ['(they differ in line ends only)']
    if len(lines) > DIFF_LINES:
        shown.append(f'... and {len(lines) - DIFF_LINES} more lines')
    return '\n'.join([f'{what} differs:'] + shown)


def _tail(what, data):
    lines = _lines(data)[-TAIL_LINES:]
    return '\n'.join([f'{what}, the last lines:'] + [f'| {line}' for line in lines]) if lines else f'{what}: empty'
