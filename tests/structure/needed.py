#!/usr/bin/env python3
"""needed.py LIBRARY - libtarn.so stands on the C library alone, so that it goes under every program."""

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


if __name__ == '__main__':
    library = sys.argv[1]
    sources.finish('needed', [f'{library} needs {name}' for name in needed(library) if not ALLOWED.fullmatch(name)])
