"""All runs of one benchmark: every allocator in turn, in an order that changes, so that none always runs first or last."""
from . import measure
from .allocators import BASE, library_path
from .benchmark import ProgramMissing


class Outcome:
    """What the runs of one benchmark gave: figures[allocator] is a list with one dictionary a run."""

    def __init__(self, benchmark):
        self.benchmark = benchmark
        self.figures = {}
        self.failures = {}  # allocator -> how its first failing run ended
        self.result = None  # what the program computed

    def result_check(self, result):
        """What the first run computed, the system malloc's unless that failed, all others must compute too."""
        if self.result is None:
            self.result = result
        if result != self.result:
            raise measure.RunFailed('its result differs from that with the system malloc')

    def rows(self):
        """The allocators whose every run went well, in the order they were named."""
        return [name for name in self.figures if name not in self.failures]


def benchmark_run(benchmark, allocators, workplace, settings, turns=None):
    """Runs it; a failing allocator is left out from then on, and why is kept.

    turns: makes from the contenders pairs of whether a turn counts and its order; None: as often as the settings say, rotated.
    """
    outcome = Outcome(benchmark)
    job = benchmark.job_make(workplace)
    contenders = [*allocators, *benchmark.peers]
    for counts, order in turns(contenders) if turns else _turns_rotated(contenders, settings):
        for allocator in order:
            if allocator.name in outcome.failures:
                continue
            try:
                figures, result = measure.job_run(job, allocator, _library(benchmark, allocator), workplace,
                                                  settings.timeout_s)
                outcome.result_check(result)
            except measure.RunFailed as failure:
                outcome.failures[allocator.name] = str(failure)
                continue
            if counts:
                outcome.figures.setdefault(allocator.name, []).append(figures)
    outcome.figures = {each.name: outcome.figures[each.name] for each in contenders if each.name in outcome.figures}
    return outcome


def _turns_rotated(contenders, settings):
    for turn in range(settings.warmups + settings.repetitions):
        start = turn % len(contenders)
        yield turn >= settings.warmups, contenders[start:] + contenders[:start]


def _library(benchmark, allocator):
    """`system` under a program that links an allocator of its own: the C library goes first."""
    if allocator.name != BASE or not benchmark.own_allocator:
        return allocator.library
    path = library_path('libc.so.6')
    if path is None:
        raise ProgramMissing(f'{benchmark.name}: libc.so.6 is not found, and the program brings its own malloc')
    return path
