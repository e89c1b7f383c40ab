"""memory_limit.py - a memory cgroup of a given size, of version 1 or 2, for programs that the kernel is to kill."""

import errno
import os
import pathlib
import time

ROOT = pathlib.Path('/sys/fs/cgroup')
PATIENCE_S = 10


class Unavailable(Exception):
    """This machine, or this user, has none to give."""


def own_group(controller):
    """The calling process's group: below the controller's folder, or in a container often that folder itself."""
    base = ROOT / controller
    for line in pathlib.Path('/proc/self/cgroup').read_text(encoding='utf-8').splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers == controller and (base / path.lstrip('/')).is_dir():
            return base / path.lstrip('/')
    return base


class MemoryLimit:
    def __init__(self, limit_bytes):
        first = (ROOT / 'memory' / 'memory.limit_in_bytes').exists()
        self.group = own_group('memory' if first else '') / f'tarn-test-{os.getpid()}-{time.monotonic_ns()}'
        self.counter = self.group / ('memory.oom_control' if first else 'memory.events')
        try:
            self.group.mkdir()
            (self.group / ('memory.limit_in_bytes' if first else 'memory.max')).write_text(str(limit_bytes))
            if not first:
                (self.group / 'memory.swap.max').write_text('0')
        except OSError as error:
            self.remove()
            raise Unavailable(f'no memory cgroup: {error}') from error

    def enter(self):
        """For the child, before it executes the program."""
        (self.group / 'cgroup.procs').write_text(str(os.getpid()))

    def kills(self):
        """How many processes the kernel has killed here; None: this kernel does not count."""
        counts = dict(line.split() for line in self.counter.read_text(encoding='utf-8').splitlines())
        return int(counts['oom_kill']) if 'oom_kill' in counts else None

    def remove(self):
        """The group of a process that was killed is busy for a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while self.group.is_dir():
            try:
                self.group.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    return
                time.sleep(0.01)
