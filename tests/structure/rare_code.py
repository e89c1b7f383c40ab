#!/usr/bin/env python3
"""rare_code.py LIBRARY - a small program that allocates, without a report, has none of the library's rare code resident.

The program is cat, which shows its own memory map. Rare code is the library's second executable mapping
(preload/libtarn.ld); one function of it that runs in every program would bring it in whole.
"""

import os
import re
import subprocess
import sys

import sources

MAPPING = re.compile(r'[0-9a-f]+-[0-9a-f]+ (\S{4}) [0-9a-f]+ \S+ \d+\s*(.*)')
RESIDENT = re.compile(r'Rss:\s+(\d+) kB')


def executable_kib(library, stats):
    """Resident KiB of each executable mapping of the library in a cat under it, lowest first."""
    environment = dict(os.environ, LD_PRELOAD=library, TARN_OPTIONS='stats=' + stats)
    smaps = subprocess.run(['cat', '/proc/self/smaps'], env=environment, check=True, capture_output=True,
                           text=True).stdout
    found, counts = [], False
    for line in smaps.splitlines():
        mapping = MAPPING.match(line)
        if mapping:
            counts = 'x' in mapping.group(1) and mapping.group(2) == library
        resident = RESIDENT.match(line)
        if resident and counts:
            found.append(int(resident.group(1)))
    return found


def faults(library):
    without, with_report = executable_kib(library, 'off'), executable_kib(library, 'text')
    print(f'executable mappings, resident KiB: {without}, in a process with a report {with_report}')
    if len(without) != 2:
        yield f'{library}: rare code has no mapping of its own'
    elif without[1] != 0:
        yield f'{library}: {without[1]} KiB of rare code are resident in a program that needs none'
    elif with_report[1] == 0:
        yield f'{library}: the check sees no rare code even where it runs'


if __name__ == '__main__':
    sources.finish('rare code', [*faults(os.path.realpath(sys.argv[1]))])
