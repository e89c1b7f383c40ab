"""One run of a case: its directory, its environment, its time limit, and what was seen of it.

Both runs of a case use the same path, emptied in between, and the same port, so that neither shows in the output.
"""
import dataclasses
import fnmatch
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import tempfile
import time

from harness import process
from harness.case import PATH

HELPERS = pathlib.Path(__file__).resolve().parent / 'helpers.sh'
WATCH_SECONDS = 0.02  # between two looks at the processes; a case works for 0.2 s or more
GRACE_SECONDS = 5    # for a stopped server to be gone after the script has ended


@dataclasses.dataclass
class Outcome:
    status: int         # None when the time ran out
    stdout: bytes
    stderr: bytes
    seconds: float
    unseen: list        # programs that were never seen with the library mapped
    left_running: list  # processes that outlived the script
    reports: dict       # text of each report, by the name of its file: PROGRAM.PID.json


class Place:
    """A private directory with a copy of the library, which other users can read wherever the original lies."""

    def __init__(self, name):
        process.orphans_adopt()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=f'tarn-{name}-'))
        self.root.chmod(0o711)  # nobody's servers have to get through
        self.work = self.root / 'work'
        self.reports = self.root / 'reports'
        self.port = _port_hold()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        process.kill_all()
        self.port.close()
        shutil.rmtree(self.root)

    def run(self, case, preload):
        """Run the case with `preload` ('' for none) and tell what came of it."""
        library = self._library_copy(preload)
        self._work_clear()
        out, err = self.root / 'stdout', self.root / 'stderr'
        start = time.monotonic()
        try:
            with open(out, 'wb') as stdout, open(err, 'wb') as stderr:
                child = subprocess.Popen([case.path], cwd=self.work, env=self._environment(library, case.reports),
                                         stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, start_new_session=True,
                                         preexec_fn=_core_files_forbid)
            status, unseen = _watch(child, start + case.timeout_seconds, case.seen if library else [], library)
            seconds = time.monotonic() - start
            left_running = process.settle(GRACE_SECONDS) if status is not None else []
        finally:
            process.kill_all()
        reports = {path.name: path.read_text() for path in self.reports.glob('*.json')}
        return Outcome(status, out.read_bytes(), err.read_bytes(), seconds, unseen, left_running, reports)

    def _library_copy(self, preload):
        if not preload:
            return ''
        copy = self.root / os.path.basename(preload)
        shutil.copyfile(preload, copy)
        copy.chmod(0o755)
        return str(copy)

    def _work_clear(self):
        for folder, mode in ((self.work, 0o755), (self.reports, 0o1777)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            folder.chmod(mode)

    def _environment(self, library, reports):
        """The whole environment of a case: nothing of the caller's shows through."""
        work = str(self.work)
        environment = {'PATH': PATH, 'HOME': work, 'TMPDIR': work, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'TERM': 'dumb',
                       'USER': 'tarn', 'LOGNAME': 'tarn', 'SHELL': '/bin/bash',
                       'HELPERS': str(HELPERS), 'PORT': str(self.port.getsockname()[1])}
        if library:
            options = f'stats=json:stats_file={self.reports}/%n.%p.json' if reports else 'stats=off'
            environment.update({'LD_PRELOAD': library, 'TARN_OPTIONS': options})
        return environment


def _port_hold():
    """A socket bound to a free loopback port. Held but not listening, with SO_REUSEADDR, it keeps the kernel from
    giving the port to anybody else, while a server that sets the same option (all do) can still listen on it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(('127.0.0.1', 0))
    return holder


def _core_files_forbid():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch(child, deadline, wanted, library):
    """Wait for the child, looking out for the wanted programs. Its status (None: too late) and who was not seen."""
    unseen = list(wanted)
    while True:
        status = process.reap(child.pid)
        if status is not None or time.monotonic() > deadline:
            child.returncode = status if status is not None else -1  # reaped here, not by subprocess
            return status, unseen
        if unseen:
            unseen = _still_unseen(unseen, library)
        time.sleep(WATCH_SECONDS)


def _still_unseen(unseen, library):
    for pid in process.descendants():
        met = [name for name in unseen if fnmatch.filter(process.names(pid), name)]
        if met and process.has_mapped(pid, library):
            unseen = [name for name in unseen if name not in met]
    return unseen
