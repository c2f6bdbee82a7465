"""Our servers and clients with commands that are not ours.

    commands.py nc|curl|wrk STREAM_PEER [HTTP_HELLO]
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

PATIENCE = 30  # seconds for one command
COMMAND, PEER, *HTTP_HELLO = sys.argv[1:]


def skip(why):
    print(why)
    sys.exit(77)


@contextlib.contextmanager
def running(*command, **pipes):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def server(*arguments):
    """Our server; gives the port that it prints."""
    with running(PEER, *arguments) as process:
        yield process.stdout.readline().decode().strip()


@contextlib.contextmanager
def http_hello():
    if not HTTP_HELLO:
        skip('the examples are not built')
    with running(*HTTP_HELLO, '0') as process:
        port = re.search(rb', (\d+)\)', process.stdout.readline())[1].decode()
        assert process.stdout.readline() == b'# ready\n'
        yield f'http://127.0.0.1:{port}/'


def output(*command, data=b'', status=0):
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE)
    assert done.returncode == status, f'{command}: status {done.returncode}, {done.stdout}'
    return done.stdout


# ---- nc ------------------------------------------------------------------------------------------

def expect(got, expected):
    assert got == expected, f'{got[:200]} instead of {expected[:200]}'


def nc_clients():
    lines = b''.join(b'line %d\n' % i for i in range(20_000))
    for data in (b'one\ntwo\nrest', b'', lines):  # -N: half close after the last byte
        with server('serve', '127.0.0.1') as port:
            expect(output('nc', '-N', '127.0.0.1', port, data=data), data)
        with tempfile.TemporaryDirectory() as folder:
            path = folder + '/socket'
            with server('serve', path):
                expect(output('nc', '-N', '-U', path, data=data), data)
    with server('datagrams') as port:
        with running('nc', '-u', '127.0.0.1', port, stdin=subprocess.PIPE) as nc:
            for text in (b'stressed\n', b'x\n'):
                nc.stdin.write(text)
                nc.stdin.flush()
                expect(os.read(nc.stdout.fileno(), 100), text[::-1])


def listening_nc(*options):
    """An nc that listens, on a port that it chooses and tells."""
    return running('nc', '-v', '-n', '-l', *options, '127.0.0.1', '0', stdin=subprocess.PIPE,
                   stderr=subprocess.PIPE)


def until_listening(nc):
    """Waits for its line on that; one for a socket that is bound and does not listen yet comes first."""
    for line in nc.stderr:
        if line.startswith(b'Listening on '):
            return
    raise AssertionError(f'nc ended with {nc.wait()} before it listened')


def port_of(nc):
    # A datagram socket does not listen: bound is all that it gets.
    line = nc.stderr.readline()
    assert (found := re.search(rb'on 127\.0\.0\.1 (\d+)', line)), line
    return found[1].decode()


def nc_servers():
    with listening_nc('-N') as nc:
        port = port_of(nc)
        nc.stdin.write(b'from nc')
        nc.stdin.close()
        nc.stdin = None
        expect(output(PEER, 'swap', '127.0.0.1', port, 'to nc'), b'from nc')
        expect(nc.communicate(timeout=PATIENCE)[0], b'to nc')
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/socket'
        with running('nc', '-v', '-N', '-l', '-U', path, stdin=subprocess.PIPE,
                     stderr=subprocess.PIPE) as nc:
            until_listening(nc)
            nc.stdin.write(b'from nc')
            nc.stdin.close()
            nc.stdin = None
            expect(output(PEER, 'swap', path, '0', 'to nc'), b'from nc')
            expect(nc.communicate(timeout=PATIENCE)[0], b'to nc')
    with listening_nc('-u') as nc:
        port = port_of(nc)
        with running(PEER, 'ask', '127.0.0.1', port, 'question') as ours:
            expect(os.read(nc.stdout.fileno(), 100), b'question')
            nc.stdin.write(b'answer')
            nc.stdin.close()
            nc.stdin = None
            expect(ours.communicate(timeout=PATIENCE)[0], b'answer')
            assert ours.returncode == 0, ours.returncode


# ---- curl ----------------------------------------------------------------------------------------

def curl(*arguments, status=0):
    return output('curl', '--silent', '--show-error', '--max-time', '20', *arguments, status=status)


def curl_http(url):
    what = '%{http_code} %{num_connects} %{content_type}\\n'
    out = curl('-w', what, url, url, url).decode()
    # The connection is made once.
    expect(out, 'Hello, world!200 1 text/plain\n' + 2 * 'Hello, world!200 0 text/plain\n')
    expect(curl('-w', '%{http_code}', url + 'other'), b'There is only /\n404')
    expect(curl('-0', url), b'Hello, world!')
    head = curl('--head', url, '--next', '--silent', url)  # then the same connection
    assert head.startswith(b'HTTP/1.1 200 OK\r\n') and head.endswith(b'\r\n\r\nHello, world!'), head
    expect(curl('-o', '/dev/null', '-w', '%{http_code}', '-d', 'a body', url), b'400')
    expect(curl('-w', '%{http_code}', '-H', 'X: ' + 20_000 * 'x', url), b'431')
    many = curl('--parallel', '--parallel-max', '20', url + '?[1-1]', *(200 * [url]))
    expect(many.count(b'Hello, world!'), 200)


def curl_https():
    if not shutil.which('openssl'):
        skip('there is no openssl to make a certificate with')
    with tempfile.TemporaryDirectory() as folder:
        pem = folder + '/both.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                        '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                        '-keyout', folder + '/key', '-out', folder + '/cert'],
                       check=True, capture_output=True)
        with open(pem, 'wb') as both:
            for name in ('/cert', '/key'):
                with open(folder + name, 'rb') as part:
                    both.write(part.read())
        with server('https', pem) as port:
            if not port:
                print('this build has no TLS: https is left out')
                return
            url = f'https://localhost:{port}/'
            trust = ('--cacert', folder + '/cert')
            for version in ('--tlsv1.3', '--tls-max=1.2'):
                options = (*trust, *version.split('='))
                expect(curl(*options, '-w', '%{num_connects}\\n', url, url), b'GET / \n1\nGET / \n0\n')
            # It refuses a server that nobody vouches for; the server serves on.
            curl(url, status=60)
            with socket.create_connection(('localhost', int(port)), timeout=PATIENCE) as plain:
                plain.sendall(b'GET / HTTP/1.1\r\n\r\n')
                while plain.recv(1000):  # an alert, and the end
                    pass
            expect(curl(*trust, url), b'GET / \n')


# ---- wrk -----------------------------------------------------------------------------------------

def wrk(url):
    out = output('wrk', '-t1', '-c64', '-d2', url).decode()
    print(out)
    assert 'errors' not in out and 'Non-2xx' not in out, out
    assert int(re.search(r'(\d+) requests in', out)[1]) > 1000, out
    # It serves on.
    with contextlib.closing(socket.create_connection(
            ('127.0.0.1', int(url.split(':')[2].strip('/'))), timeout=PATIENCE)) as one:
        one.sendall(b'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
        assert one.makefile('rb').read().endswith(b'Hello, world!')


if not shutil.which(COMMAND):
    skip(f'there is no {COMMAND}')
if COMMAND == 'nc':
    if b'OpenBSD' not in output('nc', '-h', status=0):
        skip('this nc is not that of OpenBSD, whose options are meant')
    nc_clients()
    nc_servers()
else:
    with http_hello() as url:
        if COMMAND == 'curl':
            curl_http(url)
            curl_https()
        else:
            wrk(url)
