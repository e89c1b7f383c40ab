#!/usr/bin/env python3
"""mock.py CASE - prints a report as `tarn report --json` would, of a small made-up server: input for the page's tests.

  full         twelve snapshots with heap maps, a profile, request sizes
  one          one snapshot, taken at exit
  no-profile   recorded with profile=off: no stacks but [unattributed], no samples
  no-process   a /proc that was missing: the heap's side only
  hostile      as full, with names that are HTML, scripts and ends of scripts
  large        as full, with thousands of pages and stacks, large blocks, three processes
  bare         nothing but what every report has

The figures are random with a fixed seed, and they add up as docs/report-json.md says: holes are charged to the samples
in the page that has them, requested and rounding bytes to the stacks of each class.
"""

import json
import random
import sys

KIB, MIB = 1 << 10, 1 << 20
SAMPLE_BYTES = 2 * KIB    # far more samples than in earnest, so that a small heap has some
UNTOUCHED_FROM = 40960    # blocks of this size are written in part only
UNATTRIBUTED = '[unattributed]'

# block_bytes, page_bytes, request sizes that are served from it, pages at the peak
CLASSES = [
    (48, 16 * KIB, (33, 40, 48), 60),
    (64, 16 * KIB, (56, 64), 110),
    (256, 16 * KIB, (250, 256), 90),
    (512, 16 * KIB, (500, 512), 620),
    (1024, 16 * KIB, (1000, 1024), 130),
    (1280, 64 * KIB, (1040, 1056, 1152), 70),
    (2048, 64 * KIB, (2000, 2048), 40),
    (9216, 64 * KIB, (8208, 9000), 60),
    (40960, 512 * KIB, (36864, 40000), 14),
]

# Function, file, line, module: what the frames of the stacks below are.
FUNCTIONS = {
    'start': ('_start', None, None, 0),
    'main': ('main', 'src/main.c', 212, 0),
    'loop': ('event_loop_run', 'src/loop.c', 88, 0),
    'read': ('connection_read', 'src/connection.c', 141, 0),
    'parse': ('request_parse', 'src/request.c', 67, 0),
    'header': ('header_add', 'src/request.c', 31, 0),
    'dispatch': ('request_dispatch', 'src/dispatch.c', 54, 0),
    'cache': ('cache_lookup', 'src/cache.c', 119, 0),
    'insert': ('cache_insert', 'src/cache.c', 41, 0),
    'entry': ('entry_new', 'src/cache.c', 23, 0),
    'render': ('template_render', 'src/template.cc', 310, 0),
    'append': ('std::__cxx11::basic_string<char>::_M_append(char const*, unsigned long)', None, None, 1),
    'new': ('operator new(unsigned long)', None, None, 1),
    'json': ('json_loads', 'load.c', 904, 2),
    'object': ('json_object_set_new', 'value.c', 130, 2),
    'strdup': ('libjansson.so.4+0x51c3', None, None, 2),
    'log': ('log_line_format', 'src/log.c', 77, 0),
    'buffer': ('buffer_grow', 'src/buffer.c', 19, 0),
    'worker': ('worker_main', 'src/worker.c', 35, 0),
    'thread': ('start_thread', None, None, 3),
}
INLINED = {'insert', 'header'}
MODULES = [('/usr/local/bin/teahouse', 'debug'), ('/usr/lib/x86_64-linux-gnu/libstdc++.so.6', 'table'),
           ('/usr/lib/x86_64-linux-gnu/libjansson.so.4', 'none'), ('/usr/lib/x86_64-linux-gnu/libc.so.6', 'table')]

# Innermost first; the site; the block sizes it asks for; how long its blocks live (0 young .. 2 old).
STACKS = [
    ('entry insert cache dispatch loop main start', 'entry_new (src/cache.c:23)', (512,), 2),
    ('header parse read loop main start', 'header_add (src/request.c:31)', (48, 64), 0),
    ('buffer parse read loop main start', 'buffer_grow (src/buffer.c:19)', (512, 1024, 2048, 9216), 0),
    ('new append render dispatch loop main start', 'template_render (src/template.cc:310)', (256, 512, 1280, 40960), 0),
    ('object json dispatch loop main start', 'json_object_set_new (value.c:130)', (64, 256), 1),
    ('strdup json dispatch worker thread', 'libjansson.so.4+0x51c3', (48, 1280), 1),
    ('log worker thread', 'log_line_format (src/log.c:77)', (1280, 9216), 0),
    ('entry insert worker thread', 'entry_new (src/cache.c:23)', (1024, 2048), 2),
]

HOSTILE = ['<script>window.hacked = 1</script>', '</script><script>window.hacked = 2</script>', '<!--<script>',
           '<img src=x onerror="window.hacked = 3">', '&lt;b&gt;', '"><svg onload=alert(1)>', '\u2028]]>',
           "');alert(1)//", '{{7*7}}', '\u202egnp.c']


class Heap:
    """The pages of one moment, and the samples that stand in them."""

    def __init__(self, report, load, churn):
        self.report, self.random = report, report.random
        self.rows = []
        self.pinned = {}
        self.kept = int(40 * churn + 12)
        for block, page, sizes, most in CLASSES:
            count = max(1, round(most * report.scale * (load if churn == 0 else max(load, 0.8))))
            fill = 0.93 if churn == 0 else (0.11 if block == 512 else 0.72)
            self.rows.append((block, page, sizes, [self.page(block, page, fill) for _ in range(count)]))

    def page(self, block, page, fill):
        slots = page // block
        live = max(1, min(slots, round(self.random.gauss(fill, 0.09 if fill < 0.9 else 0.05) * slots)))
        touched = (live * block + self.random.randrange(page) + 4095) // 4096 * 4096
        resident = max((live * block + 4095) // 4096 * 4096, min(page, touched)) if fill < 0.3 else page
        if block >= UNTOUCHED_FROM:
            resident = live * block * 7 // 10 // 4096 * 4096
        free = max(0, resident - live * block - (page - slots * block))
        samples = self.samples(block, live)
        if samples and free:
            self.charge(free, samples)
        elif free:
            self.pinned[None] = self.pinned.get(None, 0) + free
        return [live, resident, samples] if samples else [live, resident]

    def samples(self, block, live):
        if not self.report.profile:
            return []
        count = sum(self.random.random() < block / (SAMPLE_BYTES * self.report.scale) for _ in range(live))
        old = live * block < 6 * KIB
        return [self.report.sample(block, old and self.random.random() < 0.9) for _ in range(min(count, 6))]

    def charge(self, free, samples):
        for position, sample in enumerate(samples):
            stack = self.report.samples[sample][0]
            share = free // len(samples) + (free % len(samples) if position == 0 else 0)
            self.pinned[stack] = self.pinned.get(stack, 0) + share

    def map(self):
        rows = [{'kind': 'class', 'block_bytes': block, 'page_bytes': page, 'pages_a_cell': 1, 'pages': pages}
                for block, page, _, pages in self.rows]
        if self.report.case == 'large':
            rows.append({'kind': 'large', 'block_bytes': 0, 'page_bytes': 0, 'pages_a_cell': 1,
                         'pages': [[1, 320 * KIB], [1, 4 * KIB]], 'sizes': [320 * KIB, 300 * KIB]})
        rows.append({'kind': 'free', 'block_bytes': 0, 'page_bytes': 0, 'pages_a_cell': 1,
                     'pages': [[0, 16 * KIB]] * self.kept, 'sizes': [16 * KIB] * self.kept})
        return rows

    def classes(self):
        return [self.size_class(*row) for row in self.rows]

    @staticmethod
    def size_class(block, page, sizes, pages):
        live = sum(entry[0] for entry in pages)
        tail = (page - page // block * block) * len(pages)
        resident = sum(entry[1] for entry in pages)
        requested = live * (sum(sizes) // len(sizes))
        touched = max(0, live * block - resident + tail) if resident < live * block + tail else 0
        return {'block_bytes': block, 'page_bytes': page, 'pages': len(pages), 'live_blocks': live,
                'allocated_total': live * 17, 'requested_bytes': requested, 'requested_error_bytes': requested // 300,
                'rounding_bytes': live * block - requested,
                'holes_bytes': sum(max(0, entry[1] - entry[0] * block - page % block) for entry in pages),
                'tail_bytes': tail, 'pending_bytes': 0, 'untouched_bytes': touched,
                'occupancy_percent': 100 * live * block // (page * len(pages))}


class Report:
    def __init__(self, case):
        self.random = random.Random(20)
        self.case = case
        self.profile = case not in ('no-profile', 'bare')
        self.scale = 8 if case == 'large' else 1
        self.samples = []
        self.rows = []    # of stack_rows, a snapshot each
        self.stacks = self.stack_table()
        self.fitting = {block: [number for number, stack in enumerate(self.stacks) if block in stack[2]]
                        for block, _, _, _ in CLASSES}

    def stack_table(self):
        stacks = list(STACKS) if self.profile else []
        if self.case == 'large':
            stacks += [self.stack_random(number) for number in range(1500)]
        return stacks

    def stack_random(self, number):
        names = list(FUNCTIONS)[1:]
        chain = ' '.join(self.random.choice(names) for _ in range(self.random.randrange(4, 40)))
        return (chain + ' start', f'made_up_{number} (src/made_up.c:{number})', (256,), self.random.randrange(3))

    def sample(self, block, old):
        fitting = self.fitting[block]
        stack = next((number for number in fitting if old and self.stacks[number][3] == 2), None)
        stack = self.random.choice(fitting) if stack is None else stack
        sizes = next(sizes for size, _, sizes, _ in CLASSES if size == block)
        generation = self.stacks[stack][3]
        age = int(self.random.expovariate(1) * (2 * MIB, 30 * MIB, 400 * MIB)[generation])
        self.samples.append([stack, self.random.choice(sizes), age, generation, 0 if stack < 5 else 1])
        return len(self.samples) - 1

    # load and churn: how full the heap is, and whether it has been through its deletes
    def moments(self):
        if self.case in ('one', 'bare'):
            return [(0.7, 1, 4180, 'exit')]
        rising = [(0.05 * 1.52 ** step, 0, 40 + 130 * step ** 2, 'high') for step in range(8)]
        rising[0] = (*rising[0][:3], 'start')
        return rising + [(0.9, 1, 9400, 'signal'), (0.62, 1, 10800, 'request'), (0.4, 1, 13100, 'request'),
                         (0.34, 1, 15050, 'exit')]

    def snapshot(self, load, churn, time_ms, reason):
        heap = Heap(self, load, churn)
        classes = heap.classes()
        total = {name: sum(entry[name] for entry in classes) for name in classes[0]}
        sheet = {name: total[name] for name in ('requested_bytes', 'rounding_bytes', 'holes_bytes', 'tail_bytes')}
        sheet.update(retained_bytes=heap.kept * 16 * KIB, pending_bytes=int(180 * KIB * load),
                     metadata_bytes=140 * KIB + int(200 * KIB * load))
        heap_rss = sum(sheet.values()) - total['untouched_bytes']
        other = 5 * MIB + int(MIB * load)
        result = {'time_ms': time_ms, 'reason': reason, 'rss_bytes': heap_rss + other, 'other_rss_bytes': other,
                  'heap_rss_bytes': heap_rss, **sheet, 'requested_error_bytes': total['requested_error_bytes'],
                  'untouched_bytes': total['untouched_bytes'],
                  'live_bytes': sheet['requested_bytes'] + sheet['rounding_bytes'], 'live_blocks': total['live_blocks'],
                  'allocated_total': total['allocated_total'], 'large_blocks': 0, 'large_bytes': 0,
                  'purged_total_bytes': int(9 * MIB * churn), 'budget_bytes': MIB, 'threads': 3,
                  'verdict': self.verdict(churn, sheet, heap_rss), 'classes': classes}
        if self.case != 'bare':
            result['map'] = heap.map()
        self.rows.append(self.stack_rows(result, heap))
        return result

    @staticmethod
    def verdict(churn, sheet, heap_rss):
        live = sheet['requested_bytes'] + sheet['rounding_bytes']
        if not churn:
            held = 100 * live // heap_rss
            return f'resident memory is what the program holds: not fragmentation ({held}% of the heap)'
        return (f'resident {heap_rss / live:.1f}x live: {100 * sheet["holes_bytes"] // heap_rss}% is holes in 512-byte '
                'pages, held by blocks of entry_new (src/cache.c:23)')

    def stack_rows(self, sheet, heap):
        """[stack, live_bytes, live_blocks, requested_bytes, rounding_bytes, pinned_bytes], the rest unattributed."""
        rows = [[number, 0, 0, 0, 0, heap.pinned.get(number, 0)] for number in range(len(self.stacks))]
        for entry in sheet['classes']:
            users = [number for number, stack in enumerate(self.stacks) if entry['block_bytes'] in stack[2]]
            for number in users:
                row, part = rows[number], len(users) + 1
                blocks = entry['live_blocks'] // part
                requested = blocks * (entry['requested_bytes'] // entry['live_blocks'])
                rounding = blocks * entry['block_bytes'] - requested
                for column, value in enumerate((requested + rounding, blocks, requested, rounding), 1):
                    row[column] += value
        wanted = ('live_bytes', 'live_blocks', 'requested_bytes', 'rounding_bytes', 'holes_bytes')
        rest = [sheet[name] - sum(row[column] for row in rows) for column, name in enumerate(wanted, 1)]
        return rows + [[len(self.stacks), *rest]]

    def stack_entry(self, number, last, peak, worst):
        words, site, _, generation = self.stacks[number]
        names = list(FUNCTIONS)
        entry = {'frames': [names.index(word) for word in words.split()], 'site': site,
                 'thread': 1 if 'thread' in words else 0, **self.metrics(last, peak, worst)}
        freed = last[2] * (30, 8, 2)[generation]
        parts = ((96, 3, 1), (40, 45, 15), (8, 20, 72))[generation]
        for name, percent in zip(('young', 'middle', 'old'), parts):
            entry[f'{name}_blocks'] = (freed + last[2]) * percent // 100
        entry.update(allocated_blocks=freed + last[2], freed_blocks=freed, died_young_percent=parts[0],
                     allocated_bytes=(freed + last[2]) * (last[1] // max(1, last[2])),
                     live_error_bytes=last[1] // 25, samples=last[1] // (SAMPLE_BYTES * self.scale),
                     neighbours=[[1, 3 * MIB], [2, MIB]] if number == 0 else [])
        return entry

    @staticmethod
    def metrics(last, peak, worst):
        names = ('live_bytes', 'live_blocks', 'requested_bytes', 'rounding_bytes')
        return {**dict(zip(names, last[1:])), 'pinned_bytes': last[5], 'worst_pinned_bytes': worst[5],
                **{'peak_' + name: value for name, value in zip(names, peak[1:])}}

    def unattributed(self, last, peak, worst):
        return {'frames': [], 'site': UNATTRIBUTED, **self.metrics(last, peak, worst),
                'allocated_blocks': last[2] * 2, 'allocated_bytes': last[1] * 2}

    def profile_parts(self, report):
        moments = [self.rows[report[name]] for name in ('last', 'peak_live', 'worst')]
        stacks = [self.stack_entry(number, *(rows[number] for rows in moments)) for number in range(len(self.stacks))]
        stacks.append(self.unattributed(*(rows[-1] for rows in moments)))
        return {
            'modules': [{'path': path, 'build_id': f'{number:040x}', 'symbols': symbols}
                        for number, (path, symbols) in enumerate(MODULES)],
            'frames': [self.frame(name) for name in FUNCTIONS],
            'threads': [{'id': 4711, 'name': 'teahouse'}, {'id': 4712, 'name': 'worker/1'}],
            'stacks': stacks, 'samples': self.samples}

    @staticmethod
    def frame(name):
        function, file, line, module = FUNCTIONS[name]
        place = {'file': file, 'line': line} if file else {}
        return {'function': function, **place, 'module': module, 'inlined': name in INLINED}

    def request_sizes(self, snapshot):
        rows = []
        for (block, _, sizes, _), entry in zip(CLASSES, snapshot['classes']):
            for size in sizes:
                blocks = entry['live_blocks'] // len(sizes)
                rows.append({'from_bytes': size - 7, 'to_bytes': size, 'block_bytes': block, 'live_blocks': blocks,
                             'live_bytes': blocks * size, 'allocated_blocks': blocks * 9,
                             'allocated_bytes': blocks * size * 9})
        return sorted(rows, key=lambda row: -row['live_bytes'])

    @staticmethod
    def processes(report, peak, last):
        """The one that the report is about, and two smaller ones."""
        return [{'recording': f'{report["recording"]}.{number}', 'program': 'teahouse', 'pid': report['pid'] + number,
                 'parent_pid': 1, 'ended_by': 'exit', 'peak_rss_bytes': peak >> number, 'verdict': report['verdict'],
                 **{name: last[name] >> number for name in ('rss_bytes', 'heap_rss_bytes', 'live_bytes', 'holes_bytes',
                                                            'rounding_bytes', 'retained_bytes')}}
                for number in range(3)]

    def build(self):
        snapshots = [self.snapshot(*moment) for moment in self.moments()]
        peak, peak_live, worst = (max(range(len(snapshots)), key=lambda number: snapshots[number][name])
                                  for name in ('rss_bytes', 'live_bytes', 'holes_bytes'))
        report = {'schema': 1, 'kind': 'report', 'tool_version': '0.1.0', 'tarn_version': '0.1.0',
                  'recording': 'teahouse-4711.tarn', 'program': 'teahouse', 'pid': 4711, 'parent_pid': 1,
                  'command': ['teahouse', '--port', '8080'], 'ended_by': 'exit', 'started_unix_ms': 1767225600000,
                  'duration_ms': snapshots[-1]['time_ms'], 'verdict': snapshots[-1]['verdict'], 'warnings': [],
                  'sample_bytes': SAMPLE_BYTES * self.scale if self.profile else 0, 'last': len(snapshots) - 1,
                  'peak': peak, 'peak_live': peak_live, 'worst': worst,
                  'provenance': {'kernel': 'Linux 6.1.0 x86_64', 'os_page_bytes': 4096, 'waste_percent': 3},
                  'snapshots': snapshots}
        if self.case == 'large':
            report['processes'] = self.processes(report, snapshots[peak]['rss_bytes'], snapshots[-1])
        if self.case == 'bare':
            return {name: report[name] for name in ('schema', 'verdict', 'snapshots')}
        report.update(self.profile_parts(report))
        if self.profile:
            report['request_sizes'] = self.request_sizes(snapshots[-1])
            report['what_if'] = [{'from_bytes': 1025, 'to_bytes': 2048, 'classes_now': 8, 'classes': 16,
                                  'saved_bytes': snapshots[-1]['classes'][5]['rounding_bytes'] // 2}]
            report['cause'] = {'kind': 'holes', 'name': 'holes_bytes', 'bytes': snapshots[-1]['holes_bytes'],
                               'of_bytes': snapshots[-1]['heap_rss_bytes'], 'snapshot': len(snapshots) - 1,
                               'metric': 'pinned_bytes', 'stack': 0, 'site': self.stacks[0][1],
                               'stack_bytes': report['stacks'][0]['pinned_bytes']}
        return report


def without_process(report):
    for snapshot in report['snapshots']:
        snapshot.update(rss_bytes=snapshot['heap_rss_bytes'], other_rss_bytes=0, process_known=False)
    return report


def all_freed(report):
    for row in report['request_sizes']:
        row.update(live_blocks=0, live_bytes=0)
    return {**report, 'what_if': []}


def made_hostile(report):
    for number, text in enumerate(HOSTILE):
        report['frames'][number + 1]['function'] = text
        report['frames'][number + 1]['file'] = text
    for stack, text in zip(report['stacks'], HOSTILE):
        stack['site'] = text
    report.update(program=HOSTILE[1], verdict=HOSTILE[1] + ' ' + HOSTILE[3], command=HOSTILE, warnings=HOSTILE,
                  recording=HOSTILE[2], ended_by=HOSTILE[0])
    for module in report['modules']:
        module['path'] = '/' + HOSTILE[3]
    for thread in report['threads']:
        thread['name'] = HOSTILE[0]
    for snapshot in report['snapshots']:
        snapshot.update(reason=HOSTILE[3], verdict=HOSTILE[1])
    return report


def without_samples(report):
    return {**report, 'stacks': [stack for stack in report['stacks'] if not stack['frames']], 'samples': [],
            'request_sizes': [], 'what_if': []}


def thinned(report):
    """As of a heap with more pages than the recording has room for: from the third snapshot on every second one."""
    for row in (row for snapshot in report['snapshots'][2:] for row in snapshot['map']):
        row.update(pages_a_cell=2, pages=row['pages'][::2])
        if 'sizes' in row:
            row['sizes'] = row['sizes'][::2]
    return report


CHANGES = {'no-process': without_process, 'hostile': made_hostile, 'freed': all_freed,
           'no-sample': without_samples, 'thinned': thinned}
CASES = ('full', 'one', 'no-profile', 'no-sample', 'no-process', 'hostile', 'large', 'freed', 'thinned', 'bare')


def report_of(case):
    return CHANGES.get(case, lambda report: report)(Report(case).build())


if __name__ == '__main__':
    if len(sys.argv) != 2 or sys.argv[1] not in CASES:
        sys.exit('usage: mock.py ' + '|'.join(CASES))
    json.dump(report_of(sys.argv[1]), sys.stdout, ensure_ascii=False, separators=(',', ':'))
