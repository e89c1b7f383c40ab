"""Real programs from Debian packages on generated input of real size, and programs so small that start-up is all."""
import pathlib
import shutil
import subprocess

from . import inputs, redis
from .allocators import Allocator
from .benchmark import Benchmark, Job

_WORKLOADS = pathlib.Path(__file__).resolve().parent.parent / 'workloads'
_SMALL_REPEAT = 100
_PYTHON = '/usr/bin/python3'  # the distribution's: a version manager's shim would be measured instead


def _scaled(full, workplace):
    return max(1, full // 4) if workplace.quick else full


def _generated(workplace, name, generate, size):
    path = workplace.scratch / name
    generate(path, _scaled(size, workplace))
    return path


def _python(workplace):
    return Job([_PYTHON, '-sSB', str(_WORKLOADS / 'work.py'), str(_scaled(4, workplace))],
               {'PYTHONMALLOC': 'malloc', 'PYTHONHASHSEED': '0'})


def _perl(workplace):
    return Job(['/usr/bin/perl', str(_WORKLOADS / 'work.pl'), str(_scaled(40_000, workplace))],
               {'PERL_HASH_SEED': '0'})


def _lua(workplace):
    return Job(['lua5.4', str(_WORKLOADS / 'work.lua'), str(_scaled(30, workplace))])


def _jq(workplace):
    records = _generated(workplace, 'records.json', inputs.records_json, 15_000)
    return Job(['jq', '-f', str(_WORKLOADS / 'query.jq'), str(records)])


def _sqlite(workplace):
    script = _generated(workplace, 'script.sql', inputs.script_sql, 100_000)
    return Job(['sqlite3', '-batch', ':memory:', f'.read {script.name}'])


def _cc1(workplace):
    source = _generated(workplace, 'source.i', inputs.source_c, 80)
    cc1 = subprocess.run(['gcc', '-print-prog-name=cc1'], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return Job([cc1, '-quiet', '-fpreprocessed', '-O2', source.name, '-o', '/dev/stdout'])


def _redis(workplace):
    port = redis.port_find()
    return Job(redis.server_argv(port, workplace.scratch), serve=redis.Driver(port, _scaled(70_000, workplace)))


def _small(*argv):
    def job_make(workplace):
        return Job([argument.format(workloads=_WORKLOADS) for argument in argv],
                   repeat=_scaled(_SMALL_REPEAT, workplace))
    return job_make


def applications_make():
    pools = Allocator('own pools', environment={'PYTHONMALLOC': 'pymalloc'}, version='CPython\'s own, system below')
    return [
        Benchmark('true', 'small', 'start-up and nothing else', _small('/bin/true')),
        Benchmark('cat', 'small', 'one small file copied', _small('/bin/cat', '{workloads}/work.py')),
        Benchmark('ls', 'small', 'one long listing', _small('/bin/ls', '-l', '/usr/bin')),
        Benchmark('jq-small', 'small', 'one small document', _small('jq', '-n', '{{a: [1, 2, 3]}}'),
                  needs=(('jq', 'jq'),)),
        Benchmark('python', 'real', 'python3 without its own pools: JSON, dictionaries, strings, instances', _python,
                  needs=((_PYTHON, 'python3'),), peers=(pools,)),
        Benchmark('redis', 'real', 'redis-server under redis-benchmark, then FLUSHALL', _redis, own_allocator=True,
                  needs=(('redis-server', 'redis-server'), ('redis-benchmark', 'redis-tools'))),
        Benchmark('sqlite3', 'real', 'a database in memory: fill, index, join, update, delete', _sqlite,
                  needs=(('sqlite3', 'sqlite3'),)),
        Benchmark('cc1', 'real', 'gcc\'s compiler proper at -O2 on a large file', _cc1, needs=(('gcc', 'gcc'),)),
        Benchmark('perl', 'real', 'lines split, words counted, records sorted', _perl, needs=(('perl', 'perl'),)),
        Benchmark('jq', 'real', 'group and reshape 15,000 records', _jq, needs=(('jq', 'jq'),)),
        Benchmark('lua', 'real', 'trees of tables and strings under a collector', _lua, needs=(('lua5.4', 'lua5.4'),)),
    ]


def missing(benchmark):
    """What must be installed before it can run: "program (Debian package)"."""
    return [f'{program} (Debian package {package})' for program, package in benchmark.needs
            if shutil.which(program) is None]
