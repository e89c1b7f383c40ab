#!/usr/bin/env python3
"""layers.py SOURCE_ROOT - every #include goes downwards.

A file of pool/ includes headers of lower layers and of its own noun, nothing else of the project; pool/ never includes
preload/. This table is the drawing in pool/README.md: who adds a file adds its noun here. tools/ shares the recording's
layout with the library, and nothing else.
"""

import pathlib
import re
import sys

import sources

# Bottom up. Nouns of one layer do not know each other.
LAYERS = [
    ['bits'],
    ['kernel_filter'],
    ['kernel_call'],
    ['config', 'os', 'bitset', 'misuse'],
    ['size_class', 'lock', 'meta', 'budget', 'reserve', 'residency', 'tiles'],
    ['page', 'extent', 'huge', 'trap'],
    ['remote', 'zone', 'large_cache', 'large_direct', 'large_huge'],
    ['block_bits', 'zone_sets', 'zone_guard', 'large_live'],
    ['zone_region', 'zone_leave', 'large'],
    ['zone_purge', 'zone_withdraw', 'large_resize'],
    ['zone_page'],
    ['mosaic'],
    ['heap'],
    ['deputy', 'medium', 'purge', 'registry', 'requested', 'sample', 'sparse'],
    ['harden', 'refill', 'survey', 'check'],
    ['pool'],
    ['aside', 'pool_thread', 'pool_trim', 'pool_pointer', 'pool_fork'],
    ['pool_alloc', 'pool_realloc'],
    ['pool_free'],
]

# Files whose name is not that of their noun.
NOUN_OF_FILE = {
    'os_calls': 'os', 'os_guard': 'os', 'os_linux': 'os', 'os_locked': 'os', 'os_residency': 'os',
    'survey_ranges': 'survey', 'survey_sums': 'survey', 'survey_totals': 'survey',
}

# Headers that a noun's own files share.
PRIVATE = ['os_calls.h']

# The parts of preload/ that read the heap see it as plain data: of pool/ they include these headers only.
READERS = ['report', 'sheet', 'sampler', 'recorder']
FOR_READERS = ['survey', 'sample', 'bits', 'config']

# All that tools/ includes of the library.
SHARED = ['recording.h']

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
LEVEL = {noun: level for level, nouns in enumerate(LAYERS) for noun in nouns}


def noun_of(name):
    stem = pathlib.PurePath(name).stem
    return NOUN_OF_FILE.get(stem, stem)


def includes(path):
    """Pairs of line number and the name as written. Comments stay in: a string is what is looked for."""
    for number, line in enumerate(path.read_text().split('\n'), start=1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1)


def fault_in_pool(noun, included, in_pool, in_preload):
    """What is wrong with a file of `noun` in pool/ including `included`; None if nothing."""
    name = pathlib.PurePath(included).name
    if 'preload' in pathlib.PurePath(included).parts or (name in in_preload and name not in in_pool):
        return 'pool/ does not know preload/'
    if name not in in_pool:
        return None    # the system's
    other = noun_of(name)
    if name in PRIVATE and other != noun:
        return f'{name} is for the files of {other} alone'
    if other == noun or LEVEL.get(other, len(LAYERS)) < LEVEL[noun]:
        return None
    return f'{other} is not below {noun}'


def fault_in_preload(noun, included, in_pool):
    name = pathlib.PurePath(included).name
    if name in PRIVATE and name in in_pool:
        return f'{name} is for the files of {noun_of(name)} alone'
    if name not in in_pool or pathlib.PurePath(name).stem in FOR_READERS:
        return None
    if any(noun == reader or noun.startswith(reader + '_') for reader in READERS):
        return f'{noun} sees the heap through survey.h only'
    return None


def faults_in_tools(root, in_library):
    """A header of the library, by any path, where tools/ has none of that name."""
    if not (root / 'tools').is_dir():
        return
    tools = sources.files(root / 'tools')
    own = {path.name for path in tools}
    for path in tools:
        for number, included in includes(path):
            parts = pathlib.PurePath(included).parts
            foreign = 'pool' in parts or 'preload' in parts or (parts[-1] in in_library and parts[-1] not in own)
            if foreign and not (parts[-1] in SHARED and 'preload' in parts):
                yield f'{path}:{number}: includes {included}: tools/ shares {" and ".join(SHARED)}'


def check(root):
    pool, preload = sources.files(root / 'pool'), sources.files(root / 'preload')
    in_pool, in_preload = {path.name for path in pool}, {path.name for path in preload}
    faults = [f'{path}: {noun_of(path.name)} has no place in the table of layers.py'
              for path in pool if noun_of(path.name) not in LEVEL]
    for path in pool + preload:
        noun = noun_of(path.name)
        if path in pool and noun not in LEVEL:
            continue
        for number, included in includes(path):
            fault = (fault_in_pool(noun, included, in_pool, in_preload) if path in pool
                     else fault_in_preload(noun, included, in_pool))
            if fault:
                faults.append(f'{path}:{number}: includes {included}: {fault}')
    return faults + [*faults_in_tools(root, in_pool | in_preload)]


if __name__ == '__main__':
    sources.finish('layers', check(pathlib.Path(sys.argv[1])))
