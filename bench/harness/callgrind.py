"""Instructions executed, or branches mispredicted, counted by valgrind's callgrind: exact, on a busy machine too, but blind
to caches and faults. Branches are predicted by valgrind's model: 16,384 counters of two bits, chosen by a branch's address and
the outcomes of the last few, and 512 targets of indirect jumps. A processor of today foresees more of the branches that
follow a pattern, and no more of those that follow none.

The loops lie in instruction_loops.c, where every call of the allocator is made by a function named call_*. What those
calls cost inclusively is read from callgrind's output, in two runs of N and 2N; their difference leaves out start-up
and warming. Names within the allocator play no part.
"""
import os
import re
import statistics
import subprocess

# What can be counted: the sums of these of callgrind's events.
INSTRUCTIONS = ('Ir',)
MISPREDICTIONS = ('Bcm', 'Bim')  # of conditional branches, and of indirect ones

_CALLER = r'call_(\w+)'  # a compiler's clone has a suffix: call_calloc.constprop.0


class CountFailed(Exception):
    """Its text says which command failed and how."""


def program_count(argv, allocator, scratch):
    """All instructions of one run of a program."""
    return _total(_callgrind(argv, allocator, scratch))


def loop_count(program, case, count, allocator, scratch, events=INSTRUCTIONS):
    """Events per call in one loop: {'malloc': 12.0, 'free': 18.0}; what the loop does not call is absent."""
    once = _calls(_callgrind([program, case, str(count)], allocator, scratch, events), events)
    twice = _calls(_callgrind([program, case, str(2 * count)], allocator, scratch, events), events)
    costs = {}
    for function, (calls, cost) in twice.items():
        calls_before, cost_before = once.get(function, (0, 0))
        if calls > calls_before:
            costs[function] = (cost - cost_before) / (calls - calls_before)
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


def _callgrind(argv, allocator, scratch, events=INSTRUCTIONS):
    path = os.path.join(scratch, 'callgrind.out')
    environment = {**os.environ, **allocator.environment, 'LD_BIND_NOW': '1'}  # no symbol lookup in the first call
    environment.pop('LD_PRELOAD', None)
    environment.pop('MALLOC_PERTURB_', None)  # meson sets it: the C library would fill each block, which valgrind takes byte by byte
    if allocator.library is not None:
        environment['LD_PRELOAD'] = allocator.library
    command = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={path}', '--compress-strings=no',
               '--compress-pos=no', f'--branch-sim={"no" if events == INSTRUCTIONS else "yes"}', *argv]
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


def _event_columns(text, events):
    """Where the events stand among a line's costs: "events: Ir Bc Bcm Bi Bim"."""
    match = re.search(r'^events: (.*)', text, re.MULTILINE)
    names = match[1].split() if match else []
    if not set(events) <= set(names):
        raise CountFailed(f'callgrind counted no {", ".join(events)}')
    return [names.index(event) for event in events]


def _calls(text, events=INSTRUCTIONS):
    """function -> (calls, inclusive events) of all calls that call_<function> makes.

    "fn=NAME" opens a function; "calls=COUNT ..." announces a call whose inclusive costs follow the position in the next line,
    as far as they are not 0.
    """
    columns = _event_columns(text, events)
    found, function, pending = {}, '', None
    for line in text.splitlines():
        if pending is not None:
            costs = [int(cost) for cost in line.split()[1:]]
            calls, cost = found.get(function, (0, 0))
            found[function] = (calls + pending, cost + sum(costs[column] for column in columns if column < len(costs)))
            pending = None
        elif line.startswith('fn='):
            match = re.match(_CALLER, line[3:])
            function = match[1] if match else ''
        elif line.startswith('calls=') and function:
            pending = int(line[6:].split()[0])
    return found
