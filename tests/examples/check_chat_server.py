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
        lines.append(line[:200])


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
        assert not any('Error' in line or 'Queue' in line for line in news), [line for line in news if "bob:" not in line][-9:]


def names_and_lines():
    """X2: a name is one's own and looks like nothing else; a line shows what it is."""
    with started(sys.argv[1], '0') as server:
        port = int(port_of(server))
        ada = Client(port, 'ada')
        assert server.stdout.readline() == 'ada is here\n'
        second = Client(port, 'ada')
        second.hear('that name is taken')
        for bad in ('ada: hello', 'the room', '\x1b[2J', 'x' * 41, 'c\x9b'):
            second.socket.sendall(bad.encode('latin-1') + b'\n')
            second.hear('a name has no spaces')
        second.say('bob')
        ada.hear('bob is here')
        second.say('clear \x1b[2J\x07 \u009b')
        assert ada.hear('clear') == 'bob: clear \\x1b[2J\\x07 \\xc2\\x9b\n'
        second.socket.sendall('crlf \u00e9\r\nno end'.encode())
        assert ada.hear('crlf') == 'bob: crlf \u00e9\n'
        second.socket.shutdown(socket.SHUT_WR)
        assert ada.hear('no end') == 'bob: no end\n'
        assert ada.hear('bob') == 'bob has left\n'


def nobody_reads_the_news():
    """X2: a standard output that stands still does not hold up the room."""
    with started(sys.argv[1], '0') as server:
        port = int(port_of(server))
        ada, bob = Client(port, 'ada'), Client(port, 'bob')
        ada.hear('bob is here')
        for i in range(300):
            ada.say(f'{i} ' + 'x' * 2000)
            assert f'ada: {i} ' in bob.hear('ada: '), i


names_and_lines()
nobody_reads_the_news()
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
