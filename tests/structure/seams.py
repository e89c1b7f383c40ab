#!/usr/bin/env python3
"""seams.py SOURCE_ROOT BUILD_ROOT - what one file alone may do, no other does.

In pool/ only os_linux.c and its like (os_*.c) talk to the kernel; in preload/ only kernel.h does so by a call's number.
Of what was compiled, only preload/entry.c and preload/cxx.c define a name of malloc's family. The first is read from the
sources; the second from the object files, so that macros and aliases hide nothing.
"""

import fnmatch
import pathlib
import re
import subprocess
import sys

import sources

OS_FILES = 'os_*.[ch]'
NAMING_FILE = 'kernel_filter.c' # it tells such calls by their numbers, and makes none
OS_CALL = re.compile(r'\b(?:SYS_|__NR_)?(?:mmap|mmap64|munmap|mprotect|madvise|process_madvise|mremap|mincore|s?brk)\b')

# System calls by number, and the macros that make them: the two headers that define such calls, and who may use them.
NUMBERED_CALL = re.compile(r'\b(?:syscall|kernel_call|KERNEL_CALL\d)\s*\(')
CALL_FILES = {'pool': ['kernel_call.h', OS_FILES], 'preload': ['kernel.h']}

MALLOC_FILES = ['entry.c', 'cxx.c', 'stats_api.c']
MALLOC_NAMES = set('''
    malloc free calloc realloc reallocarray aligned_alloc posix_memalign memalign valloc pvalloc free_sized
    free_aligned_sized cfree malloc_usable_size malloc_trim malloc_stats malloc_info mallinfo mallinfo2 mallopt
'''.split())
OPERATOR = re.compile(r'_Z(?:n[wa][mj]|d[la]P)')    # operator new, new[], delete, delete[], with any further parameters


def is_one_of(path, patterns):
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def kernel_calls(root):
    for path in sources.files(root / 'pool'):
        if is_one_of(path, [OS_FILES, NAMING_FILE]):
            continue
        for number, line in sources.code_lines(path):
            for match in OS_CALL.finditer(line):
                yield f'{path}:{number}: {match.group()}: only {OS_FILES} does that'


def numbered_calls(root):
    for folder, allowed in CALL_FILES.items():
        for path in sources.files(root / folder):
            if is_one_of(path, allowed):
                continue
            for number, line in sources.code_lines(path):
                for match in NUMBERED_CALL.finditer(line):
                    yield f'{path}:{number}: {match.group()}: in {folder}/ only {" and ".join(allowed)} does that'


def is_malloc_name(symbol):
    return symbol in MALLOC_NAMES or OPERATOR.match(symbol) is not None


def defined(path):
    """The symbols an object file or archive defines for others, hidden ones too."""
    listing = subprocess.run(['nm', '--defined-only', '--extern-only', '--format=posix', path],
                             check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in listing.splitlines() if len(line.split()) > 1}


def objects(build):
    """Everything compiled for pool/ and preload/; none is an error."""
    found = sorted(build.glob('pool/**/*.o')) + sorted(build.glob('preload/libtarn.so.p/**/*.o'))
    for folder in ('pool', 'preload'):
        if not any(folder in path.relative_to(build).parts for path in found):
            sys.exit(f'{build / folder}: no object files')
    return found


def stray_definitions(build):
    for path in objects(build):
        in_preload = path.relative_to(build).parts[0] == 'preload'
        if in_preload and path.name.removesuffix('.o') in MALLOC_FILES:
            continue
        for symbol in sorted(filter(is_malloc_name, defined(path))):
            yield f'{path}: defines {symbol}: only {" and ".join(MALLOC_FILES)} of preload/ do that'


if __name__ == '__main__':
    root, build = map(pathlib.Path, sys.argv[1:3])
    sources.finish('seams', [*kernel_calls(root), *numbered_calls(root), *stray_definitions(build)])
