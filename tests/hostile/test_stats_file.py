#!/usr/bin/env python3
"""stats_file: the report into a file, whole or not at all, and never through somebody else's link."""

import os
import pwd
import resource
import shutil
import stat
import sys

import harness
from harness import Hostile, needs_root


class Base(Hostile):
    def write(self, path, *actions, **more):
        """Runs the actor, which must notice nothing. What it wrote to standard error."""
        result = self.act(*actions, 'work', 'print=worked', options=f'stats=text:stats_file={path}', **more)
        self.require_worked(result)
        return result.stderr

    def require_only(self, *names):
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), sorted(names))

    def require_report(self, path, name='actor'):
        self.assertEqual([found for found, _ in self.reports(path.read_text())], [name])


class StatsFile(Base):
    def test_it_holds_the_report_and_stderr_stays_empty(self):
        self.assertEqual(self.write(self.folder / 'report'), '')
        self.require_only('report')
        self.require_report(self.folder / 'report')

    def test_only_the_owner_may_read_it(self):
        self.write(self.folder / 'report')
        self.assertEqual(stat.S_IMODE((self.folder / 'report').stat().st_mode), 0o600)

    def test_percent_signs_stand_for_pid_name_and_percent(self):
        self.write(self.folder / '%n-%p-%%')
        (path,) = self.folder.iterdir()
        self.assertRegex(path.name, r'\Aactor-\d+-%\Z')
        self.require_report(path)
        self.assertIn(f'(pid {path.name.split("-")[1]})', path.read_text())

    def test_a_relative_path_counts_from_the_start_of_the_program(self):
        (self.folder / 'elsewhere').mkdir()
        self.write('report', f'chdir={self.folder}/elsewhere')
        self.require_only('report', 'elsewhere')
        self.assertEqual(list((self.folder / 'elsewhere').iterdir()), [])

    def test_an_older_report_is_replaced_whole(self):
        (self.folder / 'report').write_text('outdated\n' * 10000)
        self.write(self.folder / 'report')
        self.require_only('report')
        self.assertNotIn('outdated', (self.folder / 'report').read_text())

    def test_the_program_s_name_cannot_lead_into_other_folders(self):
        name = self.folder / 'a name:with .. %p'
        shutil.copy(harness.ACTOR, name)
        result = self.run_program(name, 'work', options=f'stats_file={self.folder}/%n.report')
        self.assertEqual(result.returncode, 0, result.stderr)
        self.require_only(name.name, name.name + '.report')


class Failing(Base):
    """One clear line on standard error, nothing left behind, and the program's status as ever."""

    def require_refused(self, path, *names, **more):
        self.require_one_line(self.write(path, **more), 'stats_file')
        self.require_only(*names)

    def test_a_folder_that_does_not_exist(self):
        self.require_refused(self.folder / 'nowhere' / 'report')

    def test_a_folder_in_the_place_of_the_file(self):
        (self.folder / 'report').mkdir()
        self.require_refused(self.folder / 'report', 'report')

    def test_a_file_in_the_place_of_the_folder(self):
        (self.folder / 'file').write_text('text')
        self.require_refused(self.folder / 'file' / 'report', 'file')
        self.assertEqual((self.folder / 'file').read_text(), 'text')

    def test_a_device_or_a_pipe_is_not_replaced(self):
        os.mkfifo(self.folder / 'pipe')
        self.require_refused(self.folder / 'pipe', 'pipe')
        self.assertTrue(stat.S_ISFIFO((self.folder / 'pipe').stat().st_mode))

    def test_a_name_that_is_too_long(self):
        self.require_refused(self.folder / ('n' * 300))

    def test_a_file_size_limit(self):
        self.require_refused(self.folder / 'report',
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))

    @needs_root
    def test_a_folder_that_may_not_be_written_to(self):
        nobody = pwd.getpwnam('nobody')
        library = shutil.copy(harness.LIBRARY, self.folder / 'libtarn.so')
        actor = shutil.copy(harness.ACTOR, self.folder / 'actor')
        result = self.run_program(actor, 'work', 'print=worked', options=f'stats_file={self.folder}/report',
                                  environment={'LD_PRELOAD': library}, user=nobody.pw_uid, group=nobody.pw_gid,
                                  extra_groups=[])
        self.require_worked(result)
        self.require_one_line(result.stderr, 'stats_file')
        self.require_only('libtarn.so', 'actor')


class Links(Base):
    """In a folder that others may write to, they may have put links in the way."""

    def setUp(self):
        super().setUp()
        self.victim = self.folder / 'victim'
        self.victim.write_text('precious\n')

    def require_victim_unharmed(self):
        self.assertEqual(self.victim.read_text(), 'precious\n')

    def test_a_link_in_the_place_of_the_file_is_not_followed(self):
        (self.folder / 'report').symlink_to(self.victim)
        self.write(self.folder / 'report')
        self.require_victim_unharmed()
        self.require_only('victim', 'report')
        self.assertFalse((self.folder / 'report').is_symlink())
        self.require_report(self.folder / 'report')

    def test_a_link_to_nowhere_creates_nothing_there(self):
        (self.folder / 'report').symlink_to(self.folder / 'created')
        self.write(self.folder / 'report')
        self.require_only('victim', 'report')
        self.assertFalse((self.folder / 'report').is_symlink())

    def test_links_in_the_place_of_the_temporary_file_are_not_followed(self):
        # The shell becomes the actor, so that the links can carry its pid.
        link = f'ln -s "{self.victim}" "{self.folder}/report.$$-$i.tmp"; ln -s "{self.victim}" "{self.folder}/report.$$.tmp"'
        script = f'for i in 0 1 2; do {link} 2>/dev/null; done; LD_PRELOAD="{harness.LIBRARY}" exec "{harness.ACTOR}" work'
        result = self.run_program('env', '-u', 'LD_PRELOAD', 'sh', '-c', script,
                                  options=f'stats_file={self.folder}/report')
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        self.require_victim_unharmed()
        self.require_report(self.folder / 'report')

    def test_a_hard_link_to_another_file_is_replaced_not_written_through(self):
        (self.folder / 'report').hardlink_to(self.victim)
        self.write(self.folder / 'report')
        self.require_victim_unharmed()
        self.require_report(self.folder / 'report')


if __name__ == '__main__':
    harness.main(sys.modules['__main__'])
