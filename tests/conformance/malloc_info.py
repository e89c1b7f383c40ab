#!/usr/bin/env python3
"""malloc_info.py PROGRAM LIBRARY [TEST] - malloc_info writes XML of glibc's shape, with the figures of mallinfo2."""

import os
import subprocess
import sys
import unittest
import xml.etree.ElementTree

PROGRAM = LIBRARY = None    # set from the command line below
PATIENCE_S = 30

# glibc's elements with their attributes, by the element they stand in. <sizes> has one <size> a class that has free
# blocks; `unsorted` and `subheaps` are glibc's affairs.
CHILDREN = {
    'malloc': {'heap', 'total', 'system', 'aspace'},
    'heap': {'sizes', 'total', 'system', 'aspace'},
    'sizes': {'size', 'unsorted'},
}
ATTRIBUTES = {
    'malloc': {'version'}, 'heap': {'nr'}, 'sizes': set(),
    'size': {'from', 'to', 'total', 'count'}, 'unsorted': {'from', 'to', 'total', 'count'},
    'total': {'type', 'count', 'size'}, 'system': {'type', 'size'}, 'aspace': {'type', 'size'},
}
TYPES = {'total': {'fast', 'rest', 'mmap'}, 'system': {'current', 'max'}, 'aspace': {'total', 'mprotect', 'subheaps'}}


class MallocInfo(unittest.TestCase):
    def setUp(self):
        environment = {**os.environ, 'LD_PRELOAD': LIBRARY, 'TARN_OPTIONS': 'stats=off'}
        output = subprocess.run([PROGRAM, '3'], check=True, text=True, stdout=subprocess.PIPE, env=environment,
                                timeout=PATIENCE_S).stdout
        first, document = output.split('\n', 1)
        self.arena, self.live, self.free, self.mapped_count, self.mapped = map(int, first.split())
        self.root = xml.etree.ElementTree.fromstring(document)

    def figure(self, parent, name, kind, attribute='size'):
        found = parent.findall(f'{name}[@type="{kind}"]')
        self.assertEqual(len(found), 1, f'<{name} type="{kind}"> in <{parent.tag}>')
        return int(found[0].get(attribute))

    def test_the_document_is_well_formed_and_has_version_1(self):
        self.assertEqual((self.root.tag, self.root.get('version')), ('malloc', '1'))
        self.assertGreaterEqual(len(self.root.findall('heap')), 1)

    def test_elements_and_attributes_are_those_of_glibc(self):
        for parent in self.root.iter():
            self.assertIn(parent.tag, ATTRIBUTES)
            self.assertEqual(set(parent.keys()), ATTRIBUTES[parent.tag], parent.tag)
            self.assertLessEqual({child.tag for child in parent}, CHILDREN.get(parent.tag, set()))
            if 'type' in parent.keys():
                self.assertIn(parent.get('type'), TYPES[parent.tag])

    def test_every_heap_has_the_totals_that_glibc_prints(self):
        for heap in self.root.findall('heap'):
            for name, kind in (('total', 'fast'), ('total', 'rest'), ('system', 'current'), ('system', 'max'),
                               ('aspace', 'total'), ('aspace', 'mprotect')):
                self.figure(heap, name, kind)
            self.assertEqual(len(heap.findall('sizes')), 1)

    def test_heaps_are_numbered_from_0(self):
        numbers = [int(heap.get('nr')) for heap in self.root.findall('heap')]
        self.assertEqual(numbers, list(range(len(numbers))))

    def test_the_totals_are_the_sums_of_the_heaps(self):
        for name, kind in (('total', 'fast'), ('total', 'rest'), ('system', 'current')):
            parts = [self.figure(heap, name, kind) for heap in self.root.findall('heap')]
            self.assertEqual(self.figure(self.root, name, kind), sum(parts), f'{name} {kind}')

    def test_free_blocks_add_up_over_the_sizes(self):
        for heap in self.root.findall('heap'):
            listed = sum(int(size.get('total')) for size in heap.iter('size'))
            listed += sum(int(size.get('total')) for size in heap.iter('unsorted'))
            free = self.figure(heap, 'total', 'fast') + self.figure(heap, 'total', 'rest')
            self.assertLessEqual(listed, free)
            for size in heap.iter('size'):
                self.assertLessEqual(int(size.get('from')), int(size.get('to')))
                self.assertLessEqual(int(size.get('count')) * int(size.get('from')), int(size.get('total')))
                self.assertLessEqual(int(size.get('total')), int(size.get('count')) * int(size.get('to')))

    def test_what_is_not_free_is_live(self):
        free = self.figure(self.root, 'total', 'fast') + self.figure(self.root, 'total', 'rest')
        self.assertEqual(self.figure(self.root, 'system', 'current'), self.arena)
        self.assertAlmostEqual(self.arena - free, self.live, delta=4096)

    def test_mapped_blocks_are_counted_apart(self):
        self.assertEqual(self.figure(self.root, 'total', 'mmap', 'count'), self.mapped_count)
        self.assertEqual(self.figure(self.root, 'total', 'mmap'), self.mapped)
        self.assertGreaterEqual(self.mapped, 3 * 4 * 1024 * 1024)


if __name__ == '__main__':
    PROGRAM, LIBRARY = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main(argv=[sys.argv[0], *(f'MallocInfo.{test}' for test in sys.argv[1:])])
