"""A case: an executable script whose leading comments say what it needs.

    # needs: sqlite3 (sqlite3)      a program, or a path with wildcards, and the Debian package that brings it
    # seen: sqlite3                 programs that must be seen at work with the library mapped; left out, the first of
                                    `needs`. A name, which may have wildcards, is /proc/PID/comm or that of the
                                    executable file.
    # reports: redis-server         programs that run with tarn's report, into a file each: one of each has to come, and the
                                    # books of all have to close; left out, no program reports
    # stderr: same                  standard error is deterministic too, and compared
    # timeout: 120                  seconds for one run; left out, TIMEOUT_SECONDS

A key may be repeated. An unknown key is an error, so that a misspelt one cannot switch a check off.
"""
import dataclasses
import glob
import os
import pathlib
import re
import shutil

# Where programs are looked for: the system's own directories first, so that no version manager's shim is tested.
PATH = '/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin'
TIMEOUT_SECONDS = 120  # the slowest case takes 11 s a run on two idle cores

_HEADER = re.compile(r'#\s*([a-z]+):\s*(.*?)\s*$')
_NEED = re.compile(r'(\S+)\s+\((\S+)\)$')
_KEYS = ('needs', 'seen', 'reports', 'stderr', 'timeout')


class CaseError(Exception):
    """A case's comments make no sense."""


@dataclasses.dataclass
class Case:
    name: str
    path: pathlib.Path
    needs: list  # of (program, package)
    seen: list   # names of programs
    reports: list
    stderr_same: bool
    timeout_seconds: float

    def missing(self):
        """One line about the first program that is not there, or ''."""
        for program, package in self.needs:
            if not _program_find(program):
                return f'{program} is missing: install the Debian package {package}'
        return ''


def cases_read(directory):
    """All cases of the directory, by name."""
    scripts = [path for path in pathlib.Path(directory).resolve().iterdir() if os.access(path, os.X_OK)]
    return {path.name: _case_read(path) for path in scripts}


def _program_find(program):
    if '/' in program:
        return glob.glob(program)
    return shutil.which(program, path=PATH)


def _case_read(path):
    keys = _header_read(path)
    needs = [_need_parse(path, text) for text in keys['needs']]
    if not needs:
        raise CaseError(f'{path}: no "# needs:" line')
    return Case(name=path.name, path=path, needs=needs,
                seen=' '.join(keys['seen']).split() or [needs[0][0]],
                reports=' '.join(keys['reports']).split(),
                stderr_same=keys['stderr'] == ['same'],
                timeout_seconds=float((keys['timeout'] or [TIMEOUT_SECONDS])[0]))


def _header_read(path):
    """The keys of the comment block that opens the script, each with the list of its values."""
    keys = {key: [] for key in _KEYS}
    for line in path.read_text().splitlines():
        if not line.startswith('#'):
            break
        match = _HEADER.match(line)
        if not match:
            continue
        if match[1] not in keys:
            raise CaseError(f'{path}: unknown key "{match[1]}"')
        keys[match[1]].append(match[2])
    return keys


def _need_parse(path, text):
    match = _NEED.match(text)
    if not match:
        raise CaseError(f'{path}: "needs: PROGRAM (PACKAGE)" expected, not "{text}"')
    return match[1], match[2]
