import socket
import sys

from program import run

scanner = sys.argv[1]
with socket.create_server(('127.0.0.1', 0)) as listener:
    port = listener.getsockname()[1]
    first, last = max(1, port - 20), min(65535, port + 20)
    out = run(scanner, '127.0.0.1', str(first), str(last))
    assert str(port) in out, out
# What concerns more than one port ends all, and is said once. (No host has this address.)
out = run(scanner, '255.255.255.255', '1', '2000', status=1)
assert out.count('Connect call failed') == 1 and 'OSError' in out.splitlines()[-1], out
run(scanner, '127.0.0.1', '0', '1', status=2)
