#!/usr/bin/env python3
"""branches.py LIBRARY BENCH PROGRAMS ALLOCATOR COLUMN=LIMIT... - mispredicted branches, by bench/instructions --branches.

Instruction counts do not show them. valgrind's model of a processor is the same everywhere, so the figure is of the library as it
is compiled: where its branches lie, and which of them cannot be foreseen.
"""

import os
import shutil
import subprocess
import sys

SKIPPED = 77    # meson's number for it

if __name__ == '__main__':
    library, bench, programs, allocator, *limits = sys.argv[1:]
    if not limits:
        sys.exit('no column to count')
    if shutil.which('valgrind') is None:
        print('valgrind is not installed')
        sys.exit(SKIPPED)
    chosen = [word for limit in limits for word in ('--only', limit.split('=')[0], '--at-most', limit)]
    sys.exit(subprocess.run([os.path.join(bench, 'instructions'), '--branches', '--allocators', allocator, '--tarn', library,
                             '--programs', programs, *chosen], check=False).returncode)
