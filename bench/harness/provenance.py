"""What all this was measured on: without it no figure can be compared with another day's."""
import datetime
import os
import pathlib
import platform


def provenance_make(allocators):
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'kernel': platform.release(),
        'system': _system(),
        'processor': _processor(),
        'cpus': len(os.sched_getaffinity(0)),
        'memory_bytes': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'),
        'transparent_huge_pages': _setting('/sys/kernel/mm/transparent_hugepage/enabled'),
        'overcommit_memory': _read('/proc/sys/vm/overcommit_memory'),
        'max_map_count': _read('/proc/sys/vm/max_map_count'),
        'load_average': os.getloadavg()[0],
        'allocators': {each.name: each.version for each in allocators},
    }


def provenance_text(provenance):
    shown = dict(provenance)
    versions = shown.pop('allocators')
    shown['memory_bytes'] = f'{shown["memory_bytes"] / 2**30:.1f} GiB'
    shown['load_average'] = f'{shown["load_average"]:.2f}'
    facts = '; '.join(f'{key.removesuffix("_bytes").replace("_", " ")} {value}' for key, value in shown.items())
    return f'measured: {facts}\n' + ''.join(f'  {name:12} {version}\n' for name, version in versions.items())


def _read(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return 'unknown'


def _setting(path):
    """The bracketed one of "always [madvise] never"."""
    text = _read(path)
    return text.partition('[')[2].partition(']')[0] or text


def _field(path, key, separator):
    for line in _read(path).splitlines():
        name, found, value = line.partition(separator)
        if found and name.strip() == key:
            return value.strip().strip('"')
    return 'unknown'


def _system():
    return _field('/etc/os-release', 'PRETTY_NAME', '=')


def _processor():
    return _field('/proc/cpuinfo', 'model name', ':')
