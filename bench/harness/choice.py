"""Which benchmarks run: what both runners choose from, and how."""
import fnmatch

from . import applications, suite, traces


def benchmarks_make():
    return suite.suite_make() + applications.applications_make() + traces.traces_make()


def benchmarks_choose(patterns):
    """All that run by default; with patterns, whatever matches one of them by name or group."""
    everything = benchmarks_make()
    if not patterns:
        return [each for each in everything if each.by_default]
    return [each for each in everything
            if any(fnmatch.fnmatch(each.name, pattern) for pattern in patterns)
            or (each.by_default and each.group in patterns)]


def benchmark_problem(benchmark):
    """Why it cannot run here, or None."""
    missing = applications.missing(benchmark)
    return f'left out: {benchmark.name} needs {", ".join(missing)}' if missing else None


def options_add(parser):
    parser.add_argument('--only', action='append', default=[], metavar='PATTERN',
                        help='benchmarks or groups whose name matches (like vector*); repeatable')
    parser.add_argument('--timeout', type=int, default=120, metavar='SECONDS', help='for one run (default %(default)s)')


def positive_number(text):
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count
