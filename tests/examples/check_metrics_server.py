"""metrics_server: Prometheus' own reader takes what it serves; who misbehaves loses one connection."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request

from program import interrupt, port_of, started

READ = '''
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as families
found = {f.name for f in families(sys.stdin.read())}
wanted = {'asyncio_loop', 'asyncio_tasks', 'asyncio_loop_steps', 'asyncio_loop_busy_seconds',
          'asyncio_loop_lag_seconds'}
assert wanted <= found, found
'''


def scrape(port):
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=20) as answer:
        assert answer.headers['content-type'].startswith('application/openmetrics-text;'), answer.headers
        return answer.read().decode()


def figure(text, name):
    for line in text.splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    raise AssertionError(f'no {name} in:\n{text}')


def main(program):
    with started(program, '0') as server:
        port = int(port_of(server))
        first = scrape(port)
        assert first.endswith('# EOF\n'), first
        idle = [socket.create_connection(('127.0.0.1', port), timeout=20) for _ in range(5)]
        idle[0].sendall(b'\0' * 200_000)
        try:
            urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=20)
            raise AssertionError('no error')
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
        second = scrape(port)
        assert figure(second, 'asyncio_loop_steps_total') > figure(first, 'asyncio_loop_steps_total')
        assert figure(second, 'asyncio_loop_busy_seconds_total') > 0, second
        assert figure(second, 'asyncio_tasks_created_total') >= 8, second
        have = subprocess.run(['/usr/bin/python3', '-c', 'import prometheus_client'],
                              stderr=subprocess.DEVNULL, check=False)
        if have.returncode == 0:
            subprocess.run(['/usr/bin/python3', '-c', READ], input=second, text=True, check=True)
        for each in idle:
            each.close()
        status, rest = interrupt(server)
        assert status == 130, (status, rest)


if __name__ == '__main__':
    main(sys.argv[1])
