#!/usr/bin/env python3
"""test_misuse.py PROGRAM LIBRARY FAULT - commits a fault and compares message, end and heap with what is expected.

    on_error=abort (the default)    the message, then SIGABRT
    on_error=report                 the message, then the program goes on with a whole heap

Each with harden=0 and with every level above.

The name `table` instead of a fault checks that the table and the program know the same faults; `closed` that with
standard error closed the program is aborted all the same; `recorded` that a profile's stack is told.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile

import expectations

PATIENCE_S = 30    # the program ends itself earlier when it hangs

program, library, fault = sys.argv[1:]


def commit(name, options, **more):
    environment = {**os.environ, 'LD_PRELOAD': library, 'TARN_OPTIONS': 'stats=off' + options}
    return subprocess.run([program, *name], env=environment, stdout=subprocess.PIPE, check=False, text=True,
                          timeout=PATIENCE_S, **{'stderr': subprocess.PIPE, **more})


def require(true, text, result):
    if not true:
        sys.exit(f'{fault}: {text}\nended with {result.returncode}\nstandard output:\n{result.stdout}'
                 f'standard error:\n{result.stderr}')


def check_detected(line, level):
    for options, status, last in (('', -signal.SIGABRT, ''), (':on_error=abort', -signal.SIGABRT, ''),
                                  (':on_error=report', 0, 'whole\n')):
        options += f':harden={level}{expectations.HARDEN_OPTIONS[level]}'
        result = commit([fault], options)
        address, size = result.stdout.split(None, 2)[:2]
        expected = line.format(address=address, bytes=size)
        require(result.stderr == expected, f'with "{options}" the message should be\n{expected}', result)
        require(result.returncode == status, f'with "{options}" it should end with {status}', result)
        require(result.stdout.split('\n', 1)[1] == last, f'with "{options}" "{last}" should come last', result)


def check_silent(level):
    for options in ('', ':on_error=report', ':stats=text'):    # the report reads the heap as it was left
        options += f':harden={level}{expectations.HARDEN_OPTIONS[level]}'
        result = commit([fault], options)
        require(result.returncode != -signal.SIGALRM, f'with "{options}" it hangs', result)
        require(re.search(r'^tarn: [a-z_ ]+\(\)', result.stderr, re.M) is None, 'it is detected now: put the message into expectations.py', result)


def check_recorded():
    """With a profile, the stack that allocated a sampled block is told, too."""
    with tempfile.TemporaryDirectory() as folder:
        result = commit(['free_inside_64_bytes'], f':harden=1:record={folder}/recording:sample=1')
    address, size = result.stdout.split(None, 2)[:2]
    line = expectations.expectation('free_inside_64_bytes', 1).format(address=address, bytes=size)
    stack = r'tarn:   allocated: misuse_faults\+0x[0-9a-f]+ < .*\n'
    require(re.fullmatch(re.escape(line) + stack, result.stderr), f'the message should be\n{line}{stack}', result)


def check_table():
    result = commit([], '')
    names = set(result.stdout.split())
    require(names == expectations.all_faults(), f'only one side knows {names ^ expectations.all_faults()}', result)


def check_closed():
    result = commit(['double_free_of_2000_bytes'], '', preexec_fn=lambda: os.close(2), stderr=None)
    require(result.returncode == -signal.SIGABRT, 'it should be aborted', result)
    result = commit(['double_free_of_2000_bytes'], ':on_error=report', preexec_fn=lambda: os.close(2), stderr=None)
    require(result.returncode == 0, 'it should go on', result)


if fault == 'table':
    check_table()
elif fault == 'recorded':
    check_recorded()
elif fault == 'closed':
    check_closed()
for level in expectations.HARDEN_OPTIONS if fault not in ('table', 'closed', 'recorded') else ():
    expected = expectations.expectation(fault, level)
    if expected is None:
        check_silent(level)
    else:
        check_detected(expected, level)
