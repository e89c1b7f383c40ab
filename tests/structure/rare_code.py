#!/usr/bin/env python3
"""rare_code.py LIBRARY SHOWS_MAPS ROOT - a program that allocates nothing has of the library's code only the start's resident; a small
one that does, none of the rare code, none of what recordings need if it is not recorded, none of what only larger programs
call, and of the report's only if it writes one; and a larger one, none of what few programs do.

The programs show their own memory maps; some of them have written a report before. The library's executable mappings are, in
order (preload/libtarn.ld): what the start runs, what each program that allocates runs, what larger programs run, what few
programs do, a report, rare code, and what recordings need. One function of them that runs in every program, or one text that it
says, would bring any of them in whole. And what only hardened programs call (HARDENED) stands beside none of what all do.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import mappings
import sources

HARDENED = re.compile(r'^(?:static )?HARDENED [^;{(]*?(\w+)\(')
FUNCTION = re.compile(r' F (\S+)\s+[0-9a-f]+\s+(?:\.hidden )?(\w+)(?:\.(?:lto_priv|constprop|isra|part)\.\d+)*$', re.MULTILINE)

REPORTS = [sys.executable, '-c', 'import ctypes; ctypes.CDLL(None).tarn_report(); print(open("/proc/self/smaps").read())']


def executable_kib(library, options, command):
    """Resident KiB of each executable mapping of the library in a command under it, lowest first."""
    return [mapping.kib['Rss'] for mapping in mappings.shown(command, LD_PRELOAD=library, TARN_OPTIONS=options)
            if 'x' in mapping.access and mapping.name == library]


def faults(library, shows_maps, folder):
    idle = executable_kib(library, 'stats=off', [shows_maps])
    bare = executable_kib(library, 'stats=off', mappings.CAT)
    grown = executable_kib(library, 'stats=off', [shows_maps, 'larger'])
    told = executable_kib(library, 'stats=text', [shows_maps, 'reported'])
    reported = executable_kib(library, 'stats=text', REPORTS)
    recorded = executable_kib(library, f'stats=text:record={folder}/%p', REPORTS)
    print(f'executable mappings, resident KiB: {idle} where nothing is allocated, {bare}; in a larger program {grown}; '
          f'with a report {told}, in python {reported}; recorded {recorded}')
    if len(bare) != 7:
        yield f'{library}: rare code has no mappings of its own'
        return
    start, code, larger, seldom, report, rare, record = range(7)
    if sum(idle) != idle[start]:
        yield f'{library}: {sum(idle) - idle[start]} KiB of code beyond what starts it are resident where nothing is allocated'
    elif bare[report] + bare[rare] + bare[record] != 0:
        yield f'{library}: {bare[report] + bare[rare] + bare[record]} KiB of rare code are resident in a program that needs none'
    elif bare[larger] + bare[seldom] != 0:
        yield f'{library}: {bare[larger] + bare[seldom]} KiB are resident in a small program of code that only larger ones call'
    elif sum(grown) != grown[start] + grown[code] + grown[larger]:
        yield f'{library}: {sum(grown[seldom:])} KiB are resident in a larger program of code that few programs call'
    elif sum(told) != told[start] + told[code] + told[report]:
        yield f'{library}: {told} KiB of code are resident for a report, which needs none of what few programs do, and no rare code'
    elif reported[record] != 0:
        yield f'{library}: {reported[record]} KiB of what recordings need are resident where there is none'
    elif idle[start] == 0 or bare[code] == 0 or grown[larger] == 0 or told[report] == 0:
        yield f'{library}: the check sees no code even where it runs'
    elif reported[seldom] == 0 or reported[rare] == 0 or recorded[record] == 0:
        yield f'{library}: the check sees no rare code even where it runs'


def hardened_names(root):
    return {name for folder in ('pool', 'preload') for path in sources.files(root / folder)
            for _, line in sources.code_lines(path) for name in HARDENED.findall(line)}


def hardened_faults(library, root):
    symbols = subprocess.run(['objdump', '--syms', library], check=True, capture_output=True, text=True).stdout
    names, found = hardened_names(root), set()
    for section, name in FUNCTION.findall(symbols):
        if name in names:
            found.add(name)
            if section != '.text_seldom':
                yield f'{library}: {name}, which only hardened programs call, is in {section}'
    print(f'hardened functions: {len(found)}')
    if found != names or not names:
        yield f'{library}: hardened functions that are not found: {", ".join(sorted(names - found)) or "all"}'


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as scratch:
        sources.finish('rare code', [*faults(os.path.realpath(sys.argv[1]), sys.argv[2], scratch),
                                     *hardened_faults(sys.argv[1], pathlib.Path(sys.argv[3]))])
