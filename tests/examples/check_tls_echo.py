import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

from program import interrupt, port_of, run, started

if not shutil.which('openssl'):
    print('no openssl command')
    sys.exit(77)
tls = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    key, cert = folder + '/key.pem', folder + '/cert.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                    '-keyout', key, '-out', cert], check=True, capture_output=True)
    with started(tls, 'server', cert, key) as server:
        port = port_of(server)
        out = run(tls, 'client', cert, 'localhost', port, 'Good morning')
        assert 'TLSv1.3' in out and out.endswith('Good morning\n'), out
        # The same server by another name.
        out = run(tls, 'client', cert, '127.0.0.1', port, status=1)
        assert 'SSLCertVerificationError' in out and 'IP address mismatch' in out, out
        # Ctrl-C ends it, though somebody is connected.
        context = ssl.create_default_context(cafile=cert)
        with socket.create_connection(('127.0.0.1', int(port)), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname='localhost') as idle:
                idle.sendall(b'here')
                assert idle.recv(4) == b'here'
                status, rest = interrupt(server)
                assert status == 130 and 'Error' not in rest, (status, rest)
run(tls, status=2)
