#!/usr/bin/env python3
"""test_probes.py PROBES LIBRARY [NAME=LIBRARY...] - what each of 42 faults comes to, by allocator.

As a test, without NAMEs: each probe with each level of hardening. A level may leave only those silent that SILENT names
for it; a later level may not leave silent what an earlier one sees.

With NAME=LIBRARY (nothing behind the = for the C library's own malloc) the table for docs/reliability.md is printed, in
Markdown: tarn at each level, and the allocators named. Each probe runs five times; the worst end counts.

    detected    the allocator wrote a message, and ended the program
    stopped     a signal ended the program, without a message
    harmless    nothing was said, and no harm could be found
    silent      nothing was said, and there was harm
"""

import os
import subprocess
import sys

LEVELS = (0, 1, 2, 3)
ENDS = ('harmless', 'detected', 'stopped', 'silent')    # the worst comes last
PATIENCE_S = 60

# What a level cannot see, or not by more than chance.
SILENT = {
    0: {
        'double_free_small_after_reuse', 'double_free_large_after_reuse', 'overflow_of_a_small_block_by_1_byte',
        'overflow_of_a_small_block_by_a_0_byte', 'overflow_of_a_small_block_by_16_bytes',
        'overflow_of_a_medium_block_by_16_bytes', 'underflow_of_a_small_block_by_8_bytes',
        'write_to_a_freed_small_block_after_reuse', 'write_to_a_freed_large_block_after_reuse',
        'read_of_a_freed_small_block', 'read_of_a_freed_large_block', 'read_of_an_uninitialised_small_block',
    },
    1: {
        'double_free_small_after_reuse', 'double_free_large_after_reuse', 'write_to_a_freed_small_block_after_reuse',
        'write_to_a_freed_large_block_after_reuse', 'read_of_a_freed_small_block', 'read_of_a_freed_large_block',
        'read_of_an_uninitialised_small_block',
    },
    2: set(),
    3: set(),
}


def end_of(probes, probe, library, options):
    environment = {**os.environ, 'TARN_OPTIONS': options}
    if library:
        environment['LD_PRELOAD'] = library
    result = subprocess.run([probes, probe], env=environment, capture_output=True, text=True, errors='replace',
                            timeout=PATIENCE_S, check=False)
    if 'cannot be preloaded' in result.stderr:
        sys.exit(result.stderr)
    if result.returncode != 0:
        return 'detected' if result.stderr else 'stopped'
    words = result.stdout.split()
    if words[-1] != 'harmless' and 'silent' not in words:
        sys.exit(f'{probe}: ended without a verdict:\n{result.stdout}{result.stderr}')
    return 'silent' if 'silent' in words else 'harmless'


def worst(probes, probe, library, options, times):
    return max((end_of(probes, probe, library, options) for _ in range(times)), key=ENDS.index)


def table_print(probes, names, columns):
    print('| probe | ' + ' | '.join(columns) + ' |')
    print('|---|' + '---|' * len(columns))
    counts = dict.fromkeys(columns, 0)
    for probe in names:
        ends = {name: worst(probes, probe, *column, 5) for name, column in columns.items()}
        for name, end in ends.items():
            counts[name] += end == 'silent'
        print(f'| {probe.replace("_", " ")} | '
              + ' | '.join(f'**{end}**' if end == 'silent' else end for end in ends.values()) + ' |')
    print('| **silent harm** | ' + ' | '.join(f'**{count}**' for count in counts.values()) + ' |')


def check(probes, names, library):
    faults = []
    if len(names) != 42:
        faults.append(f'{len(names)} probes')
    for level, allowed in SILENT.items():
        faults += [f'{name}: there is no such probe' for name in allowed - set(names)]
        for probe in names:
            for more in ('', ':traps=1') if level == 3 else ('',):
                options = f'harden={level}{more}'
                if end_of(probes, probe, library, f'stats=off:{options}') == 'silent' and probe not in allowed:
                    faults.append(f'{options} leaves {probe} silent')
    if faults:
        sys.exit('\n'.join(faults))


def main():
    probes, library, *others = sys.argv[1:]
    names = subprocess.run([probes], capture_output=True, text=True, check=True).stdout.split()[::-1]
    if not others:
        check(probes, names, library)
        return
    columns = {name: (path, '') for name, path in (other.split('=', 1) for other in others)}
    columns.update({f'tarn {level}': (library, f'stats=off:harden={level}') for level in LEVELS})
    table_print(probes, names, columns)


main()
