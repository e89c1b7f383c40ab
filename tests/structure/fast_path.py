#!/usr/bin/env python3
"""fast_path.py LIBRARY FUNCTION=LIMIT... - counts the instructions of a fast path in the disassembly (x86-64).

The path runs from the function's entry to the first ret: conditional branches are not taken, jumps are followed. What
is unlikely is expected to be branched to, so a call or a jump through a register on this path is a fault, too.
fast_path_steps.c counts what is in fact executed; this check shows the instructions when there are too many.
"""

import re
import subprocess
import sys

import sources

INSTRUCTION = re.compile(r'\s*([0-9a-f]+):\t(\S.*?)\s*$')
JUMP_TO = re.compile(r'(?:(?:bnd|notrack)\s+)?jmp\s+([0-9a-f]+)\b')
RETURN = re.compile(r'(?:(?:bnd|repz?|rep)\s+)?ret\b')
LEAVES = re.compile(r'(?:(?:bnd|notrack)\s+)?(?:call|jmp)\b')
TOO_LONG = 200    # a path that has not ended by now goes round in a loop


def disassemble(library):
    """What stands where: {address: instruction}, and the order of the addresses: {address: the next one}."""
    sections = [f'--section={name}' for name in ('.text', '.text_start', '.text_seldom')]
    listing = subprocess.run(['objdump', '--disassemble', '--no-show-raw-insn', *sections, library],
                             check=True, capture_output=True, text=True).stdout
    code = {int(match.group(1), 16): match.group(2) for match in map(INSTRUCTION.match, listing.splitlines()) if match}
    order = sorted(code)
    return code, dict(zip(order, order[1:]))


def entry_points(library):
    listing = subprocess.run(['nm', '--dynamic', '--defined-only', '--format=posix', library],
                             check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in listing.splitlines())
    return {row[0].split('@')[0]: int(row[2], 16) for row in rows if len(row) > 2}


def path_from(address, code, following):
    """The instructions of the straight path, and what is wrong with it or None."""
    path = []
    while address in code and len(path) < TOO_LONG:
        path.append(code[address])
        if RETURN.match(code[address]):
            return path, None
        jump = JUMP_TO.match(code[address])
        if not jump and LEAVES.match(code[address]):
            return path, f'leaves by `{code[address]}`'
        address = int(jump.group(1), 16) if jump else following.get(address)
    return path, 'does not end in a ret'


def faults(library, limits):
    code, following = disassemble(library)
    entries = entry_points(library)
    for name, limit in limits.items():
        if name not in entries:
            yield f'{name} is not exported'
            continue
        path, fault = path_from(entries[name], code, following)
        print(f'{name}: {len(path)} instructions, at most {limit}')
        if fault or len(path) > limit:
            print('\n'.join(f'    {instruction}' for instruction in path))
            yield f'{name}: ' + (fault or f'{len(path)} instructions are more than {limit}')


if __name__ == '__main__':
    limits = {name: int(limit) for name, limit in (argument.split('=') for argument in sys.argv[2:])}
    if not limits:
        sys.exit('no function to count')
    sources.finish('fast path', [*faults(sys.argv[1], limits)])
