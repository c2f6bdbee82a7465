"""The program `asyncio` on one that tells of itself at a socket.

    test_socket.py TOOL PROGRAM [unittest arguments]
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

TOOL, PROGRAM = sys.argv[1], sys.argv[2]


def tool(*arguments):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120)


class Serving:
    """The program, with its socket in a folder of its own."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.folder.name, 's')
        self.process = subprocess.Popen([PROGRAM, self.socket, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b'ready\n'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        self.folder.cleanup()


class Liar:
    """Answers every connection with the same bytes."""

    def __init__(self, folder, answer):
        self.path = os.path.join(folder, 'liar')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.serve, args=(answer,), daemon=True).start()

    def serve(self, answer):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


class Socket(unittest.TestCase):
    def test_tells_what_the_program_tells(self):
        with Serving() as serving:
            tree = tool('pstree', serving.socket)
            self.assertEqual((tree.returncode, tree.stderr), (0, ''))
            self.assertRegex(tree.stdout, r'sleeper')
            self.assertRegex(tree.stdout, r'nap\(\)')
            loops = json.loads(tool('ps', '--json', serving.socket).stdout)['loops']
            self.assertIn('sleeper', [task['name'] for task in loops[0]['tasks']])
            self.assertNotIn('sleeper', tool('ps', '--filter', 'none such', serving.socket).stdout)
            self.assertIn('in fetch', tool('stack', 'sleeper', serving.socket).stdout)
            self.assertIn('asyncio_loop_steps_total', tool('metrics', serving.socket).stdout)
            self.assertNotIn('\x1b', tool('ps', serving.socket).stdout)

    def test_a_busy_loop_is_held(self):
        with Serving(100) as serving:
            for _ in range(5):
                loops = json.loads(tool('ps', '--json', serving.socket).stdout)['loops']
                self.assertTrue(loops[0]['exact'])
                self.assertEqual(len(loops[0]['tasks']), 103)

    def test_the_console_shows_it(self):
        with Serving() as serving:
            console = subprocess.Popen([TOOL, 'console', serving.socket], stdout=subprocess.PIPE, text=True)
            try:
                url = console.stdout.readline().strip()
                with urllib.request.urlopen(url, timeout=20) as page:
                    self.assertIn(b'<!doctype html>', page.read())
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    with urllib.request.urlopen(url + 'data?view=tasks', timeout=20) as data:
                        look = json.loads(data.read())
                    if look['look']:
                        break
                self.assertIn('sleeper', [task['name'] for task in look['look']['tasks']])
            finally:
                console.terminate()
                self.assertEqual(console.wait(20), 0)
                console.stdout.close()

    def test_what_is_wrong_is_said_in_a_sentence(self):
        with Serving() as serving:
            for arguments, text in ((('ps', serving.socket + 'x'), 'No such file'),
                                    (('top', serving.socket), 'top looks at a process'),
                                    (('lost', serving.socket), 'lost looks at a process'),
                                    (('stack', 'nobody', serving.socket), 'no task is called nobody'),
                                    (('ps', './' + 'x' * 200), 'longer than a socket')):
                answer = tool(*arguments)
                self.assertEqual(answer.returncode, 1)
                self.assertIn(text, answer.stderr)

    def test_a_peer_that_lies_is_named(self):
        for answer, text in ((b'', 'no socket of asyncio::inspect::serve'),
                             (b'SSH-2.0-x\r\n\r\n', 'no socket of asyncio::inspect::serve'),
                             (b'HTTP/1.1 200 OK\r\n\r\nx', 'ended before its answer'),
                             (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx', 'ended before its answer'),
                             (b'HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\n\x1b[31mx', r'\x1b[31mx')):
            with tempfile.TemporaryDirectory() as folder, Liar(folder, answer) as liar:
                said = tool('ps', liar.path)
                self.assertEqual(said.returncode, 1)
                self.assertIn(text, said.stderr)
                self.assertNotIn('\x1b', said.stderr)
        with tempfile.TemporaryDirectory() as folder, \
                Liar(folder, b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\na\x1b[2J\nb') as liar:
            said = tool('ps', liar.path)
            self.assertEqual((said.returncode, said.stdout), (0, 'a\\x1b[2J\nb\n'))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
