#!/usr/bin/env python3
"""needed.py LIBRARY GLIBC_HEADER - libtarn.so stands on the C library alone, and on what every C library has.

Else the loader of another C library refuses it, and with it the program: what the GNU C library alone has is declared in
the header as weak, and a source file that uses it and does not include the header makes it strong.
"""

import pathlib
import re
import subprocess
import sys

import sources

ALLOWED = re.compile(r'libc\.so\.6|ld-linux.*\.so\.[0-9]+')


def needed(library):
    listing = subprocess.run(['readelf', '--dynamic', '--wide', library],
                             check=True, capture_output=True, text=True).stdout
    names = re.findall(r'\(NEEDED\).*\[(.+)\]', listing)
    if 'Dynamic section' not in listing:
        sys.exit(f'{library}: no dynamic section')
    return names


def required(library):
    """The names that another library has to define."""
    listing = subprocess.run(['nm', '--dynamic', '--undefined-only', '--format=posix', library],
                             check=True, capture_output=True, text=True).stdout
    return {fields[0].split('@')[0] for fields in map(str.split, listing.splitlines()) if fields[1] == 'U'}


def glibc_alone(header):
    """The names that the header declares as weak."""
    names = set(re.findall(r'(\w+)(?:\([^;{]*\))? GLIBC_ALONE;', header.read_text()))
    if not names:
        sys.exit(f'{header}: declares nothing as GLIBC_ALONE')
    return names


if __name__ == '__main__':
    library, header = sys.argv[1], pathlib.Path(sys.argv[2])
    strays = [f'{library} needs {name}' for name in needed(library) if not ALLOWED.fullmatch(name)]
    strong = [f'{library} requires {name}: where it is used, include {header.name}'
              for name in sorted(required(library) & glibc_alone(header))]
    sources.finish('needed', strays + strong)
