"""reader.py FILE... - a recording as Python objects, read by the layout that preload/recording.h draws, and its books.

For tests: `Recording(path)` raises Broken where a file is none, `faults()` says what does not add up in it. It reads once: where
places of snapshots may be used anew meanwhile, hold the process first.
"""

import ctypes
import sys

BLOCK = 1 << 16
CELL_UNIT = 64
MAGIC = int.from_bytes(b'TARNREC\n', 'little')
TEXT, MODULES, THREADS, SIZES, SNAPSHOTS, SITES, FRAMES, SAMPLES = range(8)
RUNNING, EXIT, UNDERSCORE_EXIT, QUICK_EXIT, SIGNAL = range(5)
FULL_SAMPLES, FULL_SITES, FULL_SNAPSHOTS, FULL_DISK, FULL_TEXT = (1 << bit for bit in range(5))
AT_HIGH, AT_CHANGE, AT_TIME, AT_REQUEST, AT_END, AT_START = range(1, 7)
CELL_SAMPLED, CELL_FREE, CELL_LARGE = 1, 2, 4

U16, U32, U64, I32 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32


class Broken(Exception):
    pass


def layout(name, *fields):
    """A little-endian structure; 'a b c' of one type in one go."""
    flat = [(field, kind) for names, kind in fields for field in names.split()]
    return type(name, (ctypes.LittleEndianStructure,), {'_fields_': flat})


Table = layout('Table', ('offset count capacity', U64), ('stride reserved', U32))
Text = layout('Text', ('offset length', U32))
Header = layout(
    'Header', ('magic', U64), ('major minor', U16), ('header_bytes', U32), ('file_bytes', U64), ('table_count flags', U32),
    ('tables', Table * 16), ('pid parent_pid forked page_bytes', U32), ('start_ticks start_realtime_ns sample_bytes', U64),
    ('young_bytes old_bytes', U64), ('profile snapshot_classes snapshot_cells waste_percent', U32),
    ('program', ctypes.c_char * 64), ('writer_version', ctypes.c_char * 32), ('kernel', ctypes.c_char * 64),
    ('command_line executable directory', Text),
    ('sample_bytes_now last_ns clock_bytes sampled_total sampled_dropped live_samples live_weighted_bytes', U64),
    ('peak_weighted_bytes peak_ns peak_epoch snapshot_number snapshot_peak snapshot_worst snapshot_dropped', U64),
    ('end', U32), ('end_value', I32), ('end_ns', U64), ('pinned_number pinned_unattributed_bytes', U64 * 3),
    ('pinned_last pinned_worst', U32), ('snapshots_cpu_ns samples_ns', U64))
Module = layout('Module', ('start end bias first_ns', U64), ('path', Text), ('build_id_bytes', U32),
                ('build_id', ctypes.c_uint8 * 36))
Thread = layout('Thread', ('name', ctypes.c_char * 16), ('first_tid reserved', U32), ('samples', U64))
Size = layout('Size', ('allocated_blocks live_blocks allocated_requested_bytes live_requested_bytes', U64))
Snapshot = layout(
    'Snapshot', ('number_begin reason time_ns cpu_ns clock_bytes rss_bytes peak_rss_bytes other_rss_bytes', U64),
    ('process_known heap_rss_bytes requested_bytes rounding_bytes holes_bytes tail_bytes retained_bytes', U64),
    ('pending_bytes metadata_bytes untouched_bytes live_bytes live_blocks allocated_total freed_total', U64),
    ('requested_error_bytes requested_exact large_blocks large_bytes large_allocated_total large_cached_bytes', U64),
    ('mapped_bytes mapped_peak_bytes purged_total_bytes budget_bytes heaps heaps_orphaned threads', U64),
    ('live_samples live_weighted_bytes class_count cell_count cell_pages', U64), ('reserved', U64 * 15),
    ('number_end', U64))
Class = layout('Class', ('block_bytes page_bytes pages live_blocks allocated_total requested_bytes', U64),
               ('requested_error_bytes rounding_bytes holes_bytes tail_bytes pending_bytes untouched_bytes', U64))
Cell = layout('Cell', ('address', U64), ('length live resident', U32), ('class_ flags', U16))
Counts = layout('Counts', ('blocks bytes requested_bytes', U64))
Site = layout(
    'Site', ('stack_hash frames_first', U64), ('depth class_ flags reserved', U32),
    ('first_ns last_ns allocated_samples freed_samples live_samples', U64), ('allocated freed live peak', Counts),
    ('peak_epoch', U64), ('died_young died_middle died_old', Counts), ('pinned_bytes pinned_samples', U64 * 3))
Sample = layout(
    'Sample', ('birth_number address requested_bytes block_bytes weight birth_clock_bytes birth_ns', U64),
    ('site thread tid state', U32), ('page_number page_holes_bytes', U64), ('page_live_blocks reserved', U32))

SHEET = 'requested rounding holes tail retained pending metadata'.split()


class Recording:
    def __init__(self, path):
        with open(path, 'rb') as file:
            self.bytes = file.read()
        if len(self.bytes) < ctypes.sizeof(Header):
            raise Broken(f'{path}: too short')
        self.header = Header.from_buffer_copy(self.bytes)
        if self.header.magic != MAGIC or self.header.major != 1:
            raise Broken(f'{path}: not a recording')
        if self.header.file_bytes > len(self.bytes):
            raise Broken(f'{path}: truncated')
        self.modules = self.table(MODULES, Module)
        self.threads = self.table(THREADS, Thread)
        self.sizes = self.table(SIZES, Size)
        self.sites = self.table(SITES, Site)
        self.samples = [sample for sample in self.table(SAMPLES, Sample) if sample.state == 1]
        self.snapshots = sorted(self.whole_snapshots(), key=lambda snapshot: snapshot.number_end)

    def table(self, number, kind, head=0):
        """All records that may be read; `head` more bytes a record are not looked at."""
        place = self.header.tables[number]
        if place.stride < ctypes.sizeof(kind) or place.offset + place.count * place.stride > len(self.bytes):
            raise Broken(f'table {number} is not in the file')
        return [kind.from_buffer_copy(self.bytes, place.offset + index * place.stride + head)
                for index in range(place.count)]

    def whole_snapshots(self):
        place = self.header.tables[SNAPSHOTS]
        for index, snapshot in enumerate(self.table(SNAPSHOTS, Snapshot)):
            if snapshot.number_end == snapshot.number_begin != 0:
                start = place.offset + index * place.stride + ctypes.sizeof(Snapshot)
                snapshot.classes = [Class.from_buffer_copy(self.bytes, start + i * ctypes.sizeof(Class))
                                    for i in range(snapshot.class_count)]
                start += self.header.snapshot_classes * ctypes.sizeof(Class)
                snapshot.cells = [Cell.from_buffer_copy(self.bytes, start + i * ctypes.sizeof(Cell))
                                  for i in range(snapshot.cell_count)]
                yield snapshot

    def text(self, text):
        start = self.header.tables[TEXT].offset + text.offset
        return self.bytes[start:start + text.length].decode(errors='replace')

    def frames(self, site):
        """Pairs of module and address, innermost first."""
        start = self.header.tables[FRAMES].offset + 8 * site.frames_first
        words = (int.from_bytes(self.bytes[start + 8 * i:start + 8 * i + 8], 'little') for i in range(site.depth))
        return [(word >> 48, word & ((1 << 48) - 1)) for word in words]

    def at_peak(self, site):
        return site.peak if site.peak_epoch == self.header.peak_epoch else site.live

    # --- books -------------------------------------------------------------------------------------------------------

    def snapshot_faults(self, snapshot):
        get = lambda name: getattr(snapshot, name + '_bytes')
        what = f'snapshot {snapshot.number_end}'
        if get('rss') != get('other_rss') + get('heap_rss'):
            yield f'{what}: rss is not other + heap'
        if get('heap_rss') != sum(map(get, SHEET)) - get('untouched'):
            yield f'{what}: the causes do not add up to heap_rss'
        if get('live') != get('requested') + get('rounding'):
            yield f'{what}: live is not requested + rounding'
        for name in 'requested rounding holes pending'.split():
            classes = sum(getattr(one, name + '_bytes') for one in snapshot.classes)
            if classes > get(name):
                yield f'{what}: the classes have more {name} than all'
        if snapshot.allocated_total - snapshot.freed_total != snapshot.live_blocks:
            yield f'{what}: allocated - freed is not live'

    def pinned_faults(self):
        header, by_number = self.header, {snapshot.number_end: snapshot for snapshot in self.snapshots}
        for place in {header.pinned_last, header.pinned_worst}:
            snapshot = by_number.get(header.pinned_number[place])
            if snapshot is None:
                continue
            pinned = sum(site.pinned_bytes[place] for site in self.sites) + header.pinned_unattributed_bytes[place]
            if pinned != snapshot.holes_bytes:
                yield f'pinned bytes {pinned} are not the holes {snapshot.holes_bytes} of {snapshot.number_end}'

    def site_faults(self, slack):
        """slack: samples that the counters may be ahead or behind (1 after a kill)."""
        live = [0] * len(self.sites)
        for sample in self.samples:
            if sample.site >= len(self.sites):
                yield f'sample of {sample.address:x} has no site'
                return
            live[sample.site] += 1
        off = sum(abs(site.live_samples - count) for site, count in zip(self.sites, live))
        if off > slack:
            yield f'the sites\' live samples are {off} off the table\'s'
        for number, site in enumerate(self.sites):
            if site.frames_first + site.depth > self.header.tables[FRAMES].count:
                yield f'site {number}: frames beyond the table'
            elif any(module >= len(self.modules) for module, _ in self.frames(site)):
                yield f'site {number}: a module beyond the table'
            died = site.died_young.bytes + site.died_middle.bytes + site.died_old.bytes
            if slack == 0 and died != site.freed.bytes:
                yield f'site {number}: the generations are not what was freed'

    def size_faults(self, slack):
        by_size, by_site = sum(size.live_blocks for size in self.sizes), sum(site.live.blocks for site in self.sites)
        if slack == 0 and by_size != by_site:
            yield f'{by_size} live blocks by size and {by_site} by site'

    def faults(self, slack=0):
        found = [fault for snapshot in self.snapshots for fault in self.snapshot_faults(snapshot)]
        return found + list(self.pinned_faults()) + list(self.site_faults(slack)) + list(self.size_faults(slack))


def describe(recording):
    header = recording.header
    print(f'{header.program.decode()} pid {header.pid}, end {header.end} {header.end_value}, flags {header.flags:x}, '
          f'{len(recording.snapshots)} snapshots, {len(recording.sites)} sites, {len(recording.samples)} live samples, '
          f'{header.sampled_total} samples, {header.sampled_dropped} dropped; cost {header.snapshots_cpu_ns / 1e6:.1f} ms '
          f'for snapshots, {header.samples_ns / 1e6:.1f} ms for samples; a sample each {header.sample_bytes_now >> 10} KiB')
    print(' ', recording.text(header.command_line).split('\0'))
    for snapshot in recording.snapshots[-3:]:
        print(f'  {snapshot.number_end}: {snapshot.time_ns / 1e9:.3f} s, reason {snapshot.reason}, rss '
              f'{snapshot.rss_bytes >> 10} KiB, live {snapshot.live_bytes >> 10}, weighted '
              f'{snapshot.live_weighted_bytes >> 10}, holes {snapshot.holes_bytes >> 10}, cells {snapshot.cell_count}')
    last = header.pinned_last
    for site in sorted(recording.sites, key=lambda site: -site.allocated.bytes)[:5]:
        peak = recording.at_peak(site)
        print(f'  class {site.class_}: allocated {site.allocated.bytes >> 10} KiB in {site.allocated_samples} samples, '
              f'live {site.live.bytes >> 10}, peak {peak.bytes >> 10}, young {site.died_young.bytes >> 10}, '
              f'pinned {site.pinned_bytes[last] >> 10}, depth {site.depth}')
    for fault in recording.faults():
        print('  FAULT', fault)


if __name__ == '__main__':
    for name in sys.argv[1:]:
        describe(Recording(name))
