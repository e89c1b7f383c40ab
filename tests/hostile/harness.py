"""What the Python tests here share: the actor under the preload, in a directory of its own.

    test_NAME.py ACTOR LIBRARY [TEST]...     all tests of the file, or those named
"""
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

ACTOR = LIBRARY = None    # set by main
PATIENCE_S = 60           # the actor ends itself after half of that
PATH = '/usr/sbin:/usr/bin:/sbin:/bin'

REPORT = re.compile(r'^tarn: (\S+) \(pid (\d+)\), at ', re.MULTILINE)


class Hostile(unittest.TestCase):
    """A test with a directory, and ways to run programs under the library."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='tarn-hostile-')).resolve()
        self.folder.chmod(0o755)    # other users run programs in some tests
        self.addCleanup(shutil.rmtree, self.folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def environment(self, options, **more):
        environment = {'PATH': PATH, 'LC_ALL': 'C', 'HOME': str(self.folder), **more}
        if 'TARN_TEST_LIBRARY' in os.environ:
            environment['TARN_TEST_LIBRARY'] = os.environ['TARN_TEST_LIBRARY']
        if LIBRARY:
            environment.setdefault('LD_PRELOAD', LIBRARY)
        if options is not None:
            environment['TARN_OPTIONS'] = options
        return environment

    def run_program(self, *command, options='stats=off', environment=None, **more):
        """Runs a command under the library; like subprocess.run, with texts for output."""
        settings = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'stdin': subprocess.DEVNULL,
                    'cwd': self.folder, 'timeout': PATIENCE_S, 'check': False, 'text': True, 'errors': 'replace', **more}
        return subprocess.run([str(word) for word in command], env=self.environment(options, **(environment or {})),
                              **settings)

    def act(self, *actions, **more):
        return self.run_program(ACTOR, *actions, **more)

    def require_worked(self, result, status=0):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, 'worked\n', result.stderr)

    def require_one_line(self, text, *words):
        """One whole line of ours, that holds these words and nothing a terminal would take for a command."""
        self.assertRegex(text, r'\Atarn: [^\x00-\x1f\x7f]+\n\Z')
        for word in words:
            self.assertIn(word, text)

    def reports(self, text):
        """Program and pid of each report in a text."""
        return [(name, int(pid)) for name, pid in REPORT.findall(text)]


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, 'needs root')(test)


def main(module):
    """Runs what the command line names. A name that no test has is an error, so that none can get lost."""
    global ACTOR, LIBRARY
    ACTOR, LIBRARY = (os.path.abspath(name) if name else '' for name in sys.argv[1:3])
    classes = [value for value in vars(module).values()
               if isinstance(value, type) and issubclass(value, Hostile) and value is not Hostile]
    loader, suite, wanted = unittest.TestLoader(), unittest.TestSuite(), sys.argv[3:]
    for case in classes:
        for name in loader.getTestCaseNames(case):
            if not wanted or name in wanted:
                suite.addTest(case(name))
    if suite.countTestCases() < max(1, len(wanted)):
        sys.exit(f'no test {wanted}')
    result = unittest.TextTestRunner(verbosity=2 if not wanted else 1).run(suite)
    if result.skipped and result.testsRun == len(result.skipped):
        sys.exit(77)    # meson's number for a skipped test
    sys.exit(not result.wasSuccessful())
