"""The C programs of bench/ with their sizes: the questions that each program's own header states.

Sizes are chosen so that one run takes 0.2 to 1.5 s with the system malloc; --quick does a fraction of it, by the
option that says how often, never by one that says how much is live, unless that is what takes the time.
"""
from .benchmark import Benchmark, Job

_QUICK_DIVISOR = 5


class _Program:
    """Makes the job of one C program; `work` is the option that --quick divides, with its full value."""

    def __init__(self, program, work, **options):
        self.program, self.work, self.options = program, work, options

    def __call__(self, workplace):
        name, count = self.work
        options = dict(self.options)
        options[name] = max(1, count // _QUICK_DIVISOR) if workplace.quick else count
        argv = [str(workplace.programs / self.program)] + [f'{key}={value}' for key, value in options.items()]
        return Job(argv, keys=True)


def _single(name, question, program, by_default=True):
    return Benchmark(name, 'single', question, program, by_default=by_default)


def _multi(name, question, program):
    return Benchmark(name, 'multi', question, program)


def _shown(size):
    """'4k', as the programs read it, for people: '4 KiB'."""
    return size.replace('k', ' KiB').replace('m', ' MiB') if size[-1] in 'km' else f'{size} B'


def _pairs():
    question = 'malloc and free of {}, one pair after the other'
    for size, count in (('16', 30_000_000), ('64', 30_000_000), ('256', 30_000_000), ('1k', 30_000_000)):
        yield _single(f'pairs-{size}', question.format(_shown(size)), _Program('pairs', ('count', count), size=size))
    question += ', every page written'
    for size, count in (('4k', 10_000_000), ('64k', 3_000_000), ('300k', 200_000), ('1m', 100_000)):
        yield _single(f'pairs-{size}', question.format(_shown(size)),
                      _Program('pairs', ('count', count), size=size, neighbours=1, touch=1))


def _batches():
    for size, count in (('16', 200_000), ('64', 200_000), ('1k', 100_000), ('16k', 5_000), ('64k', 2_000),
                        ('1m', 1_000)):
        yield _single(f'batch-{size}', f'batches of 100 blocks of {_shown(size)}',
                      _Program('batch', ('count', count), size=size))


def _heaps():
    yield _single('replace', 'random replacement, 16 to 1024 B, 10,000 slots',
                  _Program('replace', ('count', 8_000_000)))
    yield _single('replace-log', 'random replacement, log-uniform 16 B to 64 KiB, 2,000 slots',
                  _Program('replace', ('count', 2_000_000), slots=2000, high='64k', log=1))
    yield _single('replace-big', 'random replacement in a large heap, 16 to 1024 B, 400,000 slots',
                  _Program('replace', ('count', 3_000_000), slots=400_000))
    yield _single('interpreter', 'small reference-counted values, frames, lists and tables',
                  _Program('interpreter', ('rounds', 15)))
    yield _single('compiler', 'many small nodes, nearly all freed at the end',
                  _Program('compiler', ('functions', 2000), units=2))
    yield _single('burst', '100 MiB of 16 to 2048 B taken, all freed, then sleep',
                  _Program('burst', ('bursts', 4)))
    yield _single('scattered', '95 % of 100 MiB of 16 to 511 B freed, scattered',
                  _Program('scattered', ('rounds', 3)))
    yield _single('phases', 'twelve phases of one size each, 24 to 6000 B, 5 % of each kept',
                  _Program('phases', ('mib', 32)))
    yield _single('large-holes', '100,000 blocks of 257 KiB, every second one freed',
                  _Program('large_holes', ('count', 100_000)))


def _vectors():
    yield _single('vector', 'one block grown by half at a time to 512 MiB',
                  _Program('vector', ('mib', 512), percent=50))
    yield _single('vector-eighth', 'one block grown by an eighth at a time to 512 MiB',
                  _Program('vector', ('mib', 512), percent=12))


def _oscillations():
    """All nine; the diagonal runs by default."""
    cycles = {10: 60, 100: 5, 1000: 2}
    for period_ms, count in cycles.items():
        for mib in (1, 64, 512):
            diagonal = (period_ms, mib) in ((10, 1), (100, 64), (1000, 512))
            yield _single(f'oscillate-{period_ms}ms-{mib}m', f'{mib} MiB more and less every {period_ms} ms',
                          _Program('oscillate', ('cycles', count), mib=mib, period_ms=period_ms), by_default=diagonal)


def _threads():
    yield _multi('replace-threads', 'random replacement, 16 to 1024 B, four threads',
                 _Program('replace', ('count', 10_000_000), threads=4))
    yield _multi('server', 'larson-like server: sessions replaced, objects handed over, threads succeeded',
                 _Program('server', ('generations', 30)))
    yield _multi('producer-consumer', 'one thread allocates, another frees',
                 _Program('producer_consumer', ('parcels', 12_000)))
    yield _multi('producer-consumer-both', 'two threads allocate for each other',
                 _Program('producer_consumer', ('parcels', 20_000), both=1))
    yield _multi('threads', '10,000 threads made and gone, 50 blocks each',
                 _Program('threads', ('count', 10_000)))
    yield _multi('turns', 'eight threads in turn hold 32 MiB each',
                 _Program('turns', ('rounds', 4)))
    yield _multi('turns-handover', '32 MiB allocated in one thread, freed in another, 24 rounds',
                 _Program('turns', ('rounds', 24), handover=1))


def suite_make():
    return [*_pairs(), *_batches(), *_heaps(), *_vectors(), *_oscillations(), *_threads()]
