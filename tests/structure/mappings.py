"""What the tests of resident memory share: the mappings of a program that shows its own /proc/self/smaps."""

import collections
import os
import re
import subprocess

BEGIN = re.compile(r'[0-9a-f]+-[0-9a-f]+ (?P<access>\S{4}) [0-9a-f]+ \S+ \d+\s*(?P<name>.*)')
FIGURE = re.compile(r'(?P<field>\w+):\s+(?P<kib>\d+) kB')

CAT = ['cat', '/proc/self/smaps']

Mapping = collections.namedtuple('Mapping', 'access name kib')  # kib: a dict of smaps' figures


def shown(command, **environment):
    """The mappings that the command prints, lowest first; it runs with these variables more."""
    smaps = subprocess.run(command, env=dict(os.environ, **environment), check=True, capture_output=True, text=True).stdout
    found = []
    for line in smaps.splitlines():
        begin, figure = BEGIN.match(line), FIGURE.match(line)
        if begin:
            found.append(Mapping(begin['access'], begin['name'], {}))
        elif figure and found:
            found[-1].kib[figure['field']] = int(figure['kib'])
    return found
