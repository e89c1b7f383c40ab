"""The processes below this one: found, watched, reaped and, if need be, killed.

Servers turn into daemons and leave their process group and session, so neither is enough to stop them. This process
declares itself the reaper of its orphans instead: then whatever a case starts stays its descendant, whatever it does.
"""
import ctypes
import os
import signal
import subprocess
import time

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def orphans_adopt():
    """From now on orphaned descendants become children of this process rather than of init."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), 'prctl(PR_SET_CHILD_SUBREAPER)')


def descendants():
    """The pids of all living processes below this one; zombies do not count."""
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            state, parent = _stat_read(entry)
            children.setdefault(parent, []).append((int(entry), state))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        todo += [pid for pid, _ in below]
        found += [pid for pid, state in below if state not in 'ZX']
    return found


def _stat_read(pid):
    """State and parent of a process; ('X', 0) when it has gone."""
    try:
        with open(f'/proc/{pid}/stat') as stat:
            fields = stat.read().rpartition(')')[2].split()  # the name before may hold spaces and parentheses
        return fields[0], int(fields[1])
    except OSError:
        return 'X', 0


def reap(wanted=None):
    """Collect every child that has ended. The exit status of `wanted` (128 + n for a signal), None if it runs on."""
    found = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found
            if pid == wanted:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    except ChildProcessError:
        return found


def settle(grace_seconds):
    """Wait until no descendant is left. After the grace time, the names of those that still are."""
    deadline = time.monotonic() + grace_seconds
    while True:
        reap()
        left = descendants()
        if not left or time.monotonic() > deadline:
            return [f'{names(pid)[0]} (pid {pid})' for pid in left]
        time.sleep(0.02)


def kill_all():
    """Kill every descendant, and those that they start meanwhile."""
    while True:
        left = descendants()
        if not left:
            return reap()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        time.sleep(0.01)


def names(pid):
    """What the process calls itself, and the name of its executable file."""
    try:
        with open(f'/proc/{pid}/comm') as comm:
            return comm.read().rstrip('\n'), os.path.basename(os.readlink(f'/proc/{pid}/exe'))
    except OSError:
        return '?', '?'


def has_mapped(pid, path):
    """Whether the file is mapped in the process."""
    try:
        with open(f'/proc/{pid}/maps') as maps:
            return path in maps.read()
    except PermissionError:
        return path in _maps_read_as_owner(pid)
    except OSError:
        return False


def _maps_read_as_owner(pid):
    """In a container root may not look at other users' processes, but may become such a user."""
    try:
        owner = os.stat(f'/proc/{pid}')
        result = subprocess.run(['cat', f'/proc/{pid}/maps'], user=owner.st_uid, group=owner.st_gid,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return result.stdout
    except OSError:
        return ''
