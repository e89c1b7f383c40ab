#!/usr/bin/env python3
"""test_recording.py WORKER LIBTARN CPU_CLOCK PLUGIN PLUGIN CASE - what a recording holds, whatever happens to its process."""

import os
import pathlib
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

import memory_limit
import reader

WORKER = LIBTARN = CPU_CLOCK = PLUGINS = None    # set from the command line below
SPIKE_BYTES = (256 << 10) * 1000    # as in worker.c
KILLS = int(os.environ.get('TARN_TEST_KILLS', 20))
OOM_KILLS = int(os.environ.get('TARN_TEST_OOM_KILLS', 2))    # the machine is slow while it reclaims
OOM_LIMITS_BYTES = (12 << 20, 24 << 20)                      # of the 29 that the program wants
SECONDS = float(os.environ.get('TARN_TEST_SECONDS', 2))
PATIENCE_S = 60 + 2 * SECONDS


class Recorded(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-recording-')).resolve()
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def environment(self, options='', record='%n.%p'):
        record = f'record={self.folder}/{record}:' if record else ''
        return {'PATH': '/usr/bin:/bin', 'LD_PRELOAD': LIBTARN, 'TARN_OPTIONS': record + 'stats=off:' + options}

    def start(self, *arguments, options='', record='%n.%p', program=None, **more):
        process = subprocess.Popen([program or WORKER, *map(str, arguments)], env=self.environment(options, record),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    @staticmethod
    def hold(process):
        """Until its end: reader.py takes one look, and a place that is written anew meanwhile would be half old, half new."""
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)

    def work(self, *arguments, status=0, errors=b'', **more):
        """Runs to its end, without a word but "ready"."""
        process = self.start(*arguments, **more)
        _, stderr = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, stderr), (status, errors))
        return process

    def recordings(self):
        return [reader.Recording(path) for path in sorted(self.folder.iterdir())]

    def path_of(self, process):
        return self.folder / f'{pathlib.Path(WORKER).name}.{process.pid}'

    def only(self):
        found = self.recordings()
        self.assertEqual(len(found), 1)
        return found[0]

    def has_snapshot(self):
        try:
            return bool(self.only().snapshots)
        except (AssertionError, reader.Broken):
            return False    # not yet

    def require_whole(self, recording, slack=0):
        self.assertEqual(recording.faults(slack), [])
        self.assertTrue(recording.snapshots)


class Contents(Recorded):
    def test_the_header_tells_of_the_process(self):
        process = self.work('leak', 1 << 20, 1000, options='waste=7:sample=65536')
        recording = self.only()
        header = recording.header
        self.assertEqual(header.program.decode(), pathlib.Path(WORKER).name)
        self.assertEqual((header.pid, header.parent_pid, header.forked), (process.pid, os.getpid(), 0))
        self.assertEqual(recording.text(header.command_line), f'{WORKER}\0leak\0{1 << 20}\0001000\0')
        self.assertEqual(recording.text(header.executable), WORKER)
        self.assertEqual(recording.text(header.directory), os.getcwd())
        self.assertEqual((header.end, header.end_value), (reader.EXIT, 0))
        self.assertEqual((header.sample_bytes, header.profile, header.waste_percent), (65536, 1, 7))
        self.assertAlmostEqual(header.start_realtime_ns / 1e9, time.time(), delta=20)
        self.assertGreater(header.start_ticks, 0)
        self.assertEqual(header.flags, 0)
        self.require_whole(recording)

    def site_of(self, recording, function):
        """The sites whose innermost frame lies in a function of the worker."""
        symbols = subprocess.run(['nm', '-S', WORKER], capture_output=True, text=True, check=True).stdout.split('\n')
        start, size = next((int(line.split()[0], 16), int(line.split()[1], 16)) for line in symbols
                           if line.endswith(' ' + function))
        found = []
        for site in recording.sites[1:]:
            module, address = recording.frames(site)[0]
            place = recording.modules[module]
            if recording.text(place.path) == WORKER and start <= address - 1 - place.bias < start + size:
                found.append(site)
        return found

    def test_what_a_function_leaks_is_said_of_it(self):
        self.work('leak', 64 << 20, 1000, options='sample=65536')
        recording = self.only()
        leaked, freed = self.site_of(recording, 'known_leak'), self.site_of(recording, 'known_short_lived')
        live = sum(site.live.requested_bytes for site in leaked)
        self.assertAlmostEqual(live, 64 << 20, delta=(64 << 20) * 4 / 1024 ** 0.5)    # four standard errors
        self.assertEqual(live, sum(site.live.requested_bytes for site in recording.sites if site in leaked))
        self.assertEqual(sum(site.live.bytes for site in freed), 0)
        young = sum(site.died_young.bytes for site in freed)
        self.assertAlmostEqual(young, 64 << 20, delta=(64 << 20) * 4 / 1024 ** 0.5)
        self.require_whole(recording)

    def test_holes_are_charged_to_the_survivors(self):
        self.work('pinned', options='sample=16384')
        recording = self.only()
        last = recording.snapshots[-1]
        place = recording.header.pinned_last
        mine = sum(site.pinned_bytes[place] for site in self.site_of(recording, 'known_leak'))
        self.assertGreater(last.holes_bytes, 20 << 20)
        self.assertGreater(mine, 0.9 * last.holes_bytes)
        self.require_whole(recording)

    def peak_bytes(self, *arguments, **more):
        process = self.start(*arguments, **more)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        return usage.ru_maxrss << 10

    def test_a_program_that_allocates_nothing_pays_for_four_pages(self):
        """Header, text, and the heads of a snapshot at the start and one at the end; the rest of the file is a hole."""
        self.work(program='/bin/true')
        file, = self.folder.iterdir()
        self.assertLessEqual(file.stat().st_blocks * 512, 4 * os.sysconf('SC_PAGE_SIZE'))
        recording = self.only()
        self.assertEqual([snapshot.classes for snapshot in recording.snapshots], [[], []])
        self.require_whole(recording)

    def test_few_sizes_are_counted_on_one_page(self):
        self.work('leak', 4 << 20, 1000)
        sizes = self.only().header.tables[reader.SIZES]
        self.assertGreater(self.only().header.sampled_total, 0)
        with open(next(self.folder.iterdir()), 'rb') as file:
            start = os.lseek(file.fileno(), sizes.offset, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        self.assertEqual((start, end), (sizes.offset, sizes.offset + os.sysconf('SC_PAGE_SIZE')))

    def test_it_costs_a_mebibyte_beside_the_pages_of_the_file(self):
        for arguments in (('leak', 64 << 20, 1000), ('pinned',)):
            plain = min(self.peak_bytes(*arguments, record='') for _ in range(3))
            recorded = min(self.peak_bytes(*arguments, record='peak') for _ in range(3))
            pages = (self.folder / 'peak').stat().st_blocks * 512
            with self.subTest(arguments=arguments, plain=plain, pages=pages):
                self.assertLessEqual(recorded - plain, (1 << 20) + pages)

    def test_every_cell_is_a_page_and_all_residence_is_in_cells(self):
        self.work('pinned')
        snapshot = self.only().snapshots[-1]
        resident = sum(cell.resident for cell in snapshot.cells) * reader.CELL_UNIT * snapshot.cell_pages
        heap = snapshot.heap_rss_bytes - snapshot.metadata_bytes
        self.assertAlmostEqual(resident, heap, delta=heap * 0.02)
        for cell in snapshot.cells:
            self.assertLessEqual(cell.live, cell.length)
            self.assertLessEqual(cell.resident, cell.length)

    def test_snapshots_come_with_highs(self):
        self.work('leak', 64 << 20, 1000)
        recording = self.only()
        highs = [snapshot.rss_bytes for snapshot in recording.snapshots]
        self.assertGreater(len(highs), 2)    # the start's, the end's, and as many between as 0.5 % of the time allow
        self.assertEqual(highs, sorted(highs))
        self.assertEqual(recording.header.snapshot_number, recording.snapshots[-1].number_end)
        self.assertEqual(recording.snapshots[-1].reason, reader.AT_END)

    def peak_seen(self, recording):
        """Which part of the spike the highest snapshot shows, of what is resident and of what lives."""
        peak = max(snapshot.rss_bytes for snapshot in recording.snapshots)
        live = max(snapshot.live_bytes for snapshot in recording.snapshots)
        self.require_whole(recording)
        return min(peak / recording.snapshots[-1].peak_rss_bytes, live / SPIKE_BYTES)    # the former as the kernel tells in the end

    def test_a_peak_that_is_soon_over_has_a_snapshot(self):
        """The first sample that dies behind it tells. Samples are 4 MiB apart in the mean then, so of one peak in 23 more
        than 5 % is gone when that happens, and more than a fourth of one in six million."""
        seen = []
        for run in range(9):
            self.work('spike', record=f'{run}')
            seen.append(self.peak_seen(reader.Recording(self.folder / f'{run}')))
            (self.folder / f'{run}').unlink()
        self.assertGreater(statistics.median(seen), 0.95, seen)
        self.assertGreater(min(seen), 0.75, seen)

    def test_what_a_process_frees_that_hardly_runs_is_seen(self):
        process = self.start('ebb', options='sample=131072')
        process.stdout.readline()
        process.kill()
        process.communicate()
        recording = self.only()
        live = [snapshot.live_bytes for snapshot in recording.snapshots]
        self.assertGreater(max(live), 60 << 20)
        self.assertLess(live[-1], max(live) / 2)
        # 5 s for one snapshot each 2000 times what it takes; and those of the processor time.
        self.assertLess(recording.header.snapshots_cpu_ns, (recording.snapshots[-1].time_ns + 10 ** 9) / 1000)
        self.require_whole(recording)

    def test_a_recording_has_a_snapshot_from_the_start_on(self):
        process = self.start('60', program='/bin/sleep')
        deadline = time.monotonic() + PATIENCE_S
        while not self.has_snapshot() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        recording = self.only()
        self.assertEqual([snapshot.reason for snapshot in recording.snapshots], [reader.AT_START])
        self.require_whole(recording)

    def test_the_peak_is_kept_by_site(self):
        self.work('busy', 2, 1, options='sample=65536')
        recording = self.only()
        peak = sum(recording.at_peak(site).bytes for site in recording.sites)
        self.assertEqual(peak, recording.header.peak_weighted_bytes)
        self.assertEqual({thread.name for thread in recording.threads[1:]} & {b'busy'}, {b'busy'})
        self.require_whole(recording)

    def test_a_stack_without_end_is_cut(self):
        self.work('recursion', 1000, options='sample=4096')
        recording = self.only()
        self.assertTrue(all(site.depth == 64 and site.flags & 1 for site in recording.sites[1:] if site.class_ != 0
                            and site.allocated_samples > 100))
        self.assertTrue(any(site.flags & 1 for site in recording.sites))

    def test_each_of_many_stacks_is_one_site(self):
        self.work('paths', 11, options='sample=256')    # blocks of 4000 bytes: all but one in millions
        recording = self.only()
        stacks = [(site.class_, *recording.frames(site)) for site in recording.sites[1:]]
        self.assertEqual(len(stacks), len(set(stacks)))
        sites = self.site_of(recording, 'known_leak')
        self.assertEqual(len(sites), 2 ** 11)
        self.assertGreater(sum(site.allocated_samples == 2 for site in sites), 0.999 * len(sites))
        self.require_whole(recording)

    def test_one_stack_in_many_classes_is_a_site_of_each_and_its_frames_are_there_once(self):
        self.work('sizes', 16384, options='sample=16')
        recording = self.only()
        sites = self.site_of(recording, 'known_leak')
        self.assertGreater(len(sites), 50)
        self.assertEqual(len(sites), len({site.class_ for site in sites}))
        self.assertEqual(len({(site.frames_first, site.depth) for site in sites}), 1)
        self.assertTrue(all(site.allocated_samples % 2 == 0 for site in sites if site.class_ > 40))
        self.require_whole(recording)

    def test_without_a_profile_there_are_snapshots_only(self):
        self.work('leak', 8 << 20, 1000, options='profile=off')
        recording = self.only()
        self.assertEqual((recording.header.profile, recording.header.sampled_total), (0, 0))
        self.require_whole(recording)

    def test_a_small_recording_thins_its_samples(self):
        self.work('leak', 48 << 20, 1000, options='sample=1024:record_max=1MiB')
        recording = self.only()
        self.assertTrue(recording.header.flags & reader.FULL_SAMPLES)
        self.assertGreater(recording.header.sample_bytes_now, 1024)
        live = sum(site.live.requested_bytes for site in recording.sites)
        self.assertAlmostEqual(live, 48 << 20, delta=(48 << 20) * 0.15)
        self.assertEqual(recording.header.file_bytes, 1 << 20)
        self.require_whole(recording)

    def test_a_signal_takes_a_snapshot(self):
        process = self.start('idle', options='record_signal=USR2')
        self.assertEqual(process.stdout.readline(), b'ready\n')
        before = len(self.only().snapshots)
        process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE_S
        while len(self.only().snapshots) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        recording = self.only()
        self.assertEqual(recording.snapshots[-1].reason, reader.AT_REQUEST)
        self.assertEqual(recording.header.end, reader.RUNNING)
        self.require_whole(recording)


class Clocks(Recorded):
    def environment(self, options='', record='%n.%p'):
        return super().environment(options, record) | {'LD_PRELOAD': f'{CPU_CLOCK}:{LIBTARN}'}

    def test_waiting_for_what_a_snapshot_costs_takes_few_system_calls(self):
        """The processor time is no matter of reading memory, as the other clocks are: the kernel has to be asked."""
        process = self.start('spike', options='sample=16384')
        _, stderr = process.communicate(timeout=PATIENCE_S)
        recording = self.only()
        self.assertGreater(recording.header.sampled_total, 10000)
        self.assertLess(int(stderr), recording.header.sampled_total / 20 + 20 * len(recording.snapshots))
        self.require_whole(recording)


class EarlyGlibc(Recorded):
    """Before glibc 2.35 nothing tells a module by its address, and the unwinder that is linked in asks for that."""
    def environment(self, options='', record='%n.%p'):
        library = pathlib.Path(tempfile.mkdtemp(prefix='tarn-early-')) / 'libtarn.so'
        self.addCleanup(shutil.rmtree, library.parent)
        library.write_bytes(pathlib.Path(LIBTARN).read_bytes().replace(b'_dl_find_object\0', b'_dl_find_absent\0'))
        return super().environment(options, record) | {'LD_PRELOAD': str(library)}

    def test_a_profile_has_no_stacks(self):
        self.work('leak', 8 << 20, 1000, options='sample=65536')
        recording = self.only()
        self.assertGreater(recording.header.sampled_total, 50)
        self.assertEqual({len(recording.frames(site)) for site in recording.sites[1:]}, {0})
        self.require_whole(recording)


class Kills(Recorded):
    def kill(self, seed, sleep):
        chance = random.Random(seed)
        process = self.start('busy', 3, options='sample=32768')
        process.stdout.readline()
        sleep(chance.random() * 0.4)
        process.kill()
        process.communicate()
        path = self.path_of(process)
        recording = reader.Recording(path)
        path.unlink()
        return recording

    def test_every_kill_leaves_a_whole_recording(self):
        counted = 0
        for seed in range(KILLS):
            with self.subTest(seed=seed):
                recording = self.kill(seed, time.sleep)
                self.assertEqual(recording.header.end, reader.RUNNING)
                self.require_whole(recording, slack=3)    # a thread in the midst of one each
                counted += len(recording.snapshots)
        self.assertGreater(counted, KILLS)

    def test_a_fatal_signal_is_said(self):
        for number in (signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT):
            process = self.start('busy', 2)
            process.stdout.readline()
            time.sleep(0.1)
            process.send_signal(number)
            process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, -number)
            recording = reader.Recording(self.path_of(process))
            self.assertEqual((recording.header.end, recording.header.end_value), (reader.SIGNAL, number))
            self.assertEqual(recording.snapshots[-1].reason, reader.AT_END)
            self.require_whole(recording, slack=3)

    def test_a_reader_may_look_while_it_runs(self):
        process = self.start('busy', 2)
        process.stdout.readline()
        looks = seen = 0
        deadline = time.monotonic() + PATIENCE_S
        while looks < 40 or (seen <= 3 and time.monotonic() < deadline):    # they come as the processor time allows
            looks += 1
            time.sleep(0.02)
            recording = self.only()
            self.assertEqual([fault for one in recording.snapshots for fault in recording.snapshot_faults(one)], [])
            seen = max(seen, recording.header.snapshot_number)
        self.assertGreater(seen, 3)
        self.end(process)

    def oom_kill(self, limit_bytes):
        limit = memory_limit.MemoryLimit(limit_bytes)
        try:
            process = self.start('busy', 3, options='sample=32768', preexec_fn=limit.enter)
            process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, -signal.SIGKILL)
            self.assertIn(limit.kills(), (1, None))
        finally:
            limit.remove()
        return reader.Recording(self.path_of(process))

    def test_every_oom_kill_leaves_a_whole_recording(self):
        more_than_the_first = 0    # a process may be killed before it is time for another one
        least, most = OOM_LIMITS_BYTES
        for limit_bytes in range(least, most, (most - least) // OOM_KILLS):
            try:
                recording = self.oom_kill(limit_bytes)
            except memory_limit.Unavailable as error:
                self.skipTest(error)
            with self.subTest(limit_bytes=limit_bytes):
                self.assertEqual(recording.header.end, reader.RUNNING)
                self.require_whole(recording, slack=3)
                more_than_the_first += len(recording.snapshots) > 1
        self.assertGreater(more_than_the_first, 0)

    def test_running_out_of_memory_leaves_one(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (120 << 20, 120 << 20))
        process = self.start('leak', 1 << 30, 1000, preexec_fn=limit)
        process.communicate(timeout=PATIENCE_S)
        self.assertNotEqual(process.returncode, 0)
        recording = self.only()
        self.require_whole(recording, slack=3)
        self.assertGreater(recording.snapshots[-1].live_bytes, 60 << 20)


class Processes(Recorded):
    def test_a_child_of_fork_has_its_own(self):
        process = self.work('forks', options='sample=65536')
        by_pid = {recording.header.pid: recording for recording in self.recordings()}
        parent = by_pid.pop(process.pid)
        self.assertEqual(len(by_pid), 2, 'a child that allocates nothing leaves none')
        for recording in by_pid.values():
            self.assertEqual((recording.header.forked, recording.header.parent_pid), (1, process.pid))
            self.require_whole(recording, slack=1)
            live = sum(site.live.requested_bytes for site in recording.sites)
            self.assertAlmostEqual(live, 30 << 20, delta=(30 << 20) * 0.2)
        self.assertEqual({(one.header.end, one.header.end_value) for one in by_pid.values()},
                         {(reader.EXIT, 10), (reader.RUNNING, 0)})
        live = sum(site.live.requested_bytes for site in parent.sites)
        self.assertAlmostEqual(live, 40 << 20, delta=(40 << 20) * 0.2)
        self.require_whole(parent)

    def test_a_child_of_vfork_ends_without_an_end_to_its_parents(self):
        self.work('vforks', options='sample=16384')
        recording = self.only()
        self.assertEqual((recording.header.end, recording.header.end_value), (reader.EXIT, 0))
        self.require_whole(recording)
        live = sum(site.live.requested_bytes for site in recording.sites)
        self.assertAlmostEqual(live, 20 << 20, delta=(20 << 20) * 0.2)

    def test_a_child_whose_recording_cannot_be_opened_keeps_its_errno(self):
        self.work('fork_without_files', options='sample=65536')
        self.require_whole(self.only())

    def test_threads_of_a_child_that_begin_at_once_begin_one(self):
        children = 20
        self.work('forked_threads', children, options='sample=16384')
        found = self.recordings()
        self.assertEqual(len(found), 1 + children)
        self.assertEqual(len({recording.header.pid for recording in found}), 1 + children)
        for recording in found:
            self.require_whole(recording)
            self.assertEqual(sum(site.allocated_samples for site in recording.sites), recording.header.sampled_total)

    def test_without_a_pid_in_its_path_a_child_has_none(self):
        self.work('forks', record='one')
        self.require_whole(self.only())

    def test_exec_begins_another(self):
        process = self.work('exec', WORKER, 'leak', 1 << 20, 1000)
        first, second = self.recordings()
        self.assertEqual({first.header.pid, second.header.pid}, {process.pid})
        self.assertEqual([first.header.end, second.header.end], [reader.RUNNING, reader.EXIT])
        self.assertEqual(first.header.start_ticks, second.header.start_ticks)
        self.require_whole(first, slack=1)
        self.require_whole(second)

    def test_follow_off_records_the_topmost(self):
        self.work('-c', f'{WORKER} leak 1000000 1000 >/dev/null; true', program='/bin/sh', options='follow=off')
        self.assertEqual(self.only().header.program, b'sh')


class Hostile(Recorded):
    def test_libraries_that_come_and_go(self):
        self.work('plugins', SECONDS, *PLUGINS, options='sample=16384')
        recording = self.only()
        self.require_whole(recording)
        # Each library asks for sizes of its own, and every stack through it names it.
        seen = {0: set(), 1: set()}
        paths = [recording.text(module.path) for module in recording.modules]
        for site in recording.sites[1:]:
            modules = [paths[module] for module, _ in recording.frames(site)]
            inner = [PLUGINS.index(path) for path in modules[:6] if path in PLUGINS]
            if inner:
                self.assertEqual(len(set(inner)), 1, modules)
                self.assertEqual(len(inner), 6, modules)
                seen[inner[0]].add(site.class_)
        self.assertTrue(seen[0] and seen[1])
        self.assertFalse(seen[0] & seen[1], 'a stack through one library was told as one through the other')

    def test_a_storm_of_signals(self):
        self.work('storm', SECONDS, options='sample=16384')
        self.require_whole(self.only())

    def test_a_storm_of_snapshots(self):
        process = self.start('busy', 2, 1, options='sample=16384:record_signal=USR2')
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGUSR2)
            time.sleep(0.0005)
        self.assertEqual(process.returncode, 0)
        recording = self.only()
        self.assertGreater(recording.header.snapshot_number, 20)
        self.require_whole(recording)

    def complains(self, *words, **more):
        """One line, and the program works."""
        process = self.start('leak', 1 << 20, 1000, **more)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, stdout), (0, b'ready\n'))
        self.assertRegex(stderr.decode(), r'\Atarn: no recording: [^\n]+\n\Z')
        for word in words:
            self.assertIn(word, stderr.decode())

    def test_a_foreign_file_stays(self):
        (self.folder / 'one').write_text('mine\n')
        self.complains('one', 'exists', record='one')
        self.assertEqual((self.folder / 'one').read_text(), 'mine\n')

    def test_a_link_is_not_followed(self):
        (self.folder / 'one').symlink_to(self.folder / 'target')
        self.complains('one', 'exists', record='one')
        self.assertFalse((self.folder / 'target').exists())

    def test_an_earlier_recording_is_replaced_and_a_running_one_is_not(self):
        self.work('leak', 1 << 20, 1000, record='one')
        first = self.only().header.pid
        process = self.start('idle', record='one')
        process.stdout.readline()
        self.assertNotEqual(self.only().header.pid, first)
        self.complains('one', 'exists', record='one')
        self.assertEqual(self.only().header.pid, process.pid)

    def test_no_such_directory(self):
        self.complains('no/such', 'No such file', record='no/such')

    def small_disk(self, size, name='disk'):
        disk = self.folder / name
        disk.mkdir()
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', disk], check=False,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest('may not mount')
        self.addCleanup(subprocess.run, ['umount', '-l', disk], check=True)
        return disk

    @unittest.skipUnless(os.geteuid() == 0, 'mounts a small file system')
    def test_a_disk_that_another_one_fills_meanwhile(self):
        """At whatever moment: pages that are mapped and were not written would be a SIGBUS."""
        disk = self.small_disk('16m')
        for delay_ms in (0, 20, 60, 150):
            with self.subTest(delay_ms=delay_ms):
                process = self.start('busy', 2, record=f'disk/{delay_ms}', options='sample=4096')
                time.sleep(delay_ms / 1000)
                with open(disk / 'fill', 'wb', buffering=0) as fill, self.assertRaisesRegex(OSError, 'No space'):
                    while True:
                        fill.write(bytes(4096))
                time.sleep(0.5)
                self.assertIsNone(process.poll(), process.returncode)
                self.hold(process)
                recordings = [path for path in disk.iterdir() if path.name != 'fill']
                for path in recordings:    # none: it was full before the beginning, and that is told
                    recording = reader.Recording(path)
                    self.assertEqual([fault for one in recording.snapshots
                                      for fault in recording.snapshot_faults(one)], [])
                self.end(process)
                self.assertEqual(process.returncode, -signal.SIGKILL)
                for path in (disk / 'fill', *recordings):
                    path.unlink()

    @unittest.skipUnless(os.geteuid() == 0, 'mounts a small file system')
    def test_a_disk_of_any_number_of_pages(self):
        """Each page of the file is the first that finds no room, once."""
        page = os.sysconf('SC_PAGE_SIZE')
        for pages in range(1, 40):
            with self.subTest(pages=pages):
                disk = self.small_disk(pages * page, f'disk{pages}')
                process = self.start('leak', 16 << 20, 1000, record=f'disk{pages}/one', options='sample=4096')
                _, stderr = process.communicate(timeout=PATIENCE_S)
                self.assertEqual(process.returncode, 0)
                if stderr:
                    self.assertIn(b'No space left', stderr)
                    self.assertEqual(list(disk.iterdir()), [])
                else:
                    recording = reader.Recording(disk / 'one')
                    self.assertTrue(recording.header.flags & reader.FULL_DISK)
                    self.assertEqual(recording.header.end, reader.EXIT)
                    self.require_whole(recording)

    @unittest.skipUnless(os.geteuid() == 0, 'mounts a small file system')
    def test_a_full_disk(self):
        disk = self.small_disk('256k')
        self.work('leak', 32 << 20, 1000, record='disk/one', options='sample=4096')
        recording = reader.Recording(disk / 'one')
        self.assertTrue(recording.header.flags & reader.FULL_DISK)
        self.require_whole(recording)
        (disk / 'one').unlink()
        (disk / 'fill').write_bytes(bytes(256 << 10))
        self.complains('No space left', record='disk/one')

    def test_a_limit_of_file_size_is_obeyed(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        self.work('leak', 8 << 20, 1000, preexec_fn=limit)
        self.assertEqual(self.only().header.file_bytes, 2 << 20)
        self.require_whole(self.only())
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
        self.complains('too large', preexec_fn=limit, record='other')

    def test_few_addresses_make_it_smaller(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        self.work('leak', 8 << 20, 1000, preexec_fn=limit)
        self.require_whole(self.only())

    def test_nothing_of_it_stays_open(self):
        process = self.start('idle')
        process.stdout.readline()
        names = [os.readlink(path) for path in pathlib.Path(f'/proc/{process.pid}/fd').iterdir()]
        self.assertEqual([name for name in names if str(self.folder) in name], [])
        self.assertEqual(oct(next(self.folder.iterdir()).stat().st_mode & 0o777), '0o600')


if __name__ == '__main__':
    WORKER, LIBTARN, CPU_CLOCK = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:4])
    PLUGINS = [str(pathlib.Path(argument).resolve()) for argument in sys.argv[4:6]]
    unittest.main(argv=[sys.argv[0], *sys.argv[6:]], verbosity=2)
