import socket
import sys

from program import interrupt, port_of, started

with started(sys.argv[1], '0') as server:
    port = int(port_of(server))
    with socket.create_connection(('127.0.0.1', port), timeout=10) as s:
        assert server.stdout.readline().startswith("hello ('127.0.0.1', ")
        s.sendall(b'first\nsecond\n')
        s.shutdown(socket.SHUT_WR)
        received = b''
        while data := s.recv(4096):
            received += data
    assert received == b'first\nsecond\n', received
    assert server.stdout.readline().startswith("goodbye ('127.0.0.1', ")
    # Who is connected is not waited for.
    with socket.create_connection(('127.0.0.1', port), timeout=10) as idle:
        assert server.stdout.readline().startswith("hello ('127.0.0.1', ")
        status, rest = interrupt(server)
        assert status == 130 and 'Error' not in rest, (status, rest)
        assert idle.recv(1) == b''
