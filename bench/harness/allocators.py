"""Who competes: where each library lies, which version it is, and whether it really loads.

An allocator is a library to preload and nothing more. `system` is the C library's own: nothing is preloaded, except
under programs that link an allocator of their own; there the C library itself is, so that its malloc comes first.
"""
import dataclasses
import os
import pathlib
import platform
import re
import subprocess
import sys

_BUILD = pathlib.Path(__file__).resolve().parent.parent.parent / 'build'

BASE = 'system'  # what all ratios refer to

# Name, library, and the Debian package to install when it is missing.
PEERS = (
    ('jemalloc', 'libjemalloc.so.2', 'libjemalloc2'),
    ('mimalloc', 'libmimalloc.so.2', 'libmimalloc2.0'),
    ('tcmalloc', 'libtcmalloc_minimal.so.4', 'libtcmalloc-minimal4'),
    ('tbbmalloc', 'libtbbmalloc_proxy.so.2', 'libtbbmalloc2'),
)

# tarn with an option more: only where they are named.
OPTIONED = {f'tarn-harden-{level}': [f'harden={level}'] for level in (1, 2, 3)} | {'tarn-huge': ['huge=on']}


@dataclasses.dataclass(frozen=True)
class Allocator:
    name: str
    library: str | None = None  # None: nothing is preloaded
    environment: dict = dataclasses.field(default_factory=dict)
    version: str = ''


class AllocatorMissing(Exception):
    """Its text says what is missing and what to do about it."""


def known_names():
    return [BASE] + [name for name, _, _ in PEERS] + ['tarn']


def options_add(parser):
    """The options of both commands that say who competes and where things are."""
    parser.add_argument('--allocators', metavar='LIST', default=','.join(known_names()),
                        help='default: %(default)s; system is always among them')
    parser.add_argument('--with', dest='others', action='append', default=[], metavar='NAME=PATH',
                        help='one more allocator: its shared object; repeatable')
    parser.add_argument('--tarn', default=str(_BUILD / 'preload/libtarn.so'), metavar='PATH',
                        help='default: %(default)s')
    parser.add_argument('--programs', default=str(_BUILD / 'bench'), metavar='FOLDER',
                        help='the compiled benchmark programs (default: %(default)s)')


def allocators_choose(options):
    """Those of the options that are here and load; each that is not is named, with what to install."""
    launcher = os.path.join(options.programs, 'measure')
    if not os.access(launcher, os.X_OK):
        sys.exit(f'no programs in {options.programs}: meson setup build && meson compile -C build')
    names = dict.fromkeys([BASE, *filter(None, options.allocators.split(','))])
    wanted = [(allocator_find, (name, options.tarn)) for name in names]
    wanted += [(allocator_named, (text,)) for text in options.others]
    chosen = {}
    for find, arguments in wanted:
        try:
            allocator = find(*arguments)
            allocator_check(allocator, launcher)
            chosen[allocator.name] = allocator
        except AllocatorMissing as missing:
            print(f'left out: {missing}', file=sys.stderr)
    return list(chosen.values())


def allocator_find(name, tarn_path):
    """The allocator of that name on this machine."""
    if name == BASE:
        return Allocator(BASE, version=' '.join(platform.libc_ver()))
    if name == 'tarn' or name in OPTIONED:
        return _tarn_find(name, tarn_path)
    for peer, library, package in PEERS:
        if peer == name:
            return _peer_find(peer, library, package)
    raise AllocatorMissing(f'{name}: not known; one of {", ".join([*known_names(), *OPTIONED])}, or --with {name}=/path.so')


def _tarn_find(name, path):
    if not os.path.exists(path):
        raise AllocatorMissing(f'tarn: no {path} (meson compile -C build makes it; --tarn PATH names another)')
    options = ':'.join(['stats=off', *OPTIONED.get(name, [])])
    return Allocator(name, os.path.abspath(path), {'TARN_OPTIONS': options}, _git_version(path))


def _peer_find(name, library, package):
    path = library_path(library)
    if path is None:
        raise AllocatorMissing(f'{name}: {library} is not installed (Debian package {package})')
    return Allocator(name, path, version=_package_version(path))


def allocator_named(text):
    """One of --with name=/path.so."""
    name, equals, path = text.partition('=')
    if not equals or not name or not os.path.exists(path):
        raise AllocatorMissing(f'--with {text}: wanted name=/path.so, and the file must exist')
    return Allocator(name, os.path.abspath(path), version=path)


def library_path(soname):
    """Where the dynamic linker finds a library for this machine's own architecture; None if nowhere."""
    listing = _output(['/sbin/ldconfig', '-p']) or _output(['ldconfig', '-p'])
    for line in listing.splitlines():
        match = re.match(r'\s*(\S+) \((.*)\) => (\S+)', line)
        if match and match[1] == soname and ('64' in match[2]) == (platform.architecture()[0] == '64bit'):
            return match[3]
    return None


def allocator_check(allocator, launcher):
    """The dynamic linker only warns when it cannot preload, and the figures would be the system malloc's."""
    if allocator.library is None:
        return
    maps = _output([launcher, '-p', allocator.library, '/bin/cat', '/proc/self/maps'])
    if os.path.realpath(allocator.library) not in maps:
        raise AllocatorMissing(f'{allocator.name}: {allocator.library} cannot be preloaded')


def _package_version(path):
    """"package version" as dpkg tells it; merged /usr means that it may know the file by either name."""
    real = os.path.realpath(path)
    for candidate in (real, path, real.removeprefix('/usr'), '/usr' + real):
        package = _output(['dpkg', '-S', candidate]).partition(': ')[0].split(',')[0]
        if package:
            return _output(['dpkg-query', '-W', '-f', '${Package} ${Version}', package])
    return real


def _git_version(path):
    described = _output(['git', '-C', os.path.dirname(os.path.abspath(path)), 'describe', '--always', '--dirty'])
    return described.strip() or path


def _output(command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    except OSError:
        return ''
