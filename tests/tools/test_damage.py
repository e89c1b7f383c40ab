#!/usr/bin/env python3
"""test_damage.py TARN LIBTARN PLANTED [CASE] - recordings that are cut off, foreign, newer or damaged.

`tarn report` reads them or refuses them with one line and status 2; it never dies of a signal, nor hangs. Every random
choice comes from SEED, which is printed; TARN_TEST_SEED replays a run.
"""

import os
import random
import struct
import sys

import recordings
from recordings import Case

SEED = int(os.environ.get('TARN_TEST_SEED', random.SystemRandom().randrange(2**32)))
TABLES_AT, TABLE_BYTES, TABLES = 32, 32, 8
EXTREMES = [0, 1, 7, 8, 0x7f, 0xffff, 0x7fffffff, 0xffffffff, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]


class Damaged(Case):
    def setUp(self):
        super().setUp()
        self.good = self.record('leak', 'record_max=1MiB', 'sample=16KiB').read_bytes()
        self.bad = self.folder / 'bad'

    def tables(self):
        """(offset, count, stride) of each."""
        rows = [struct.unpack_from('<QQQI', self.good, TABLES_AT + i * TABLE_BYTES) for i in range(TABLES)]
        return [(offset, count, stride) for offset, count, _, stride in rows]

    def assert_survives(self, data, *arguments, what):
        """Read, or refused with one line."""
        self.bad.write_bytes(data)
        result = self.tarn('report', *arguments, self.bad)
        self.assertIn(result.returncode, (0, 2), f'{what}: {result.stderr}')
        if result.returncode == 2:
            self.assertEqual((result.stdout, result.stderr.count('\n')), ('', 1), f'{what}: {result.stderr}')
        return result.returncode


class Foreign(Damaged):
    def test_what_is_no_recording_is_refused(self):
        (self.folder / 'text').write_text('some text\n' * 1000)
        (self.folder / 'empty').write_text('')
        os.mkfifo(self.folder / 'fifo')
        for path in ('text', 'empty', 'fifo', recordings.TARN, '/dev/zero', '/dev/null'):
            self.assert_refused(self.tarn('report', path), 'is not a recording')
        self.assert_refused(self.tarn('report', 'missing'), 'cannot open missing', 'No such file')

    def test_a_newer_one_is_refused_with_both_numbers(self):
        self.bad.write_bytes(self.good[:8] + struct.pack('<H', 9) + self.good[10:])
        self.assert_refused(self.tarn('report', self.bad), 'format 9.', 'reads format 1')

    def test_one_cut_off_is_refused(self):
        for length in (4096, 5000, len(self.good) // 2, len(self.good) - 1):
            self.bad.write_bytes(self.good[:length])
            self.assert_refused(self.tarn('report', self.bad), 'cut off')

    def test_the_good_one_is_read(self):
        self.bad.write_bytes(self.good)
        self.assert_adds_up(self.report(self.bad))


class Damage(Damaged):
    def test_cut_off_at_every_table_it_is_refused(self):
        print(f'length {len(self.good)}, tables {self.tables()}')
        edges = {0, 1, 7, 8, 9, 10, 12, 16, 24, TABLES_AT, TABLES_AT + TABLES * TABLE_BYTES, 4095, 4096}
        for offset, count, stride in self.tables():
            edges |= {offset - 1, offset, offset + 1, offset + stride - 1, offset + count * stride - 1,
                      offset + count * stride}
        for length in sorted(edge for edge in edges if 0 <= edge < len(self.good)):
            self.assertEqual(self.assert_survives(self.good[:length], what=f'{length} bytes'), 2)

    def test_cut_off_and_told_so_it_never_crashes(self):
        """The header says that the file is as long as it is: what the tables say is out of range then."""
        chance = random.Random(SEED)
        print(f'TARN_TEST_SEED={SEED}')
        for _ in range(40):
            length = chance.randrange(4096, len(self.good))
            data = self.good[:16] + struct.pack('<Q', length) + self.good[24:length]
            self.assert_survives(data, what=f'{length} bytes')

    def test_any_word_of_the_header_can_be_anything(self):
        chance = random.Random(SEED)
        print(f'TARN_TEST_SEED={SEED}')
        for at in range(8, 1024, 8):
            value = chance.choice(EXTREMES)
            data = self.good[:at] + struct.pack('<Q', value) + self.good[at + 8:]
            self.assert_survives(data, what=f'{value:#x} at {at}')

    def test_any_record_can_be_anything(self):
        chance = random.Random(SEED)
        print(f'TARN_TEST_SEED={SEED}')
        forms = ([], ['--json'], ['--prometheus'], ['--folded', 'pinned'])
        for number, (offset, count, stride) in enumerate(self.tables()):
            if count == 0:
                continue
            for _ in range(12):
                data = bytearray(self.good)
                for _ in range(chance.choice([1, 10, 1000])):
                    at = offset + chance.randrange(max(1, count * stride - 8)) // 8 * 8
                    data[at:at + 8] = struct.pack('<Q', chance.choice([*EXTREMES, chance.randrange(2**64)]))
                self.assert_survives(bytes(data), *chance.choice(forms), what=f'table {number}')

    def test_a_pprof_file_of_a_damaged_one_is_whole_or_missing(self):
        chance = random.Random(SEED)
        print(f'TARN_TEST_SEED={SEED}')
        offset, count, stride = self.tables()[5]    # sites
        out = self.folder / 'out.pb.gz'
        for _ in range(10):
            data = bytearray(self.good)
            for _ in range(50):
                at = offset + chance.randrange(max(1, count * stride - 8)) // 8 * 8
                data[at:at + 8] = struct.pack('<Q', chance.choice(EXTREMES))
            out.unlink(missing_ok=True)
            status = self.assert_survives(bytes(data), '--pprof', out, what='sites')
            self.assertEqual(out.exists(), status == 0)

    def test_a_file_that_shrinks_meanwhile_is_no_crash(self):
        self.bad.write_bytes(self.good)
        for _ in range(20):
            with open(self.bad, 'r+b') as file:
                file.truncate(len(self.good))
                self.assertIn(self.tarn_while(lambda: file.truncate(8192)), (0, 2))

    def tarn_while(self, act):
        import subprocess
        process = subprocess.Popen([recordings.TARN, 'report', str(self.bad)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=self.environment)
        act()
        return process.wait(timeout=recordings.PATIENCE_S)


if __name__ == '__main__':
    recordings.main(sys.argv)
