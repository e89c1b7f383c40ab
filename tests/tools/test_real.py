#!/usr/bin/env python3
"""test_real.py TARN LIBTARN PLANTED [CASE] - the verdict on programs that know nothing of tarn.

Each fills something and deletes most of it, here and there, so the cause is known: holes. The call sites that keep what
stays are known from the programs' sources. A program that is not installed is skipped, with TARN_TEST_ALL a failure.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import recordings
from recordings import Case, PATIENCE_S

# A few MiB survive: enough samples of them that 90 % is no matter of luck (redis: 98 or more in 30 runs; at 128 KiB, 88).
DENSE = 'sample=32KiB'
PERL = 'srand 7; $c{$_} = "x" x (10 + rand 400) for 1..200000; for (1..200000) { delete $c{$_} if rand > 0.1 }'
PYTHON = '''
import os, random
random.seed(7)
cache = {n: [random.random() for _ in range(random.randrange(1, 8))] for n in range(200000)}
for n in list(cache):
    if random.randrange(10):
        del cache[n]
os._exit(0)
'''

NODE = '''
globalThis.cache = new Map();
let seed = 7;
const chance = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
for (let n = 0; n < 150000; n++) cache.set(n, Buffer.alloc(100 + Math.floor(chance() * 200)));
for (let n = 0; n < 150000; n++) if (chance() < 0.9) cache.delete(n);
gc(); gc();
setTimeout(() => {
    process.kill(process.pid, "SIGUSR2");
    setTimeout(() => process.kill(process.pid, "SIGKILL"), 100);
}, 300);
'''


class Real(Case):
    def program(self, name):
        path = shutil.which(name, path='/usr/bin:/bin')
        if path is None and not os.environ.get('TARN_TEST_ALL'):
            self.skipTest(f'no {name}')
        self.assertIsNotNone(path, f'{name} is missing')
        return path

    def run_recorded(self, *command, **environment):
        recording = self.folder / 'recording'
        subprocess.run(command, env={**self.options(recording, DENSE), **environment}, check=True, timeout=PATIENCE_S)
        return recording

    def assert_holes_of(self, recording, sites):
        """The cause is holes; these call sites pin most of them, and one of them is named."""
        report = self.report(recording)
        self.assert_adds_up(report)
        self.assertEqual(report['cause']['kind'], 'holes', report['verdict'])
        of_sites = [stack for stack in report['stacks'][:-1]
                    if any(report['frames'][frame]['function'] in sites for frame in stack['frames'])]
        pinned = sum(stack['pinned_bytes'] for stack in of_sites)
        self.assertGreaterEqual(pinned, 0.9 * sum(stack['pinned_bytes'] for stack in report['stacks']))
        self.assertIn(report['cause']['site'], {stack['site'] for stack in of_sites})

    def test_perl_after_deleting_most_of_a_hash(self):
        recording = self.run_recorded(self.program('perl'), '-e', PERL)
        self.assert_holes_of(recording, {'Perl_pp_repeat', 'Perl_hv_common', 'Perl_hv_common_key_len'})

    def test_python_after_deleting_most_of_a_dictionary(self):
        recording = self.run_recorded(self.program('python3'), '-c', PYTHON, PYTHONMALLOC='malloc')
        self.assert_holes_of(recording, {'_PyEval_EvalFrameDefault'})

    def test_node_after_deleting_most_of_its_buffers(self):
        """Its own end would free all: a signal takes the snapshot, and it is killed."""
        recording = self.folder / 'recording'
        node = subprocess.Popen([self.program('node'), '--expose-gc', '-e', NODE], stdout=subprocess.DEVNULL,
                                env=self.options(recording, DENSE, 'record_signal=USR2', 'follow=off'))
        self.addCleanup(node.kill)
        self.assertEqual(node.wait(timeout=PATIENCE_S), -signal.SIGKILL)
        self.assert_holes_of(recording, {'v8::internal::Builtin_ArrayBufferConstructor'})

    def connected(self, address):
        """Once the server listens: the socket has its name a moment earlier."""
        until = time.monotonic() + PATIENCE_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(address))
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def redis_commands(self, address, commands):
        """Sends them a thousand at a time, and reads one line of reply for each."""
        with self.connected(address) as connection:
            replies = connection.makefile('rb')
            for begin in range(0, len(commands), 1000):
                batch = commands[begin:begin + 1000]
                connection.sendall(b''.join(b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(word), word)
                                                                               for word in words) for words in batch))
                for _ in batch:
                    self.assertIn(replies.readline()[:1], (b'+', b':'))

    def test_redis_after_deleting_most_of_its_keys(self):
        recording, address = self.folder / 'recording', self.folder / 'redis.socket'
        command = [self.program('redis-server'), '--port', '0', '--unixsocket', address, '--save', '',
                   '--appendonly', 'no', '--dir', self.folder]
        server = subprocess.Popen(command, env=self.options(recording, DENSE), stdout=subprocess.DEVNULL)
        self.addCleanup(server.kill)
        chance = random.Random(7)
        keys = [b'key:%d' % number for number in range(150000)]
        self.redis_commands(address, [(b'SET', key, b'x' * chance.randrange(100, 300)) for key in keys])
        self.redis_commands(address, [(b'DEL', key) for key in keys if chance.randrange(10)])
        server.terminate()
        self.assertEqual(server.wait(timeout=PATIENCE_S), 0)
        self.assert_holes_of(recording, {'processMultibulkBuffer', 'dbAdd', 'createStringObject', 'setCommand'})


if __name__ == '__main__':
    recordings.main(sys.argv)
