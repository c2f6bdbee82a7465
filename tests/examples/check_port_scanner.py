import socket
import sys

from program import run

scanner = sys.argv[1]
with socket.create_server(('127.0.0.1', 0)) as listener:
    port = listener.getsockname()[1]
    first, last = max(1, port - 20), min(65535, port + 20)
    out = run(scanner, '127.0.0.1', str(first), str(last))
    assert str(port) in out, out
run(scanner, '127.0.0.1', '0', '1', status=2)
