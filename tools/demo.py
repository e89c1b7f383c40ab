#!/usr/bin/env python3
"""What `./dev run` shows: a cache that grows, then loses most of its entries, here and there.

Run it with PYTHONMALLOC=malloc, so that Python's objects come from malloc. About every tenth entry survives; the memory
between them is free, but shares its pages with the survivors. That is what the report calls holes.
"""

import os
import random

ENTRIES = 200_000
SURVIVORS = 10    # one entry in so many outlives the rest
SEED = 7


def entry(number, chance):
    """What a web application keeps of one user: a few strings and numbers of mixed sizes."""
    return {
        'name': f'user-{number:08d}',
        'visits': [chance.random() for _ in range(chance.randrange(1, 8))],
        'note': 'x' * chance.randrange(10, 400),
    }


def main():
    chance = random.Random(SEED)
    cache = {}
    for number in range(ENTRIES):
        cache[number] = entry(number, chance)
    print(f'demo: filled a cache with {len(cache):,} entries')
    for number in range(ENTRIES):
        if chance.randrange(SURVIVORS) != 0:
            del cache[number]
    print(f'demo: {len(cache):,} entries, scattered, are left; at exit tarn says where the memory is', flush=True)
    os._exit(0)    # without the interpreter's own tidying up, which would free what the report is to show


main()
