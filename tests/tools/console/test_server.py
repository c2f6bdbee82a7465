"""The server of `asyncio console`, without a browser: whom it answers, what it says, and when it ends.

    test_server.py TOOL TARGET [unittest arguments]
"""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

TOOL, TARGET = sys.argv[1], sys.argv[2]


class Target:
    """A process of the target program, which has told of its tasks and waits."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([TARGET, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in self.process.stdout:
            if line.strip() == b'ready':
                return
        raise AssertionError(f'the target ended with {self.process.wait()}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def pid(self):
        return str(self.process.pid)


class Console:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([TOOL, 'console', *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        found = re.fullmatch(r'http://127\.0\.0\.1:(\d+)/([0-9a-f]{32})/', self.url)
        if not found:
            raise AssertionError(self.url + self.process.communicate()[1])
        self.port, self.token = int(found[1]), found[2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def connect(self):
        connection = socket.create_connection(('127.0.0.1', self.port), timeout=15)
        return connection

    def raw(self, request):
        """The answer to what is sent, all of it."""
        with self.connect() as connection:
            try:
                connection.sendall(request)
            except ConnectionError:
                pass
            answer = b''
            while True:
                try:
                    part = connection.recv(65536)
                except ConnectionError:
                    part = b''
                if not part:
                    return answer
                answer += part

    def status(self, request):
        answer = self.raw(request)
        return int(answer.split(b' ', 2)[1]) if answer else None

    def head(self, target=None, method='GET', host=None, more=''):
        target = f'/{self.token}/' if target is None else target
        host = f'Host: 127.0.0.1:{self.port}\r\n' if host is None else host
        return f'{method} {target} HTTP/1.1\r\n{host}{more}\r\n'.encode()

    def get(self, path=''):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=15)
        connection.request('GET', f'/{self.token}/{path}')
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    def data(self, query=''):
        answer, body = self.get('data?' + query)
        assert answer.status == 200, answer.status
        return json.loads(body.decode('utf-8'))

    def look(self, query='', until=lambda data: True, limit=10):
        """The first data with a look of which `until` is true."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            data = self.data(query)
            if 'look' in data and until(data):
                return data
            time.sleep(0.03)
        raise AssertionError(f'not within {limit} s: {json.dumps(data)[:3000]}')


class Server(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.target = Target()
        cls.console = Console(cls.target.pid)

    @classmethod
    def tearDownClass(cls):
        cls.console.__exit__()
        cls.target.__exit__()

    def test_the_page_lets_nothing_else_in(self):
        answers = [self.console.get() for _ in range(2)]
        policies = []
        for answer, body in answers:
            self.assertEqual((answer.status, answer.getheader('Content-Type')), (200, 'text/html; charset=utf-8'))
            policy = dict(part.strip().split(' ', 1) for part in answer.getheader('Content-Security-Policy').split(';'))
            policies.append(policy)
            nonce = re.fullmatch(r"'nonce-([0-9a-f]{32})'", policy['script-src'])[1]
            self.assertEqual(policy['style-src'], policy['script-src'])
            for name, value in (('default-src', "'none'"), ('connect-src', "'self'"), ('base-uri', "'none'"),
                                ('form-action', "'none'"), ('frame-ancestors', "'none'")):
                self.assertEqual(policy[name], value)
            self.assertEqual(body.count(b'nonce="' + nonce.encode() + b'"'), 2)
            self.assertNotIn(b'@NONCE@', body)
            self.assertNotIn(b'innerHTML', body)
            self.assertEqual(re.findall(rb'(?:src|href)=(?!["\']?data:)', body), [])
        self.assertNotEqual(policies[0], policies[1])
        self.headers(answers[0][0])
        self.headers(self.console.get('data')[0])

    def headers(self, answer):
        for name, value in (('X-Content-Type-Options', 'nosniff'), ('Referrer-Policy', 'no-referrer'),
                            ('Cache-Control', 'no-store'), ('Cross-Origin-Resource-Policy', 'same-origin'),
                            ('X-Frame-Options', 'DENY')):
            self.assertEqual(answer.getheader(name), value)
        self.assertIn("default-src 'none'", answer.getheader('Content-Security-Policy'))

    def test_only_who_knows_the_token_is_answered(self):
        c = self.console
        self.assertEqual(c.status(c.head()), 200)
        other = ('0' if c.token[0] != '0' else '1') + c.token[1:]
        for target in ('/', '//', '/data', f'/{other}/', f'/{c.token[:-1]}/', f'/{c.token}0/', f'/{c.token}',
                       f'/{c.token.upper()}G/', f'//{c.token}/', f'/x/{c.token}/', f'/{c.token}/nothing',
                       f'/{c.token}/../data', '/' + c.token.replace(c.token[0], f'%{ord(c.token[0]):x}') + '/'):
            self.assertEqual(c.status(c.head(target)), 404, target)

    def test_only_this_machine_is_its_host(self):
        c = self.console
        for host in ('127.0.0.1', 'localhost'):
            self.assertEqual(c.status(c.head(host=f'hOST:\t{host}:{c.port} \r\n')), 200)
        for host in ('Host: evil.example\r\n', f'Host: evil.example:{c.port}\r\n', 'Host: 127.0.0.1\r\n', 'Host: \r\n', '',
                     f'Host: 127.0.0.1:{c.port}.evil.example\r\n', f'Host: localhost.:{c.port}\r\n',
                     f'Host: 127.0.0.2:{c.port}\r\n', f'Host: user@127.0.0.1:{c.port}\r\n', f'Host: [::1]:{c.port}\r\n'):
            self.assertEqual(c.status(c.head(host=host)), 403, host)
        twice = f'Host: 127.0.0.1:{c.port}\r\nHost: evil.example\r\n'
        self.assertEqual(c.status(c.head(host=twice)), 400)
        self.assertEqual(c.status(c.head(f'http://127.0.0.1:{c.port}/{c.token}/')), 400)
        with self.assertRaises(ConnectionError):
            socket.create_connection(('127.0.0.2', c.port), timeout=5)

    def test_it_can_be_asked_and_no_more(self):
        c = self.console
        for method in ('POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'get', 'CONNECT', 'TRACE'):
            answer = c.raw(c.head(method=method))
            self.assertIn(b' 405 ', answer.splitlines()[0], method)
            self.assertIn(b'\r\nAllow: GET\r\n', answer)

    def test_what_is_no_request(self):
        c = self.console
        for request, status in ((b'\r\n\r\n', 400), (b'GET\r\n\r\n', 400), (b'GET / HTTP/1.1\r\nno header\r\n\r\n', 400),
                                (c.head().replace(b'HTTP/1.1', b'HTTP/2.0'), 505), (c.head(more='a b: c\r\n'), 400),
                                (c.head(more=' folded: yes\r\n'), 400), (c.head(more='x: \0\r\n'), 400),
                                (c.head(f'/{c.token}/ /x'), 400), (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400),
                                (c.head(more='x: ' + 'y' * 9000 + '\r\n'), 431), (b'G' * 2_000_000, 431),
                                (c.head(f'/{c.token}/data?filter=%zz%&&=&x&limit=-1&limit=99999999999999999999&loop=x&sort=%00'), 200),
                                (c.head(f'/{c.token}/task?id=0x' + 'f' * 100), 200), (c.head(f'/{c.token}/task?id=-1'), 200)):
            self.assertEqual(c.status(request), status, request[:100])
        self.assertEqual(c.status(c.head()), 200)

    def test_who_is_slow_keeps_nobody_waiting(self):
        c = self.console
        silent = [c.connect() for _ in range(200)]
        slow = c.connect()
        slow.sendall(b'GET / HTTP')
        unread = [c.connect() for _ in range(20)]
        for connection in unread:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.sendall(c.head())
        began = time.monotonic()
        for _ in range(10):
            self.assertEqual(c.status(c.head()), 200)
        self.assertLess(time.monotonic() - began, 2)
        slow.settimeout(0.2)
        ended = False
        while not ended and time.monotonic() < began + 10:
            try:
                slow.sendall(b'x')  # never an end
                ended = slow.recv(1000) == b''
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
        self.assertTrue(ended)
        self.assertLess(time.monotonic() - began, 9)
        fds = len(os.listdir(f'/proc/{c.process.pid}/fd'))
        self.assertLess(fds, 64 + 16)
        for connection in (*silent, slow, *unread):
            connection.close()

    def test_what_a_look_tells(self):
        data = self.console.look('view=all')
        self.assertEqual(data['process']['life'], 'runs')
        self.assertEqual(data['process']['exe'], os.path.realpath(TARGET))
        self.assertEqual(data['process']['pid'], self.target.process.pid)
        for member in ('rss', 'fds', 'threads'):
            self.assertGreater(data['process'][member], 0)
        loop, = data['loops']
        self.assertEqual((loop['state'], loop['backend'], loop['number']), ('asleep', 'epoll', 1))
        tasks = {task['name']: task for task in data['look']['tasks']}
        self.assertEqual(data['look']['all'], len(tasks))
        self.assertEqual(loop['tasks'], len(tasks))
        slow = tasks['slow']
        self.assertEqual((slow['function'], slow['state']), ('nap', 'waiting'))
        self.assertTrue(slow['file'].endswith('target.cpp'))
        self.assertEqual([frame['function'] for frame in slow['stack'] if not frame['helper']], ['fetch', 'nap'])
        self.assertEqual(sorted(slow['awaited_by']), ['awaiting', 'waiter'])
        naps = [g for g in data['look']['groups'] if g['function'] == 'nap']
        self.assertEqual(sum(g['count'] for g in naps), sum(t['function'] == 'nap' for t in tasks.values()))
        queue, = [o for o in data['look']['objects'] if o['capacity'] == 10]
        self.assertEqual((queue['kind'], queue['items'], queue['waiting']), ('Queue', 0, 2))
        self.assertEqual(queue['lines'][0]['what'], 'Queue.get')
        self.assertIn('another consumer', queue['lines'][0]['some'])
        full = [w for w in data['warnings'] if w['kind'] == 'full queue']
        self.assertEqual(len(full), 1)
        inner, = [line for line in data['look']['tree'] if line['name'] == 'inner']
        self.assertEqual(inner['level'], 1)
        again = [line for line in data['look']['tree'] if line['name'] == 'slow']
        self.assertEqual([line['note'] for line in again], ['', 'see above'])

    def test_sockets(self):
        data = self.console.look('view=sockets', lambda d: 'sockets' in d['look'])
        waited = [s for s in data['look']['sockets'] if s['tasks']]
        self.assertEqual([(s['kind'], s['tasks']) for s in waited], [('unix', ['receiving'])])

    def test_one_task(self):
        data = self.console.look('filter=waiter')
        waiter, = [task for task in data['look']['tasks'] if task['name'] == 'waiter']
        answer, body = self.console.get('task?id=' + waiter['id'])
        task = json.loads(body)
        self.assertEqual(answer.status, 200)
        self.assertEqual((task['found'], task['name'], task['loop']), (True, 'waiter', 1))
        self.assertEqual([other['name'] for other in task['awaits']], ['slow'])
        self.assertEqual(json.loads(self.console.get('task?id=0x10')[1]), {'found': False})

    def test_the_tool_filters_and_sorts(self):
        data = self.console.look('filter=Queue.get&sort=name&desc=1&limit=1')
        self.assertEqual([task['name'] for task in data['look']['tasks']], ['consumer of the long-named queue'])
        self.assertEqual(data['look']['found'], 2)
        self.assertEqual(sum(g['count'] for g in data['look']['groups']), 2)
        data = self.console.look('filter=%3Cscript%3E')
        self.assertEqual(data['look']['found'], 1)
        for sort in ('where', 'state', 'waits', 'name', 'since', 'steps', 'busy', 'longest', 'nonsense'):
            self.assertGreater(len(self.console.look(f'sort={sort}')['look']['tasks']), 10)
        tree = self.console.look('view=tree&filter=inner')['look']['tree']
        self.assertEqual([line['name'] for line in tree], ['shielded', 'inner'])

    def test_names_are_text(self):
        body = self.console.look('view=all') and self.console.get('data?view=all')[1]
        self.assertNotIn(b'<', body)
        self.assertNotIn(b'\x1b', body)
        self.assertIn('<script>alert(1)</script>\x1b[31m', [t['name'] for t in json.loads(body)['look']['tasks']])

    def test_names_that_nobody_wants(self):
        with Target('strange') as target, Console(target.pid) as console:
            data = console.look('view=all')
            names = [task['name'] for task in data['look']['tasks']]
            self.assertIn('no UTF-8: \ufffd\ufffd \ufffd\ufffd \ufffd\ufffd\ufffd', names)
            self.assertIn('right to left: \u202eabc\u2066', names)
            self.assertIn('controls: \0\a\r\n\x7f', names)
            self.assertLess(max(map(len, names)), 1000)
            circle, = [w for w in data['warnings'] if w['kind'] == 'circle']
            self.assertRegex(circle['text'], r'^A circle of 2 tasks.*: (chicken → egg → chicken|egg → chicken → egg)$')
            notes = [line['note'] for line in data['look']['tree']]
            self.assertEqual(notes.count('a circle'), 1)


class Watching(unittest.TestCase):
    def counting(self, target):
        answer = subprocess.run([TOOL, 'ps', '--json', target.pid], capture_output=True, timeout=30, check=True)
        return json.loads(answer.stdout)['loops'][0]['counting']

    def test_counting_ends_with_the_page_and_with_the_tool(self):
        with Target('busy', 3) as target, Console(target.pid) as console:
            time.sleep(0.3)
            self.assertFalse(self.counting(target))  # nobody has asked yet
            data = console.look('sort=busy&desc=1', lambda d: d['look']['tasks'][0].get('steps', 0) > 0)
            busy = [t for t in data['look']['tasks'] if t['name'].startswith('Task-') and t['function'] == 'busy']
            self.assertEqual(len(busy), 3)
            self.assertGreater(sum(t['busy'] for t in busy), 0.05)
            self.assertTrue(self.counting(target))
            data = console.look('', lambda d: len(d['loops'][0]['samples']) >= 1)
            self.assertGreater(data['loops'][0]['samples'][-1][1], 10)
            console.process.kill()
            end = time.monotonic() + 4
            while self.counting(target) and time.monotonic() < end:
                time.sleep(0.1)
            self.assertFalse(self.counting(target))

    def test_a_stuck_loop_is_named_within_a_second(self):
        with Target('stalls', 1500) as target, Console(target.pid) as console:
            data = console.look('', lambda d: d['loops'][0]['state'] == 'stuck')
            stall = data['stalls'][0]
            self.assertLess(data['at'] - stall['began'], 1)
            self.assertEqual((stall['name'], stall['function'], stall['over']), ('stalls', 'stalls', False))
            stuck, = [w for w in data['warnings'] if w['kind'] == 'stuck']
            self.assertRegex(stuck['text'], r'^Loop 1 has been stuck for \d\.\d s in a step of stalls, stalls\(\)$')
            over = console.look('', lambda d: any(s['over'] for s in d['stalls']))
            lasted = [s['lasted'] for s in over['stalls'] if s['over']]
            self.assertGreater(lasted[0], 0.2)
            self.assertLess(lasted[0], 3)
            long = console.look('', lambda d: any(w['kind'] == 'long step' for w in d['warnings']))
            self.assertTrue(long)

    def test_a_loop_that_was_stuck_before(self):
        with Target('stuck') as target, Console(target.pid) as console:
            data = console.look('', lambda d: d['loops'][0]['state'] == 'stuck')
            self.assertEqual(data['loops'][0]['runs']['name'], 'Task-1')
            self.assertEqual(data['loops'][0]['runs']['function'], 'program')
            self.assertGreater(len(data['look']['tasks']), 10)
            self.assertEqual(data['look']['stopped'], 0)  # nobody touches its thread

    def test_who_holds_a_lock_that_was_passed_on_meanwhile(self):
        with Target('passes') as target, Console(target.pid) as console:
            data = console.look('view=objects', lambda d: any(o.get('holder') for o in d['look']['objects']))
            lock, = [o for o in data['look']['objects'] if o.get('holder')]
            self.assertEqual(lock['kind'], 'Lock')
            waiting, = [line['some'] for line in lock['lines']]
            self.assertEqual(sorted([lock['holder'], *waiting]), ['turn 1', 'turn 2', 'turn 3'])

    def test_a_task_that_gets_no_turn(self):
        with Target('starves') as target, Console(target.pid) as console:
            data = console.look('', lambda d: any(w['kind'] == 'never ran' for w in d['warnings']))
            warning, = [w for w in data['warnings'] if w['kind'] == 'never ran']
            self.assertRegex(warning['text'], r'^1 task of loop 1 is ready, but had no turn for more than \d seconds?: has no turn$')

    def test_a_stopped_process(self):
        with Target('busy', 3) as target, Console(target.pid) as console:
            console.look()
            target.process.send_signal(signal.SIGSTOP)
            data = console.look('', lambda d: d['process']['life'] == 'stopped' and d['loops'][0]['state'] == 'stuck')
            if data['loops'][0]['runs']:  # else it was between two steps
                self.assertEqual(data['loops'][0]['runs']['function'], 'busy')
            target.process.send_signal(signal.SIGCONT)
            console.look('', lambda d: d['process']['life'] == 'runs' and d['loops'][0]['state'] == 'running')

    def test_a_process_that_ends(self):
        with Target() as target, Console(target.pid) as console:
            before = console.look('view=all')
            target.process.kill()
            target.process.wait()
            after = console.look('view=all', lambda d: d['process']['life'] == 'ended')
            self.assertEqual(len(after['look']['tasks']), len(before['look']['tasks']))
            self.assertAlmostEqual(after['process']['ended'], time.time(), delta=5)
            self.assertEqual(console.get()[0].status, 200)
            console.process.send_signal(signal.SIGINT)
            self.assertEqual(console.process.wait(5), 0)

    def test_a_process_that_becomes_another(self):
        with Target('execs') as target, Console(target.pid) as console:
            console.look()
            target.process.stdin.close()
            after = console.look('view=all', lambda d: d['process']['life'] == 'replaced')
            self.assertTrue(after['look']['tasks'])
            target.process.kill()

    def test_many_tasks_are_few_lines(self):
        with Target('many', 20_000) as target, Console(target.pid) as console:
            data = console.look('view=all&limit=99999', limit=20)
            self.assertGreater(data['look']['all'], 20_000)
            self.assertEqual(len(data['look']['tasks']), 5000)
            self.assertLess(len(data['look']['tree']), 100)
            naps = max(data['look']['groups'], key=lambda g: g['count'])
            self.assertGreater(naps['count'], 20_000)
            self.assertRegex([w['text'] for w in data['warnings'] if w['kind'] == 'many'][0],
                             r'^\d+ tasks at nap\(\) target\.cpp:\d+$')
            self.assertEqual(len(console.look('limit=7')['look']['tasks']), 7)

    def test_ctrl_c_ends_it_well(self):
        with Target() as target:
            for number in (signal.SIGINT, signal.SIGTERM):
                with Console(target.pid) as console:
                    console.look()
                    console.process.send_signal(number)
                    self.assertEqual(console.process.wait(5), 0)

    def test_a_port_of_ones_own(self):
        with Target() as target, Console(target.pid) as console:
            answer = subprocess.run([TOOL, 'console', '--port', str(console.port), target.pid], capture_output=True,
                                    text=True, timeout=10)
            self.assertEqual((answer.returncode, answer.stdout), (1, ''))
            self.assertIn(f'port {console.port} of 127.0.0.1: Address already in use', answer.stderr)
            port = console.port
            console.process.kill()
            console.process.wait()
            with Console('--port', port, target.pid) as again:
                self.assertEqual(again.port, port)

    def test_what_is_wrong_is_said_in_a_sentence(self):
        gone = subprocess.Popen(['true'])
        gone.wait()
        for arguments, error in (((gone.pid,), f'there is no process {gone.pid}'), ((), 'missing: the process'),
                                 ((os.getpid(),), 'has no libasyncio'), (('--port', 'x', 1), 'x is no port'),
                                 (('--port', 65536, 1), '65536 is no port'),
                                 (('core', TOOL), 'console looks at a process that runs')):
            answer = subprocess.run([TOOL, 'console', *map(str, arguments)], capture_output=True, text=True, timeout=10)
            self.assertEqual((answer.returncode, answer.stdout), (1, ''), arguments)
            self.assertIn(error, answer.stderr.splitlines()[0])

    def test_who_may_not_is_told_what_to_do(self):
        if os.geteuid() != 0:
            self.skipTest('needs root to become somebody else')
        with Target() as target:
            answer = subprocess.run([TOOL, 'console', target.pid], capture_output=True, text=True, timeout=10, user=65534,
                                    group=65534, extra_groups=[])
            self.assertEqual((answer.returncode, answer.stdout), (1, ''))
            self.assertIn('may not be read by this user', answer.stderr)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
