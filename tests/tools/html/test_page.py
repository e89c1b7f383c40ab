#!/usr/bin/env python3
"""test_page.py WRITE CASE - the page of `tarn report --html`: what is in the file, and what Chromium makes of it.

WRITE writes the page (write.c), mock.py makes the reports. TARN_TEST_PICTURES=FOLDER keeps a picture of every page.
"""

import functools
import json
import math
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import browser
import mock

WRITE = None       # set from the command line below
SKIPPED = 77
WIDTHS = (1280, 390)
DATA = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


def as_json(report):
    return json.dumps(report, ensure_ascii=False, separators=(',', ':')).encode()


def amount(size):
    """As the page writes it."""
    for unit, name, decimals in ((1 << 30, 'GiB', 2), (1 << 20, 'MiB', 2), (1 << 10, 'KiB', 1)):
        if size >= unit:
            return f'{size / unit:,.{decimals}f} {name}'
    return f'{size} B'


@functools.lru_cache(maxsize=None)
def report_of(case):
    return mock.report_of(case)


def write(path, data, **more):
    return subprocess.run([WRITE, path], input=data, capture_output=True, check=False, timeout=60, **more)


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-page-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.page = self.folder / 'report.html'


class File(Folder):
    """The file itself."""

    def written(self, report):
        result = write(self.page, as_json(report))
        self.assertEqual((result.returncode, result.stderr), (0, b''))
        return self.page.read_text(encoding='utf-8')

    def assert_refused(self, result, *words):
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr.count(b'\n'), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr.decode())

    def test_the_report_stands_in_it_as_it_was_given(self):
        for case in mock.CASES:
            report = report_of(case)
            self.assertEqual(json.loads(DATA.search(self.written(report)).group(1)), report)

    def test_no_name_can_end_the_report(self):
        text = self.written(report_of('hostile'))
        data = DATA.search(text).group(1)
        self.assertNotIn('<', data)
        self.assertIn('\\u003c/script>', data)
        self.assertTrue(text.rstrip().endswith('</html>'))

    def test_it_names_nothing_to_load(self):
        text = DATA.sub('', self.written(report_of('full')))
        self.assertNotRegex(text, r'<(?:img|iframe|object|embed|base|form)\b')
        self.assertNotRegex(text, r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//')
        self.assertNotRegex(text, r'@import|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\(')

    def test_an_earlier_file_is_replaced(self):
        self.page.write_text('earlier')
        self.assertIn('</html>', self.written(report_of('bare')))
        self.assertEqual(os.listdir(self.folder), ['report.html'])

    def test_it_is_for_whom_the_umask_says(self):
        write(self.page, b'{}', umask=0o027)
        self.assertEqual(stat.S_IMODE(self.page.stat().st_mode), 0o640)

    def test_a_folder_that_is_not_there_is_one_line(self):
        path = self.folder / 'nowhere' / 'report.html'
        self.assert_refused(write(path, b'{}'), str(path), 'No such file or directory')

    def test_a_name_that_is_a_folder_is_one_line(self):
        self.page.mkdir()
        self.assert_refused(write(self.page, b'{}'), str(self.page), 'directory')
        self.assertEqual(os.listdir(self.folder), ['report.html'])

    def test_a_full_disk_leaves_the_earlier_file(self):
        self.page.write_text('earlier')
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        self.assert_refused(write(self.page, b'{}', preexec_fn=limit), str(self.page), 'File too large')
        self.assertEqual(self.page.read_text(), 'earlier')
        self.assertEqual(os.listdir(self.folder), ['report.html'])


class Seen(Folder):
    """The page in a browser. Each test ends with a look at what the browser complained about."""

    @classmethod
    def setUpClass(cls):
        cls.browser = browser.Browser(browser.find())
        cls.addClassCleanup(cls.browser.close)

    def show(self, case, width=1280, scheme='light'):
        self.report = report_of(case)
        result = write(self.page, as_json(self.report))
        self.assertEqual((result.returncode, result.stderr), (0, b''))
        self.browser.view(width, 900, scheme, touch=width < 600)
        self.browser.open(self.page)
        # Pictures that know their width have been drawn after the first frames.
        self.value('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame('
                   '() => setTimeout(done, 50))))')
        self.keep_picture(f'{case}-{scheme}-{width}')

    def keep_picture(self, name):
        folder = os.environ.get('TARN_TEST_PICTURES')
        if folder:
            self.browser.picture(os.path.join(folder, name + '.png'))

    def assert_quiet(self):
        self.assertEqual(self.browser.console, [])
        self.assertEqual(self.browser.requests, [self.page.resolve().as_uri()])

    def value(self, expression):
        return self.browser.value(expression)

    def content(self, selector):
        """The text as it was put there, whatever the style makes of it."""
        return self.value(f'document.querySelector({json.dumps(selector)}).textContent')

    def text(self, selector):
        return self.value(f'document.querySelector({json.dumps(selector)}).innerText')

    def texts(self, selector):
        return self.value(f'[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.innerText)')

    def settle(self, expression):
        self.browser.wait_for(f'!!({expression})')


class Loads(Seen):
    def fits(self, case, width, scheme):
        with self.subTest(case=case, width=width, scheme=scheme):
            self.show(case, width, scheme)
            self.assert_quiet()
            self.assertLessEqual(self.value('document.documentElement.scrollWidth'), width)
            self.assertNotIn('could not be drawn', self.text('main'))

    def test_every_report_fits_a_screen_and_a_phone_without_a_word_on_the_console(self):
        for case in mock.CASES:
            for width in WIDTHS:
                self.fits(case, width, 'light')

    def test_dark_is_dark_and_light_is_light(self):
        for scheme, low, high in (('light', 600, 765), ('dark', 0, 120)):
            self.fits('full', 1280, scheme)
            for colour in self.backgrounds():
                self.assertTrue(low <= colour <= high, (scheme, colour))

    def backgrounds(self):
        """Red, green and blue added up: of the page, of a card, of the map's canvas where no page is."""
        shown = self.value('["body", ".card"].map((name) => document.querySelector(name))'
                           '.map((node) => getComputedStyle(node).backgroundColor)')
        return [sum(map(int, re.findall(r'\d+', colour)[:3])) for colour in shown]

    def test_paper_is_white(self):
        self.show('full', scheme='dark')
        dark = self.backgrounds()
        self.browser.call('Emulation.setEmulatedMedia', media='print',
                          features=[{'name': 'prefers-color-scheme', 'value': 'dark'}])
        self.settle('document.documentElement.dataset.theme === "light"')
        self.assertNotEqual(self.backgrounds(), dark)
        self.assertEqual(self.value('getComputedStyle(document.documentElement).printColorAdjust'), 'exact')
        self.browser.call('Emulation.setEmulatedMedia', media='',
                          features=[{'name': 'prefers-color-scheme', 'value': 'dark'}])
        self.settle('document.documentElement.dataset.theme === "dark"')
        self.assert_quiet()

    def test_the_button_changes_light_and_dark(self):
        self.show('full', scheme='dark')
        self.assertLess(self.backgrounds()[0], 120)
        self.browser.click_on('#theme')
        self.assertGreater(self.backgrounds()[0], 600)
        self.browser.click_on('#theme')
        self.assertLess(self.backgrounds()[0], 120)
        self.value('localStorage.clear()')

    def test_names_that_are_html_are_text(self):
        self.show('hostile')
        self.assert_quiet()
        self.assertIsNone(self.value('window.hacked ?? null'))
        self.assertEqual(self.content('h1'), self.report['verdict'])
        self.assertIn(mock.HOSTILE[0], ' '.join(self.texts('table.stacks th')))
        self.assertIn(mock.HOSTILE[0], self.texts('.d3-flame-graph-label'))
        self.assertEqual(self.value('document.querySelectorAll("img, main script, iframe").length'), 0)

    def test_letters_that_turn_the_text_are_shown_as_their_numbers(self):
        self.show('hostile')
        self.assertIn('\\u202e', ' '.join(self.texts('.warning')))
        self.assertNotIn('\u202e', self.text('body'))

    def test_a_script_that_is_not_the_pages_own_does_not_run(self):
        self.show('full')
        self.value('{ const own = document.createElement("script"); own.textContent = "window.hacked = 4";'
                   ' document.body.append(own); }')
        self.assertIsNone(self.value('window.hacked ?? null'))

    def bins_of_allocated(self):
        return len({math.ceil(8 * math.log2(max(row['to_bytes'], 16))) for row in self.report['request_sizes']})

    def test_what_a_report_lacks_is_said(self):
        self.show('bare')
        for picture, words in (('bands', 'One snapshot only.'), ('heapmap', 'No heap map.'), ('flame', 'No profile.')):
            self.assertIn(words, self.text('#' + picture))
        self.show('freed')
        self.assertIn('Allocated bytes by request size', self.text('#histogram'))
        self.assertIn('No sample was live at the last snapshot', self.text('#histogram'))
        self.assertEqual(self.value('document.querySelectorAll("#histogram .bin").length'), self.bins_of_allocated())
        self.assertNotIn('size classes would', self.text('#histogram'))
        self.show('no-profile')
        self.assertIn('No profile.', self.text('#flame'))
        self.assertIn('who pins this page is not known', self.details_of_a_page())
        self.show('no-sample')
        self.assertIn('No call stack. One is taken for each 2 KiB allocated', self.text('#flame'))
        self.assertNotIn('No profile', self.text('#flame'))

    def details_of_a_page(self):
        self.value('document.querySelector("#heapmap canvas").focus()')
        self.browser.key('ArrowRight')
        return self.text('#heapmap-details')

    def test_the_processes_of_a_run_have_a_row_each(self):
        self.show('large')
        self.assertEqual(len(self.texts('#processes tbody tr')), 3)
        self.assertIn('pid 4712', self.texts('#processes tbody th')[1])
        self.assertEqual(self.texts('#processes tr.chosen th'), [self.texts('#processes tbody th')[0]])
        self.show('full')
        self.assertTrue(self.value('document.querySelector("#processes-card").hidden'))

    def test_large_blocks_are_pages_of_their_own(self):
        self.show('large')
        self.value('document.querySelector("#heapmap canvas").focus()')
        for key in ('End', 'ArrowUp'):
            self.browser.key(key)
        self.assertIn('Large block 2 of 2', self.text('#heapmap-details'))

    def test_on_a_phone_a_cell_may_stand_for_a_few_pages(self):
        self.show('large', 390)
        group = int(re.search(r'A cell is (\d+) pages', self.text('#heapmap')).group(1))
        self.assertIn(f'Pages 1 to {group} of', self.details_of_a_page())

    def test_without_proc_the_heap_stands_alone(self):
        self.show('no-process')
        fields = self.value('[...document.querySelectorAll(".waterfall .row")].map((row) => row.dataset.field)')
        self.assertEqual(fields[-1], 'heap_rss_bytes')
        self.assertNotIn('other rss', self.text('#bands'))


class Pictures(Seen):
    def setUp(self):
        super().setUp()
        self.show('full')
        self.last = self.report['snapshots'][-1]

    # --- the waterfall ---

    def bars(self):
        return {row['field']: row for row in self.value(
            '[...document.querySelectorAll(".waterfall .row")].map((row) => ({field: row.dataset.field,'
            ' value: row.querySelector(".value").innerText, left: parseFloat(row.querySelector(".bar").style.left),'
            ' width: parseFloat(row.querySelector(".bar").style.width)}))')}

    def test_each_bar_begins_where_the_one_before_ends(self):
        bars, level = self.bars(), 0
        for field in ('requested', 'rounding', 'holes', 'tail', 'retained', 'pending', 'metadata'):
            bar = bars[field + '_bytes']
            self.assertAlmostEqual(bar['left'], level, places=3)
            level += bar['width']
        level -= bars['untouched_bytes']['width']
        self.assertAlmostEqual(bars['heap_rss_bytes']['width'], level, places=3)
        self.assertAlmostEqual(bars['rss_bytes']['width'], level + bars['other_rss_bytes']['width'], places=3)

    def test_the_bars_are_as_long_as_the_figures(self):
        bars = self.bars()
        for field, bar in bars.items():
            share = bar['width'] / bars['rss_bytes']['width']
            self.assertAlmostEqual(share, self.last[field] / self.last['rss_bytes'], places=4)
        self.assertEqual(bars['holes_bytes']['value'], amount(self.last["holes_bytes"]))

    def test_the_verdict_is_the_headline(self):
        self.assertEqual(self.content('h1'), self.report['verdict'])

    # --- over time ---

    def shown(self):
        return int(self.value('document.querySelector("#moment").dataset.index'))

    def map_now(self):
        return self.value('document.querySelector("#heapmap canvas").toDataURL()')

    def brush(self, begin, end):
        place = self.browser.place('#bands .u-over')
        y = place['y'] + place['height'] / 2
        self.browser.drag(place['x'] + begin * place['width'], y, place['x'] + end * place['width'])

    def test_a_brush_changes_the_map_and_the_other_pictures(self):
        map_before, bars_before, classes_before = self.map_now(), self.bars(), self.text('#classes')
        self.brush(0.9, 0.05)
        self.assertLess(self.shown(), 3)
        self.assertEqual(self.value('document.querySelector("#heapmap canvas").dataset.shown'), str(self.shown()))
        self.assertNotEqual(self.map_now(), map_before)
        self.assertNotEqual(self.bars(), bars_before)
        self.assertNotEqual(self.text('#classes'), classes_before)
        self.assert_quiet()

    def test_a_brush_selects_what_is_under_the_pointer(self):
        snapshots = self.report['snapshots']
        peak = self.report['peak']
        begin, end = snapshots[0]['time_ms'], snapshots[-1]['time_ms']
        self.brush(0.02, (snapshots[peak]['time_ms'] - begin) / (end - begin))
        self.assertEqual(self.shown(), peak)
        self.assertIn('the peak', self.text('#moment'))
        self.assertIn(snapshots[peak]['verdict'], self.text('#waterfall-verdict'))
        rss = self.bars()['rss_bytes']['value']
        self.assertEqual(rss, amount(snapshots[peak]["rss_bytes"]))

    def test_keys_go_through_the_snapshots(self):
        self.value('document.querySelector("#bands .plot").focus()')
        last = len(self.report['snapshots']) - 1
        steps = {'ArrowLeft': last - 1, 'Home': 0, 'ArrowRight': 1, 'End': last, 'p': self.report['peak']}
        for key, shown in steps.items():
            self.browser.key(key)
            self.assertEqual(self.shown(), shown, key)

    # --- the heap map ---

    def cell(self, row, fits):
        """The middle of the first cell of the map's row whose page fits, in the window: cells of 14 pixels at 1280."""
        place = self.browser.place('#heapmap canvas')
        gutter, size, gap = 74, 14, 7
        columns = int((place['width'] - gutter) // size)
        top = 0
        for number, entry in enumerate(self.last['map']):
            most = max(len(snapshot['map'][number]['pages']) for snapshot in self.report['snapshots'])
            if entry['block_bytes'] == row:
                index = next(i for i, page in enumerate(entry['pages']) if fits(page))
                left, down = gutter + index % columns * size, top + index // columns * size
                return place['x'] + left + 6, place['y'] + down + 11, entry['pages'][index]
            top += -(-most // columns) * size + gap
        raise AssertionError('no such row')

    def test_a_page_names_who_pins_it_and_since_when(self):
        x, y, page = self.cell(512, lambda page: len(page) > 2)
        self.browser.move(x, y)
        tooltip = self.text('#tooltip')
        self.assertIn(f'{page[0]} of 32 blocks', tooltip)
        self.assertIn(f'{amount(page[1])} of 16 KiB', tooltip)
        stack, requested, _, generation, _ = self.report['samples'][page[2][0]]
        self.assertIn(self.report['stacks'][stack]['site'], tooltip)
        self.assertIn(f'{requested} B asked for, {("young", "middle", "old")[generation]}', tooltip)
        self.assertIn('allocated since', tooltip)
        self.browser.click(x, y)
        self.assertIn(self.report['stacks'][stack]['site'], self.text('#heapmap-details'))
        self.browser.click_on('#heapmap-details button')
        self.assertEqual(self.texts('#flame .details h3'), self.texts('#heapmap-details button')[:1])

    def pixel(self, x, y):
        return self.value(f"""(() => {{
            const canvas = document.querySelector('#heapmap canvas'), box = canvas.getBoundingClientRect();
            const data = canvas.getContext('2d').getImageData({x} - box.x, {y} - box.y, 1, 1).data;
            return '#' + [...data.slice(0, 3)].map((part) => part.toString(16).padStart(2, '0')).join('');
        }})()""")

    def test_a_cell_has_the_colour_of_its_occupancy(self):
        for low, high in ((0, 0.1), (0.1, 0.25), (0.5, 0.75), (0.75, 1.01)):
            row = 512 if high < 0.5 else 1024
            slots = 16 * 1024 // row
            x, y, page = self.cell(row, lambda page: low <= page[0] / slots < high)
            self.assert_colour(x, y, page[0] / slots)

    def assert_colour(self, x, y, share):
        step = sum(share >= limit for limit in (0.1, 0.25, 0.5, 0.75))
        wanted = self.value('getComputedStyle(document.documentElement)'
                            f'.getPropertyValue("--occupancy-{step}").trim()')
        self.assertEqual(self.pixel(x, y), wanted)

    def first_page(self):
        place = self.browser.place('#heapmap canvas')
        x, y = place['x'] + 80, place['y'] + 11
        self.browser.move(x, y)
        return x, y, self.text('#tooltip')

    def test_a_page_that_stands_for_two_is_as_full_as_both(self):
        self.show('thinned')
        self.assertIn('A cell is 2 pages', self.text('#heapmap'))
        row = self.report['snapshots'][-1]['map'][0]
        live, resident = row['pages'][0][:2]
        slots = row['page_bytes'] // row['block_bytes']
        x, y, tooltip = self.first_page()
        self.assertIn(f'Pages 1 to 2 of {2 * len(row["pages"])} ', tooltip)
        self.assertIn(f'{2 * live} of {2 * slots} blocks', tooltip)
        self.assertIn(f'{amount(2 * resident)} of {2 * row["page_bytes"] // 1024} KiB', tooltip)
        self.assert_colour(x, y, live / slots)

    def test_a_cell_is_as_many_pages_at_all_times(self):
        self.show('thinned')
        self.value('document.querySelector("#bands .plot").focus()')
        self.browser.key('Home')
        row = self.report['snapshots'][0]['map'][0]
        self.assertEqual(row['pages_a_cell'], 1)
        pair = row['pages'][:2]
        slots = row['page_bytes'] // row['block_bytes']
        x, y, tooltip = self.first_page()
        self.assertIn(f'Pages 1 to {len(pair)} of {len(row["pages"])} ', tooltip)
        self.assert_colour(x, y, sum(page[0] for page in pair) / len(pair) / slots)

    def test_a_page_without_a_live_block_is_hatched(self):
        x, y, _ = self.cell(0, lambda page: True)
        colours = {self.pixel(x + dx, y - dy) for dx in range(4) for dy in range(4)}
        self.assertGreater(len(colours), 2)
        self.browser.move(x, y)
        self.assertIn('kept for reuse', self.text('#tooltip'))

    def test_keys_go_through_the_pages(self):
        self.value('document.querySelector("#heapmap canvas").focus()')
        titles = []
        for key in ('ArrowRight', 'ArrowRight', 'ArrowDown', 'End', 'Home', 'Escape'):
            self.browser.key(key)
            titles.append(self.texts('#heapmap-details strong:first-child')[:1])
        first, pages = 'with 48 B blocks', len(self.last['map'][0]['pages'])
        self.assertEqual(titles[:2], [[f'Page {number} of {pages} {first}'] for number in (1, 2)])
        self.assertIn('with 64 B blocks', titles[2][0])
        self.assertIn('kept for reuse', titles[3][0])
        self.assertEqual(titles[4:], [titles[0], []])

    # --- size classes ---

    def test_no_label_of_an_axis_is_cut_off(self):
        right = lambda selector: self.value(
            f'Math.max(...[...document.querySelectorAll({json.dumps(selector)})]'
            '.map((node) => node.getBoundingClientRect().right))')
        self.assertGreaterEqual(right('#histogram svg'), right('#histogram svg text'))
        # Those of the bands are drawn: half of the widest must fit.
        self.assertGreaterEqual(right('#bands .u-wrap') - right('#bands .u-over'), 24)

    def test_the_class_that_wastes_most_is_first(self):
        wastes = {entry['block_bytes']: sum(entry[name + '_bytes'] for name in ('rounding', 'holes', 'tail', 'pending'))
                  for entry in self.last['classes']}
        worst = max(wastes, key=wastes.get)
        self.assertEqual(self.texts('table.classes tbody th')[0], f'{worst} B')
        self.assertEqual(self.texts('table.classes tbody tr:first-child td')[-1], amount(wastes[worst]))

    def test_it_says_what_more_classes_would_save(self):
        gain = self.report['what_if'][0]
        saved = '−' + amount(gain['saved_bytes'])
        self.assertIn(f'1 KiB to 2 KiB: with 16 classes a doubling here instead of 8: {saved}', self.text('#histogram'))
        self.assertEqual(self.content('.gain text'), saved)

    def test_the_histogram_has_every_request(self):
        blocks = self.value('[...document.querySelectorAll(".bin .requested_bytes")].length')
        self.assertGreater(blocks, 8)
        self.browser.move(0, 0)
        place = self.browser.place('.bin .catch')
        self.browser.move(place['x'] + 1, place['y'] + place['height'] / 2)
        self.assertIn('Requests up to', self.text('#tooltip'))

    # --- call stacks ---

    def frames(self):
        """What can be seen of the flame graph: {name: share of its width}; the widest where a name stands twice."""
        rows = self.value("""(() => {
            const whole = document.querySelector('#flame .flame').clientWidth;
            return [...document.querySelectorAll('#flame g.frame')].map((frame) =>
                [frame.getAttribute('name'), frame.querySelector('rect').getBoundingClientRect().width / whole]);
        })()""")
        result = {}
        for name, share in rows:
            result[name] = max(share, result.get(name, 0))
        return result

    def frames_when(self, holds):
        """The same as soon as that is true of them: widths come with a later frame of the browser."""
        deadline = time.monotonic() + browser.ANSWER_S
        while not holds(frames := self.frames()) and time.monotonic() < deadline:
            time.sleep(browser.SETTLE_S)
        return frames

    def metric(self, name):
        self.browser.click_on(f'#flame .segmented button[data-value="{name}_bytes"]')

    def test_a_frame_is_as_wide_as_its_bytes(self):
        for metric in ('pinned', 'rounding', 'live', 'allocated'):
            self.metric(metric)
            sums = {stack['site']: stack[metric + '_bytes'] for stack in self.report['stacks']}
            whole = sum(stack[metric + '_bytes'] for stack in self.report['stacks'])
            self.settle('document.querySelectorAll("#flame g.frame").length > 5')
            share = sums[mock.UNATTRIBUTED] / whole
            frames = self.frames_when(lambda frames: abs(frames.get(mock.UNATTRIBUTED, 0) - share) < 0.005)
            self.assertAlmostEqual(frames[mock.UNATTRIBUTED], share, places=2, msg=metric)
            self.assertIn(f'{amount(whole)} {metric}', self.text('#flame-status'))

    def test_a_click_zooms_and_the_button_zooms_out(self):
        self.assertLess(self.frames()['connection_read'], 0.9)
        place = self.browser.place('#flame g.frame[name="connection_read"] rect')
        self.browser.click(place['x'] + 5, place['y'] + 5)
        self.settle('!document.querySelector(\'#flame g.frame[name="start_thread"]\')')
        frames = self.frames_when(lambda frames: frames.get('connection_read', 0) > 0.99)
        self.assertGreater(frames['connection_read'], 0.99)
        self.assertIn('connection_read (src/connection.c:141)', self.text('#flame-status'))
        self.keep_picture('zoomed')
        self.browser.click_on('#flame .bar-of-tools > button')
        self.settle('document.querySelector(\'#flame g.frame[name="start_thread"]\')')
        self.assert_quiet()

    def test_keys_go_through_the_frames_and_zoom(self):
        self.value('document.querySelector("#flame .flame").focus()')
        for key in ('ArrowDown', 'ArrowRight'):
            self.browser.key(key)
        self.assertIn('start_thread:', self.text('#flame-status'))
        self.browser.key('Enter')
        self.settle('!document.querySelector(\'#flame g.frame[name="_start"]\')')
        self.browser.key('Escape')
        self.settle('document.querySelector(\'#flame g.frame[name="_start"]\')')

    def test_a_search_marks_frames_and_adds_them_up(self):
        self.browser.click_on('#flame input')
        self.browser.type('cache.c:23')
        found = sum(stack['pinned_bytes'] for stack in self.report['stacks'] if 'cache.c:23' in stack['site'])
        self.assertIn(amount(found), self.text('#flame-status'))
        marked = self.value('[...document.querySelectorAll("#flame g.frame rect")]'
                            '.filter((rect) => rect.getAttribute("fill") === "var(--found)")'
                            '.map((rect) => rect.parentNode.getAttribute("name"))')
        self.assertEqual(set(marked), {'entry_new'})

    def test_a_search_that_is_no_pattern_is_text(self):
        self.browser.click_on('#flame input')
        self.browser.type('operator new(')
        self.assertNotIn(': 0 B', self.text('#flame-status'))
        self.assert_quiet()

    def test_the_site_that_pins_most_is_first_and_in_full(self):
        stacks = [stack for stack in self.report['stacks'] if stack['frames']]
        stack = max(stacks, key=lambda entry: entry['pinned_bytes'])
        self.assertEqual(self.texts('table.stacks tbody button')[0], stack['site'])
        details = self.text('#flame .details')
        for number in stack['frames']:
            self.assertIn(self.report['frames'][number]['function'], details)
        self.assertIn(f'{stack["died_young_percent"]} %', details)
        self.assertIn('Its survivors lie among freed blocks of', details)

    def test_a_snapshot_with_the_same_call_stacks_leaves_them_zoomed(self):
        self.value('document.querySelector("#flame .flame").focus()')
        for key in ('ArrowDown', 'ArrowRight', 'Enter'):
            self.browser.key(key)
        self.settle('!document.querySelector(\'#flame g.frame[name="_start"]\')')
        self.value('document.querySelector("#bands .plot").focus()')
        before = self.shown()
        self.browser.key('ArrowLeft')
        self.assertEqual(self.shown(), before - 1)
        self.assertIn('this is the nearer', self.text('#flame-status'))
        time.sleep(0.1)
        self.assertFalse(self.value('!!document.querySelector(\'#flame g.frame[name="_start"]\')'))

    def test_the_graph_is_that_of_the_nearest_snapshot_that_has_one(self):
        self.value('document.querySelector("#bands .plot").focus()')
        self.browser.key('p')
        snapshots = self.report['snapshots']
        for metric, field, moment in (('pinned', 'holes_bytes', 'worst'), ('live', 'live_bytes', 'peak_live')):
            self.metric(metric)
            total = snapshots[self.report[moment]][field]
            self.assertIn(f'{amount(total)} {metric} at', self.text('#flame-status'))

    def test_stacks_of_one_call_site_are_added_up(self):
        total = sum(stack['pinned_bytes'] for stack in self.report['stacks']
                    if stack['site'] == 'entry_new (src/cache.c:23)')
        row = self.texts('table.stacks tbody tr')[0]
        self.assertIn('and 1 other stack', row)
        self.assertIn(amount(total), row)

    # --- all of it ---

    def test_the_tab_key_reaches_every_picture(self):
        self.value('document.activeElement.blur()')
        reached = set()
        for _ in range(120):
            self.browser.key('Tab')
            reached.add(self.value('document.activeElement.closest("[id]")?.id'))
        pictures = {'waterfall', 'bands', 'heapmap', 'classes', 'histogram', 'flame'}
        self.assertLessEqual({'theme', 'moment', *pictures}, reached)


def missing():
    """Why the page cannot be tested here, or None."""
    with tempfile.TemporaryDirectory() as folder:
        if write(os.path.join(folder, 'page.html'), b'{}').returncode == SKIPPED:
            return 'tarn was built without the page'
    return None if browser.find() else 'Chromium is missing'


if __name__ == '__main__':
    WRITE = os.path.abspath(sys.argv[1])
    why = missing()
    if why and os.environ.get('TARN_TEST_ALL') != '1':
        print(f'SKIP: {why}')
        sys.exit(SKIPPED)
    if why:
        sys.exit(f'{why}, and TARN_TEST_ALL=1')
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
