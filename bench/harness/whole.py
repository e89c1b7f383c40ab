"""Instructions of real programs, whole, as ratios to one of the allocators: exact, where a time would not be."""
import contextlib
import dataclasses
import math
import sys

from . import callgrind, choice
from .benchmark import ProgramMissing


def count(benchmark, allocator, workplace):
    """All instructions of one run of the benchmark."""
    job = benchmark.job_make(workplace)
    if job.serve:
        raise ProgramMissing(f'{benchmark.name}: a server is not counted')
    under = dataclasses.replace(allocator, environment={**job.environment, **allocator.environment})
    with contextlib.chdir(workplace.scratch):
        return callgrind.program_count(job.argv, under, str(workplace.scratch))


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _row_print(name, cells):
    print(f'{name:12}' + ''.join(f'{cell:>18}' for cell in cells), flush=True)


def _benchmark_count(benchmark, contenders, workplace):
    """{allocator: instructions}, or None for one that cannot run here."""
    problem = choice.benchmark_problem(benchmark)
    if problem is None:
        try:
            return {each.name: count(benchmark, each, workplace) for each in contenders}
        except (ProgramMissing, callgrind.CountFailed) as failure:
            problem = f'left out: {failure}'
    print(problem, file=sys.stderr)
    return None


def compare(contenders, workplace):
    """Prints a row a program and the geometric means. The first contender is what the others are ratios to."""
    base, *others = contenders
    counted = {}
    _row_print('', [base.name, *(each.name for each in others)])
    for benchmark in choice.benchmarks_choose(['real']):
        row = _benchmark_count(benchmark, contenders, workplace)
        if row is not None:
            counted[benchmark.name] = row
            _row_print(benchmark.name, [f'{row[base.name]:,}',
                                        *(f'{row[each.name] / row[base.name]:.4f}' for each in others)])
    means = [geometric_mean([row[each.name] / row[base.name] for row in counted.values()]) for each in others if counted]
    _row_print('geom. mean', ['', *(f'{mean:.4f}' for mean in means)])
    return counted
