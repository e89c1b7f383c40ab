#!/usr/bin/env python3
"""rare_code.py LIBRARY - a small program that allocates has none of the library's rare code resident if it writes no
report, none of what recordings need if it is not recorded, and none of what only larger programs call.

The programs show their own memory maps; one of them has written a report before. The library's executable mappings are, in
order (preload/libtarn.ld): what the start runs, what each program that allocates runs, what small programs do not call,
rare code, and what recordings need. One function of them that runs in every program would bring any of them in whole.
"""

import os
import re
import subprocess
import sys
import tempfile

import sources

MAPPING = re.compile(r'[0-9a-f]+-[0-9a-f]+ (\S{4}) [0-9a-f]+ \S+ \d+\s*(.*)')
RESIDENT = re.compile(r'Rss:\s+(\d+) kB')

ALLOCATES = ['cat', '/proc/self/smaps']
REPORTS = [sys.executable, '-c', 'import ctypes; ctypes.CDLL(None).tarn_report(); print(open("/proc/self/smaps").read())']


def executable_kib(library, options, command):
    """Resident KiB of each executable mapping of the library in a command under it, lowest first."""
    environment = dict(os.environ, LD_PRELOAD=library, TARN_OPTIONS=options)
    smaps = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found, counts = [], False
    for line in smaps.splitlines():
        mapping = MAPPING.match(line)
        if mapping:
            counts = 'x' in mapping.group(1) and mapping.group(2) == library
        resident = RESIDENT.match(line)
        if resident and counts:
            found.append(int(resident.group(1)))
    return found


def faults(library, folder):
    bare = executable_kib(library, 'stats=off', ALLOCATES)
    reported = executable_kib(library, 'stats=text', REPORTS)
    recorded = executable_kib(library, f'stats=text:record={folder}/%p', REPORTS)
    print(f'executable mappings, resident KiB: {bare}; with a report {reported}; recorded {recorded}')
    if len(bare) != 5:
        yield f'{library}: rare code has no mappings of its own'
        return
    _, code, seldom, rare, record = range(5)
    if bare[rare] + bare[record] != 0:
        yield f'{library}: {bare[rare] + bare[record]} KiB of rare code are resident in a program that needs none'
    elif bare[seldom] != 0:
        yield f'{library}: {bare[seldom]} KiB are resident in a small program of code that only larger ones call'
    elif reported[record] != 0:
        yield f'{library}: {reported[record]} KiB of what recordings need are resident where there is none'
    elif bare[code] == 0 or reported[seldom] == 0 or reported[rare] == 0 or recorded[record] == 0:
        yield f'{library}: the check sees no code even where it runs'


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as scratch:
        sources.finish('rare code', [*faults(os.path.realpath(sys.argv[1]), scratch)])
