import signal
import socket
import sys
import time

from program import interrupt, port_of, started

HELLO = b'GET / HTTP/1.1\r\nHost: here\r\n\r\n'


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=20)
        self.stream = self.socket.makefile('rb')

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, no_body=False):
        """The status, the headers and the body of what comes next."""
        version, status, _ = self.stream.readline().decode().split(' ', 2)
        assert version == 'HTTP/1.1', version
        headers = {}
        while (line := self.stream.readline()) != b'\r\n':
            name, value = line.decode().rstrip('\r\n').split(': ', 1)
            headers[name.lower()] = value
        length = 0 if no_body else int(headers['content-length'])
        return int(status), headers, self.stream.read(length)

    def at_end(self):
        try:
            return self.stream.read() == b''
        except ConnectionResetError:  # it had not read all that was sent
            return True


def one_answer(port, request):
    connection = Connection(port)
    connection.send(request)
    return connection, *connection.answer()


def check_requests(port):
    connection = Connection(port)
    for _ in range(3):  # it stays open
        connection.send(HELLO)
        status, headers, body = connection.answer()
        assert (status, body) == (200, b'Hello, world!'), (status, body)
        assert 'connection' not in headers, headers
    connection.send(b'GET /other HTTP/1.1\r\nhost: here\r\nX: y\r\n\r\n')
    assert connection.answer()[0] == 404
    connection.send(b'PUT / HTTP/1.1\r\nHost: here\r\n\r\n')
    assert connection.answer()[0] == 404
    connection.send(b'HEAD / HTTP/1.1\r\nHost: here\r\n\r\nHEAD /a HTTP/1.1\r\nHost: here\r\n\r\n')
    for expected, length in ((200, '13'), (404, '16')):
        status, headers, _ = connection.answer(no_body=True)
        assert (status, headers['content-length']) == (expected, length), (status, headers)
    # Several at once; one in pieces.
    connection.send(10 * HELLO)
    for _ in range(10):
        assert connection.answer()[0] == 200
    for at in range(len(HELLO)):
        connection.send(HELLO[at:at + 1])
    assert connection.answer()[0] == 200
    # The last one.
    connection.send(b'GET / HTTP/1.1\r\nHost: here\r\nConnection: Close\r\n\r\n')
    assert connection.answer()[0] == 200
    assert connection.at_end()
    old, status, _, body = one_answer(port, b'GET / HTTP/1.0\r\n\r\n')
    assert status == 200 and body == b'Hello, world!' and old.at_end()
    old, status, _, _ = one_answer(port, b'GET / HTTP/1.0\r\nHost: here\r\n\r\n')
    assert status == 200 and old.at_end()


def check_bad_requests(port):
    for bad in (b'\r\n\r\n', b'GET\r\n\r\n', b'GET /\r\n\r\n', b'GET  / HTTP/1.1\r\nHost: a\r\n\r\n',
                b'GET / HTTP/2.0\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n',
                b'GET here HTTP/1.1\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\nHost\r\n\r\n',
                b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
                b'GET / HTTP/1.1\r\nHost : a\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n',
                b'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n', b'\x16\x03\x01\x00\xff\r\n\r\n',
                b'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
                b'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'):
        connection, status, headers, _ = one_answer(port, bad)
        assert status == 400 and headers['connection'] == 'close', (bad, status, headers)
        assert connection.at_end(), bad
    long = b'GET / HTTP/1.1\r\nHost: here\r\nX: ' + 20_000 * b'x' + b'\r\n\r\n'
    connection, status, headers, _ = one_answer(port, long)
    assert status == 431 and headers['connection'] == 'close', (status, headers)
    assert connection.at_end()
    almost = b'GET / HTTP/1.1\r\nHost: here\r\nX: ' + 16_000 * b'x' + b'\r\n\r\n'
    assert one_answer(port, almost)[1] == 200
    # Half a request, then the end: no answer, and no harm.
    connection = Connection(port)
    connection.send(b'GET / HT')
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.at_end()


def check_slow_clients(port):
    silent = Connection(port)
    slow = Connection(port)
    slow.send(HELLO + HELLO[:10])
    assert slow.answer()[0] == 200
    for connection in (silent, slow):
        status, headers, _ = connection.answer()
        assert status == 408 and headers['connection'] == 'close', (status, headers)
        assert connection.at_end()
    # One that takes nothing: it is left, and not remembered.
    deaf = Connection(port)
    deaf.socket.settimeout(0.2)
    try:
        while True:
            deaf.send(1000 * HELLO)
    except TimeoutError:
        pass
    deaf.socket.settimeout(20)
    try:
        while True:
            deaf.send(HELLO)
            time.sleep(0.01)
    except (ConnectionResetError, BrokenPipeError):
        pass


def check_end(server, port):
    """Ctrl-C ends it, whoever is connected."""
    idle = Connection(port)
    idle.send(HELLO)
    assert idle.answer()[0] == 200
    status, rest = interrupt(server)
    assert status == 130 and 'Error' not in rest, (status, rest)
    assert idle.at_end()


with started(sys.argv[1], '0') as server:
    port = int(port_of(server))
    assert server.stdout.readline() == '# ready\n'
    check_requests(port)
    check_bad_requests(port)
    check_end(server, port)
with started(sys.argv[1], '0', '0.5') as server:
    port = int(port_of(server))
    assert server.stdout.readline() == '# ready\n'
    check_slow_clients(port)
    check_end(server, port)
