import re
import signal
import socket
import subprocess
import sys
import threading

from program import run

NODE = sys.argv[1]


def free_ports(count):
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Node:
    def __init__(self, number, addresses):
        self.process = subprocess.Popen([NODE, str(number), *addresses], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def say(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def applied(self):
        return [re.sub(r'applied \d+: ', '', line).rstrip('\n') for line in self.lines if line.startswith('applied')]

    def hears(self, command):
        with self.changed:
            return self.changed.wait_for(lambda: command in self.applied(), timeout=2)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 130, self.lines
        self.reader.join()
        assert not any('Error' in line for line in self.lines), self.lines

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


def apply(nodes, command):
    """Says it to all: the one that leads proposes it. Another one may lead by then, so more than once."""
    for _ in range(10):
        for node in nodes:
            node.say(command)
        if all([node.hears(command) for node in nodes]):
            return
    raise AssertionError([node.lines for node in nodes])


addresses = [f'127.0.0.1:{port}' for port in free_ports(3)]
nodes = [Node(number, addresses) for number in (1, 2, 3)]
try:
    apply(nodes, 'first')
    apply(nodes, 'second')
    # Two of three are a majority, whoever has gone.
    leader = next(node for node in nodes if any(line.startswith('leads') for line in node.lines))
    leader.interrupt()
    rest = [node for node in nodes if node is not leader]
    apply(rest, 'third')
    assert rest[0].applied() == rest[1].applied(), [node.lines for node in rest]
    for node in rest:
        node.interrupt()
finally:
    for node in nodes:
        node.kill()

for words in ([], ['1'], ['0', 'a:1', 'b:2'], ['3', 'a:1', 'b:2'], ['1', 'a'], ['1', ':1'], ['1', 'a:x'], ['--help']):
    assert 'usage: node ID' in run(NODE, *words, status=2), words
