"""Traces of real programs: each is run once under the recorder, and its calls of malloc's family are then replayed
under every allocator. So the work is the same to the call, without the program's own noise, and what lives is known.

Nothing is stored: a trace is made when its benchmark runs and goes with the workplace.
"""
import dataclasses
import subprocess

from . import applications, measure
from .allocators import Allocator
from .benchmark import Benchmark, Job, ProgramMissing

_CATALOGUE_ROUNDS = 6


class _Trace:
    """Makes the job that replays a program's trace, from the job that runs the program."""

    def __init__(self, name, program_make):
        self.name, self.program_make = name, program_make

    def __call__(self, workplace):
        log = workplace.scratch / f'{self.name}.log'
        trace = workplace.scratch / f'{self.name}.trace'
        self._record(self.program_make(workplace), log, workplace)
        self._pack(log, trace, workplace)
        log.unlink()
        return Job([str(workplace.programs / 'replay'), str(trace)], keys=True)

    def _record(self, job, log, workplace):
        library = str(workplace.programs / 'recorder.so')
        recorder = Allocator('recorder', library, {'BENCH_TRACE_LOG': str(log)})
        try:
            measure.job_run(job, recorder, library, workplace, timeout_s=120)
        except measure.RunFailed as failure:
            raise ProgramMissing(f'{self.name}: its program could not be recorded: {failure}') from None
        if not log.exists():
            raise ProgramMissing(f'{self.name}: its program does not load the recorder')

    def _pack(self, log, trace, workplace):
        packed = subprocess.run([str(workplace.programs / 'pack'), str(log), str(trace)], capture_output=True,
                                text=True, check=False)
        if packed.returncode != 0:
            raise ProgramMissing(f'{self.name}: {packed.stderr.strip()}')


def _quarter(job_make):
    """A program whose calls are so many that a quarter of its work is a long trace."""
    return lambda workplace: job_make(dataclasses.replace(workplace, quick=True))


def _catalogue(workplace):
    program = workplace.programs / 'catalogue'
    if not program.exists():
        raise ProgramMissing('trace-catalogue: bench/ was built without a C++ compiler (Debian package g++)')
    return Job([str(program), str(_CATALOGUE_ROUNDS)])


def traces_make():
    programs = {each.name: each for each in applications.applications_make()}

    def trace(name, question, wrap=lambda job_make: job_make):
        program = programs[name]
        return Benchmark(f'trace-{name}', 'trace', question, _Trace(f'trace-{name}', wrap(program.job_make)),
                         needs=program.needs)

    return [
        trace('python', 'the calls of python3 without its own pools', _quarter),
        trace('redis', 'the calls of redis-server, loaded and then emptied'),
        trace('sqlite3', 'the calls of a database in memory'),
        trace('cc1', 'the calls of gcc\'s compiler proper'),
        trace('perl', 'the calls of perl over lines, hashes and records', _quarter),
        Benchmark('trace-catalogue', 'trace', 'the calls of a C++ program: strings, maps, shared pointers',
                  _Trace('trace-catalogue', _catalogue)),
    ]
