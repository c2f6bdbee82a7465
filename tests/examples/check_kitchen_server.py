import os
import socket
import sys

from program import interrupt, port_of, run, started

CLIENT = os.path.join(os.path.dirname(sys.argv[1]), 'client')

with started(sys.argv[1], '0') as server:
    port = port_of(server)
    # Timers end in the order of their times, an error ends nothing, and a cancelled timer is not waited for.
    told = run(CLIENT, port, 'start 0.2 tea', 'start 0.1 eggs', 'nonsense', 'start 3600 cake', 'list', 'cancel cake')
    lines = told.splitlines()
    assert lines[:2] == ['started tea', 'started eggs'], told
    assert lines[2].startswith('error: '), told
    assert lines[3:6] == ['started cake', 'timers: cake eggs tea', 'cancelled cake'], told
    assert lines[6:] == ['eggs is ready', 'tea is ready'], told
    # A client that resets its connection while it has a timer is reported, and is all that ends.
    with socket.create_connection(('127.0.0.1', int(port)), timeout=10) as lost:
        lost.sendall(b'start 3600 cake\n')
        assert lost.recv(100) == b'started cake\n'
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    line = server.stdout.readline()
    assert line.startswith('lost a client: ConnectionResetError('), line
    assert run(CLIENT, port, 'list') == 'timers:\n'
    # Who is connected when the server ends is told.
    with started(CLIENT, port, 'start 3600 cake') as waiting:
        assert waiting.stdout.readline() == 'started cake\n'
        status, rest = interrupt(server)
        assert status == 130 and 'Error' not in rest, (status, rest)
        rest, _ = waiting.communicate(timeout=10)
        assert waiting.returncode == 1 and 'the kitchen has closed' in rest, (waiting.returncode, rest)

run(CLIENT, port, 'list', status=1)  # nobody listens
run(CLIENT, 'port', 'list', status=1)
run(CLIENT, port, status=2)
