"""Drives a redis-server: waits until it answers, loads it with redis-benchmark, empties it, and stops it.

The time is that of redis-benchmark; CPU, peak and faults are the server's. After FLUSHALL the data set is gone: what
is resident then is `rss_after_free_bytes`.
"""
import os
import socket
import subprocess
import time

_HOST = '127.0.0.1'
_START_TIMEOUT_S = 20
_LOAD_TIMEOUT_S = 120


def port_find():
    """A port that is free now. Another process may take it before the server does: then the server says so and ends."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


def server_argv(port, folder):
    return ['redis-server', '--bind', _HOST, '--port', str(port), '--dir', str(folder), '--logfile', 'redis.log',
            '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--activedefrag', 'no']


class Driver:
    """What is done to the server: called with its process, returns the figures seen from here."""

    def __init__(self, port, requests):
        self.port, self.requests = port, requests

    def __call__(self, process):
        self._await(process)
        pid = self._server_pid()
        start = time.monotonic_ns()
        self._load()
        elapsed_ns = time.monotonic_ns() - start
        full = _resident_bytes(pid)
        self._ask('FLUSHALL SYNC')
        free = _resident_bytes(pid)
        self._stop()
        return {'time_ns': elapsed_ns, 'rss_full_bytes': full, 'rss_after_free_bytes': free}

    def _await(self, process):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if self._ask('PING').startswith('+PONG'):
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError('redis-server does not answer')

    def _load(self):
        """Strings of two sizes under random keys, so that they are replaced, then lists, hashes and sorted sets."""
        common = ['redis-benchmark', '-h', _HOST, '-p', str(self.port), '-q', '-P', '16', '-c', '16', '-r', '100000',
                  '-n', str(self.requests)]
        for rest in (['-d', '64', '-t', 'set'], ['-d', '400', '-t', 'set,get'], ['-t', 'lpush,hset,sadd,zadd,lpop']):
            subprocess.run(common + rest, stdout=subprocess.DEVNULL, timeout=_LOAD_TIMEOUT_S, check=True,
                           stdin=subprocess.DEVNULL)

    def _stop(self):
        try:
            self._ask('SHUTDOWN NOSAVE')
        except ConnectionError:
            pass  # gone before it could answer

    def _server_pid(self):
        lines = self._ask('INFO server').splitlines()
        return int(next(line.partition(':')[2] for line in lines if line.startswith('process_id:')))

    def _ask(self, command):
        """One inline command, one answer: short ones come in one piece."""
        with socket.create_connection((_HOST, self.port), timeout=_START_TIMEOUT_S) as connection:
            connection.sendall(f'{command}\r\n'.encode())
            return connection.recv(65536).decode(errors='replace')


def _resident_bytes(pid):
    with open(f'/proc/{pid}/statm') as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
