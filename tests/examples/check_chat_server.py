import socket
import sys

from program import interrupt, port_of, started


class Client:
    def __init__(self, port, name):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=10)
        self.lines = self.socket.makefile('r')
        self.say(name)

    def say(self, line):
        self.socket.sendall(line.encode() + b'\n')

    def hear(self, text):
        """The next line that has `text`; lines before it are others' news."""
        for line in self.lines:
            if text in line:
                return line
        raise AssertionError(f'never heard: {text}')


with started(sys.argv[1], '0') as server:
    port = int(port_of(server))
    ada = Client(port, 'ada')
    assert server.stdout.readline() == 'ada is here\n'
    bob = Client(port, 'bob')
    ada.hear('bob is here')
    bob.say('good morning')
    assert 'bob' in ada.hear('good morning')
    ada.say('and to you')
    assert 'ada' in bob.hear('and to you')
    ada.socket.shutdown(socket.SHUT_RDWR)
    bob.hear('ada has left')
    status, rest = interrupt(server)
    assert status in (0, 130), (status, rest)
    for _ in bob.lines:  # the end, not a reset
        pass
