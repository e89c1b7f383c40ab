#!/usr/bin/env python3
"""small_program.py LIBRARY AT_EXIT - a small program has little more memory of its own resident under the library than without it,
whether it writes a report or not.

What counts is what is resident when it ends: its private memory, and the library's own file. Of other files the kernel maps as
much around a fault as it has at hand, which differs by 60 KiB from run to run.
"""

import os
import statistics
import subprocess
import sys

import mappings
import sources

RUNS = 5
# Medians of five runs are 28 to 32, 64 to 68, 80 to 88, and 116 to 124; a library with nothing in it has 10 to 14 more. docs/decisions/064 says
# which OS pages they are. Before it they were 40, 160, 96 and 204. Two OS pages of room for another machine.
MOST_KIB = {
    ('true', 'stats=off'): 40,
    ('true', 'stats=text'): 76,
    ('cat /etc/passwd', 'stats=off'): 96,
    ('cat /etc/passwd', 'stats=text'): 132,
}
LEAST_KIB = 4  # a library that is not even loaded has none
SKIPPED = 77


def own_kib(library, at_exit, command, *variables):
    shown = mappings.shown([at_exit, *variables, *command.split()])
    return sum(mapping.kib['Rss' if mapping.name == library else 'Anonymous'] for mapping in shown)


def more_kib(library, at_exit, command, options):
    return (own_kib(library, at_exit, command, f'LD_PRELOAD={library}', f'TARN_OPTIONS={options}')
            - own_kib(library, at_exit, command))


def faults(library, at_exit):
    for (command, options), most in MOST_KIB.items():
        more = statistics.median(more_kib(library, at_exit, command, options) for _ in range(RUNS))
        print(f'{more} KiB more are resident in {command} with {options}')
        if more > most:
            yield f'{library}: {more} KiB more are resident in {command} with {options} than without it, and not {most} at most'
        elif more < LEAST_KIB:
            yield f'{library}: the check does not see the library'


if __name__ == '__main__':
    if subprocess.run([sys.argv[2], 'true'], stdout=subprocess.DEVNULL, check=False).returncode == SKIPPED:
        sys.exit(SKIPPED)
    sources.finish('small program', [*faults(os.path.realpath(sys.argv[1]), sys.argv[2])])
