#!/usr/bin/env python3
"""test_traps.py PROGRAM LIBRARY - what is said where a trap is touched, and what becomes of the program.

    on_error=abort     the message with both stacks, then the fault's own signal, or the program's own handler
    on_error=report    the message, then the program goes on
"""

import os
import re
import signal
import subprocess
import sys

program, library = sys.argv[1:]
faults = []

DONE = r'tarn:   done: misuse_traps\+0x[0-9a-f]+\n'
ALLOCATED = r'tarn:   allocated by thread \d+: misuse_traps\+0x[0-9a-f]+ < .*\n'
FREED = r'tarn:   freed by thread \d+: misuse_traps\+0x[0-9a-f]+ < .*\n'
BLOCK = r' \(block of 40 bytes\)\n'
KIND = {'write': 'write to', 'read': 'read of'} if os.uname().machine == 'x86_64' else \
       {'write': 'access to', 'read': 'access to'}

# case -> how far from the block, and what is said
CASES = {
    'write_behind': (48, f'tarn: {KIND["write"]} %s: 8 bytes behind the end of a live block{BLOCK}{DONE}{ALLOCATED}'),
    'read_before': (-5000, f'tarn: {KIND["read"]} %s: 5000 bytes before the start of a live block{BLOCK}{DONE}{ALLOCATED}'),
    'read_freed': (3, f'tarn: {KIND["read"]} %s: 3 bytes in a freed block{BLOCK}{DONE}{ALLOCATED}{FREED}'),
    'write_freed': (39, f'tarn: {KIND["write"]} %s: 39 bytes in a freed block{BLOCK}{DONE}{ALLOCATED}{FREED}'),
}
DOUBLE_FREE = rf'tarn: free\(\): %s: double free{BLOCK}{ALLOCATED}{FREED}'


def commit(case, handler='none', options=''):
    environment = {**os.environ, 'LD_PRELOAD': library, 'TARN_OPTIONS': f'stats=off:harden=3:traps=1{options}'}
    return subprocess.run([program, case, handler], env=environment, capture_output=True, text=True, timeout=60,
                          check=False)


def require(what, result, code, last, pattern='', distance=0):
    words = result.stdout.split('\n', 1)
    message = pattern % hex(int(words[0], 16) + distance) if pattern else ''
    if result.returncode != code or words[1] != last or not re.fullmatch(message, result.stderr):
        faults.append(f'{what}: status {result.returncode}, not {code}; after the address "{words[1]}", not "{last}"; said\n'
                      f'{result.stderr}and not\n{message}')


for case, (distance, pattern) in CASES.items():
    require(case, commit(case), -signal.SIGSEGV, '', pattern, distance)
    require(f'{case}, report', commit(case, options=':on_error=report'), 0, 'went on\n', pattern, distance)
    for handler in 'handler', 'informed':
        require(f'{case}, {handler}', commit(case, handler), 3, 'handled\n', pattern, distance)
        require(f'{case}, {handler}, report', commit(case, handler, ':on_error=report'), 0, 'went on\n', pattern, distance)

require('double_free', commit('double_free'), -signal.SIGABRT, '', DOUBLE_FREE)
require('double_free, report', commit('double_free', options=':on_error=report'), 0, 'went on\n', DOUBLE_FREE)

# What is no trap's is not ours.
require('nothing', commit('nothing'), 0, 'went on\n')
require('null', commit('null'), -signal.SIGSEGV, '')
require('null, handler', commit('null', 'handler'), 3, 'handled\n')
require('null, report', commit('null', options=':on_error=report'), -signal.SIGSEGV, '')

if faults:
    sys.exit('\n'.join(faults))
