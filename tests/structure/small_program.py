#!/usr/bin/env python3
"""small_program.py LIBRARY - a small program has little more memory of its own resident under the library than without it.

cat shows its own memory maps. What counts is its private memory, and the library's own file: of other files the kernel maps as
much around a fault as it has at hand, which differs by 60 KiB from run to run.
"""

import os
import statistics
import sys

import mappings
import sources

RUNS = 5
# cat has 124 more, 8 of them the front map (docs/decisions/048); before constants of rare code lay beside it 136, and before blocks
# came from larger classes' pages and code lay apart by who calls it, 168 to 178 (043).
MOST_KIB = 132
LEAST_KIB = 4  # a library that is not even loaded has none


def own_kib(library, **environment):
    # Else glibc, where meson asks it to, writes to each block whole.
    shown = mappings.shown(mappings.CAT, MALLOC_PERTURB_='0', **environment)
    return sum(mapping.kib['Rss' if mapping.name == library else 'Anonymous'] for mapping in shown)


def more_kib(library):
    return own_kib(library, LD_PRELOAD=library, TARN_OPTIONS='stats=off') - own_kib(library)


def faults(library):
    more = statistics.median(more_kib(library) for _ in range(RUNS))
    print(f'{more} KiB more are resident in cat')
    if more > MOST_KIB:
        yield f'{library}: {more} KiB more are resident in a small program than without it, and not {MOST_KIB} at most'
    elif more < LEAST_KIB:
        yield f'{library}: the check does not see the library'


if __name__ == '__main__':
    sources.finish('small program', [*faults(os.path.realpath(sys.argv[1]))])
