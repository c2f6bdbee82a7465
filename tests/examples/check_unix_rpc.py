import os
import socket
import sys
import tempfile

from program import interrupt, run, started

rpc = sys.argv[1]
lines = run(rpc, 'demo', status=1).splitlines()
assert lines[0].startswith('add 1 2 3 -> ok 6'), lines
assert "sing -> error no method is called 'sing'" in lines, lines
assert 'echo hello -> ok hello' in lines, lines
assert 'wait 30 -> ok waited 30 ms' in lines, lines

with tempfile.TemporaryDirectory() as folder, started(rpc, 'server', folder + '/s') as server:
    assert server.stdout.readline() == f'listening on {folder}/s\n'
    assert run(rpc, 'call', folder + '/s', 'add', '40', '2') == 'add 40 2  -> ok 42\n'
    # Who is connected is not waited for.
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(folder + '/s')
        status, rest = interrupt(server)
        assert status == 130 and 'Error' not in rest, (status, rest)
        assert idle.recv(1) == b''
    assert not os.path.exists(folder + '/s')
run(rpc, status=2)
