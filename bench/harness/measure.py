"""One run of one benchmark under one allocator: the figures that bench/measure takes and those the program prints."""
import hashlib
import os
import subprocess

_KIB = 1024


class RunFailed(Exception):
    """Its text says how it ended."""


def job_run(job, allocator, library, workplace, timeout_s):
    """Runs the job once. Returns (figures, result): integers by name, and what must not depend on the allocator."""
    output_path = workplace.scratch / 'output'
    errors_path = workplace.scratch / 'errors'
    with open(output_path, 'wb') as output, open(errors_path, 'wb') as errors:
        measured, replaced = _launch(job, allocator, library, workplace, timeout_s, output, errors)
    if measured.get('status') != 0:
        raise RunFailed(_ending(measured, errors_path))
    figures = {
        'time_ns': measured['wall_ns'],
        'cpu_ns': measured['user_ns'] + measured['system_ns'],
        'peak_bytes': measured['peak_kib'] * _KIB,
        'faults': measured['minor_faults'] + measured['major_faults'],
    }
    if job.keys:
        keys = _key_values(output_path)
        result = keys.pop('checksum', None)
        figures['time_ns'] = keys.pop('busy_ns', figures['time_ns'])  # of a program that also sleeps
        figures.update(keys)
    else:
        result = hashlib.sha256(output_path.read_bytes()).hexdigest()
    figures.update(replaced)
    return figures, result


def _launch(job, allocator, library, workplace, timeout_s, output, errors):
    """Starts the launcher, drives the server if it is one, and reads the launcher's line."""
    reader, writer = os.pipe()
    argv = [str(workplace.programs / 'measure'), '-r', str(writer), '-n', str(job.repeat)]
    if library is not None:
        argv += ['-p', library]
    environment = {**_clean_environment(), **job.environment, **allocator.environment}
    try:
        process = subprocess.Popen(argv + job.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                   env=environment, cwd=workplace.scratch, pass_fds=(writer,))
    finally:
        os.close(writer)
    try:
        replaced = job.serve(process) if job.serve else {}
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RunFailed(f'no end after {timeout_s} s') from None
    except (OSError, RuntimeError, subprocess.SubprocessError) as problem:  # a server that cannot be driven
        raise RunFailed(str(problem)) from None
    finally:
        if process.poll() is None:
            process.terminate()  # the launcher ends the program and reaps it
            process.wait()
        with open(reader) as line:
            measured = _parse(line.read())
    return measured, replaced


def _clean_environment():
    """What a user's shell may have set for one allocator must not decide for all."""
    own = ('LD_PRELOAD', 'MALLOC_', 'GLIBC_TUNABLES', 'MIMALLOC_', 'TCMALLOC_', 'TBB_MALLOC_', 'TARN_', 'PYTHON')
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def _parse(line):
    return {key: int(value) for key, _, value in (word.partition('=') for word in line.split())}


def _key_values(path):
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def _ending(measured, errors_path):
    status = measured.get('status')
    how = 'the launcher died' if status is None else f'signal {status - 128}' if status > 128 else f'status {status}'
    lines = errors_path.read_text(errors='replace').strip().splitlines()
    return f'{how}: {lines[-1]}' if lines else how
