"""Instructions executed, counted by valgrind's callgrind: exact, on a busy machine too, but blind to caches and faults.

The loops lie in instruction_loops.c, where every call of the allocator is made by a function named call_*. What those
calls cost inclusively is read from callgrind's output, in two runs of N and 2N; their difference leaves out start-up
and warming. Names within the allocator play no part.
"""
import os
import re
import statistics
import subprocess

_CALLER = r'call_(\w+)'  # a compiler's clone has a suffix: call_calloc.constprop.0


class CountFailed(Exception):
    """Its text says which command failed and how."""


def program_count(argv, allocator, scratch):
    """All instructions of one run of a program."""
    return _total(_callgrind(argv, allocator, scratch))


def loop_count(program, case, count, allocator, scratch):
    """Instructions per call in one loop: {'malloc': 12.0, 'free': 18.0}; what the loop does not call is absent."""
    once = _calls(_callgrind([program, case, str(count)], allocator, scratch))
    twice = _calls(_callgrind([program, case, str(2 * count)], allocator, scratch))
    costs = {}
    for function, (calls, instructions) in twice.items():
        calls_before, instructions_before = once.get(function, (0, 0))
        if calls > calls_before:
            costs[function] = (instructions - instructions_before) / (calls - calls_before)
    if not costs:
        raise CountFailed(f'{case}: callgrind saw no calls')
    return costs


def fast_count(program, case, count, allocator, scratch, calls=9):
    """Instructions of the most usual call: the median of what each of some consecutive calls adds, run by run."""
    runs = [_calls(_callgrind([program, case, str(count + more)], allocator, scratch)) for more in range(calls + 1)]
    if not runs[0]:
        raise CountFailed(f'{case}: callgrind saw no calls')
    totals = {function: [run[function][1] for run in runs] for function in runs[0]}
    return {function: float(statistics.median(after - before for before, after in zip(total, total[1:])))
            for function, total in totals.items()}


def _callgrind(argv, allocator, scratch):
    path = os.path.join(scratch, 'callgrind.out')
    environment = {**os.environ, **allocator.environment, 'LD_BIND_NOW': '1'}  # no symbol lookup in the first call
    environment.pop('LD_PRELOAD', None)
    if allocator.library is not None:
        environment['LD_PRELOAD'] = allocator.library
    command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={path}', '--compress-strings=no',
               '--compress-pos=no', *argv]
    ended = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                           errors='replace', check=False)
    if ended.returncode != 0:
        raise CountFailed(f'{" ".join(argv)}: status {ended.returncode}: {ended.stderr.strip()[-200:]}')
    with open(path, errors='replace') as output:
        text = output.read()
    os.unlink(path)
    return text


def _total(text):
    match = re.search(r'^(?:summary|totals): (\d+)', text, re.MULTILINE)
    if match is None:
        raise CountFailed('callgrind wrote no total')
    return int(match[1])


def _calls(text):
    """function -> (calls, inclusive instructions) of all calls that call_<function> makes.

    "fn=NAME" opens a function; "calls=COUNT ..." announces a call whose inclusive cost ends the next line.
    """
    found, function, pending = {}, '', None
    for line in text.splitlines():
        if pending is not None:
            calls, instructions = found.get(function, (0, 0))
            found[function] = (calls + pending, instructions + int(line.split()[-1]))
            pending = None
        elif line.startswith('fn='):
            match = re.match(_CALLER, line[3:])
            function = match[1] if match else ''
        elif line.startswith('calls=') and function:
            pending = int(line[6:].split()[0])
    return found
