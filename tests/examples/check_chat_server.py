import signal
import socket
import sys
import threading

from program import interrupt, port_of, started


class Client:
    def __init__(self, port, name):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=10)
        self.lines = self.socket.makefile('r')
        self.say(name)

    def nap(self):
        """Reads nothing from now on."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def say(self, line):
        self.socket.sendall(line.encode() + b'\n')

    def hear(self, text):
        """The next line that has `text`; lines before it are others' news."""
        for line in self.lines:
            if text in line:
                return line
        raise AssertionError(f'never heard: {text}')


def drain(stream, lines):
    for line in stream:
        lines.append(line[:40])


def slow_client():
    """One that does not read is dropped, after some megabytes; the others miss nothing."""
    with started(sys.argv[1], '0') as server:
        port = int(port_of(server))
        news = []
        listening = threading.Thread(target=drain, args=(server.stdout, news))
        listening.start()
        ada, bob, slow = (Client(port, name) for name in ('ada', 'bob', 'slow'))
        slow.nap()
        for client in (ada, bob):
            client.hear('slow is here')
        left = False
        for i in range(2000):
            line = f'{i} ' + 30_000 * 'x'
            ada.say(line)
            heard = bob.lines.readline()
            if heard == 'slow has left\n':
                left = True
                heard = bob.lines.readline()
            assert heard == f'ada: {line}\n', (i, heard[:40], news[-6:])
            if left:
                break
        assert left, 'a client that does not read is never dropped'
        assert i > 256, i  # it may be that far behind
        # Many lines at once are no reason to drop anybody.
        bob.socket.sendall(b''.join(b'%d\n' % i for i in range(3000)))
        for i in range(3000):
            assert ada.hear('bob: ') == f'bob: {i}\n', i
        bob.say('still here')
        ada.hear('bob: still here')
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 130
        listening.join()
        assert 'slow has left\n' in news and 'the room closes\n' in news, news[-5:]
        assert not any('Error' in line or 'Queue' in line for line in news), news[-20:]


slow_client()
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
