"""Medians, ratios to the system malloc, spread, and geometric means, as plain data: what --json writes."""
import math
import statistics

from .allocators import BASE
from .benchmark import GROUPS

METRICS = ('time_ns', 'cpu_ns', 'peak_bytes', 'rss_after_free_bytes', 'faults', 'fragmentation_percent')


def benchmark_summary(outcome):
    """One benchmark: rows[allocator][metric] = median, lowest, highest, spread, ratio and the values themselves."""
    rows = {name: _row(outcome.figures[name]) for name in outcome.rows()}
    base = rows.get(BASE, {})
    for row in rows.values():
        for metric, cell in row.items():
            reference = base.get(metric, {}).get('median')
            cell['ratio'] = cell['median'] / reference if reference else None
    benchmark = outcome.benchmark
    return {'name': benchmark.name, 'group': benchmark.group, 'question': benchmark.question, 'rows': rows,
            'failures': outcome.failures}


def _row(runs):
    metrics = [*METRICS, *(key for key in runs[0] if key not in METRICS)]
    return {metric: _cell([run[metric] for run in runs]) for metric in metrics if metric in runs[0]}


def _cell(values):
    """The spread is half the distance from lowest to highest, over the median: nothing is left out of it."""
    median = statistics.median(values)
    spread = (max(values) - min(values)) / 2 / median if median else 0.0
    return {'median': median, 'lowest': min(values), 'highest': max(values), 'spread': spread, 'values': values}


def means_make(summaries, allocators):
    """means[group][metric][allocator]: the geometric mean of its ratios, and over how many benchmarks.

    An allocator that failed one has a mean over the others, which may favour it: `failed` names those it failed.
    """
    names = [allocator.name for allocator in allocators]
    groups = {group: [each for each in summaries if each['group'] == group] for group in GROUPS}
    groups['all'] = summaries
    return {group: {'count': len(members),
                    'failed': {name: failed for name in names if (failed := _failed(members, name))},
                    'metrics': {metric: {name: _mean(members, metric, name) for name in names} for metric in METRICS}}
            for group, members in groups.items() if members}


def _failed(summaries, name):
    return [each['name'] for each in summaries if name in each['failures']]


def _mean(summaries, metric, name):
    cells = [each['rows'].get(name, {}).get(metric) for each in summaries]
    ratios = [cell['ratio'] for cell in cells if cell and cell['ratio']]
    return {'count': len(ratios), 'ratio': math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None}
