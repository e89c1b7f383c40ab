"""The summary as text: a table for each benchmark and each group. The system malloc in units, the others as ratios."""
import json
import os

from .allocators import BASE
from .benchmark import GROUPS
from .summary import METRICS

_HEADINGS = {'time_ns': 'time', 'cpu_ns': 'CPU', 'peak_bytes': 'peak', 'rss_after_free_bytes': 'after free',
             'faults': 'faults'}
_NAME_WIDTH = 12
_CELL_WIDTH = 17
_UNITS = {'ns': ((1e9, 's'), (1e6, 'ms'), (1e3, 'us')), 'bytes': ((2**30, 'GiB'), (2**20, 'MiB'), (2**10, 'KiB'))}
_SAME_FOR_ALL = ('live_bytes',)  # shown once beside the question


def benchmark_text(summary):
    rows = summary['rows']
    lines = [f'{summary["name"]}: {summary["question"]}{_live(rows)}']
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row if metric not in _SAME_FOR_ALL))
    if rows:
        lines.append(_line('', (_heading(metric) for metric in metrics)))
    for name, row in rows.items():
        lines.append(_line(name, (_cell(name, metric, row.get(metric)) for metric in metrics)))
    lines += [f'  {name:{_NAME_WIDTH}} FAILED: {why}' for name, why in summary['failures'].items()]
    return '\n'.join(lines) + '\n'


def means_text(means, repetitions):
    lines = [f'Geometric means of the ratios to {BASE}, medians of {repetitions}; below 1 is better']
    for group, mean in means.items():
        metrics = mean['metrics']
        lines.append(f'{GROUPS.get(group, "all programs")} ({mean["count"]})')
        shown = [metric for metric in METRICS if any(each['count'] for each in metrics[metric].values())]
        lines.append(_line('', (_heading(metric) for metric in shown)))
        for name in metrics[METRICS[0]]:
            lines.append(_line(name, (_mean(metrics[metric][name]) for metric in shown)))
        lines += [f'  {name:{_NAME_WIDTH}} NOT COMPARABLE: failed {", ".join(failed)}'
                  for name, failed in mean['failed'].items()]
    return '\n'.join(lines) + '\n'


def json_write(path, content):
    """Beside it first, then renamed: a reader never sees half of it."""
    partial = f'{path}.partial'
    with open(partial, 'w') as file:
        json.dump(content, file, indent=1)
        file.write('\n')
    os.replace(partial, path)


def quantity_text(metric, value):
    """1234567 ns -> "1.23 ms"; the unit is the end of the metric's name, a plain count has none."""
    for factor, unit in _UNITS.get(metric.rpartition('_')[2], ()):
        if value >= factor:
            return f'{value / factor:.3g} {unit}' if value / factor < 1000 else f'{value / factor:.0f} {unit}'
    return f'{value:.0f}'


def _live(rows):
    cells = [row['live_bytes'] for row in rows.values() if 'live_bytes' in row]
    return f' (live then: {quantity_text("live_bytes", cells[0]["median"])})' if cells else ''


def _heading(metric):
    return _HEADINGS.get(metric) or metric.removeprefix('rss_').rpartition('_')[0].replace('_', ' ')


def _cell(name, metric, cell):
    if cell is None:
        return '-'
    ratio = cell['ratio']
    shown = quantity_text(metric, cell['median']) if name == BASE or ratio is None else f'{ratio:.2f}'
    return f'{shown} ±{cell["spread"] * 100:.0f}%' if len(cell['values']) > 1 else shown


def _mean(mean):
    return '-' if mean['ratio'] is None else f'{mean["ratio"]:.3f}'


def _line(name, cells):
    return f'  {name:{_NAME_WIDTH}}' + ''.join(f'{cell:>{_CELL_WIDTH}}' for cell in cells)
