"""The program `asyncio` on programs of every kind: what it says of their tasks is what they say themselves.

    test_tool.py TOOL TARGET [unittest arguments]
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOOL, TARGET = sys.argv[1], sys.argv[2]
SANITIZED = os.environ.get('ASYNCIO_SANITIZED') == '1'


class Target:
    """A process of the target program, which has told of its tasks and waits."""

    def __init__(self, *arguments, program=TARGET, **options):
        self.process = subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, **options)
        self.told = []
        for line in self.process.stdout:
            if line.strip() == b'ready':
                return
            self.told.append(json.loads(line))
        raise AssertionError(f'the target ended with {self.process.wait()}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        if self.process.poll() is None:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def pid(self):
        return str(self.process.pid)


def tool(*arguments, **options):
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def tasks_of(answer):
    assert answer.returncode == 0, (answer.returncode, answer.stderr)
    loops = json.loads(answer.stdout)['loops']
    return {task['name']: task for loop in loops for task in loop['tasks']}, loops


class Tool(unittest.TestCase):
    maxDiff = None

    def compare(self, told, answer):
        """Each task as the program tells of it: name, places, who waits for it."""
        seen, _ = tasks_of(answer)
        names = {task['id']: name for name, task in seen.items()}
        self.assertEqual(sorted(seen), sorted([*(t['name'] for t in told), 'Task-1']))
        for task in told:
            found = seen[task['name']]
            self.assertEqual([frame[1:] for frame in found['stack']],
                             [frame for frame in task['stack'] if frame[0].endswith('target.cpp')], task['name'])
            self.assertEqual(sorted(names[i] for i in found['awaited_by']), sorted(task['awaited_by']),
                             task['name'])

    def test_tells_what_the_program_tells(self):
        with Target() as target:
            self.compare(target.told, tool('ps', '--json', target.pid))

    def test_says_what_is_waited_for(self):
        with Target() as target:
            tasks, loops = tasks_of(tool('ps', '--json', target.pid))
            waits = {name: task.get('waits', {}).get('detail', '') for name, task in tasks.items()}
            self.assertRegex(waits['consumer of the long-named queue'],
                             r'^Queue\.get of 0x[0-9a-f]+ \(0 of 10, 2 waiting\)$')
            self.assertEqual(tasks['another consumer']['waits']['object'],
                             tasks['consumer of the long-named queue']['waits']['object'])
            self.assertRegex(waits['producer'], r'^Queue\.put of 0x[0-9a-f]+ \(1 of 1, 1 waiting\)$')
            self.assertEqual(waits['gatherer'], 'gather (0 of 2 done)')
            self.assertRegex(waits['slow'], r'^sleep, 3[56]\d\d\.\d s left$')
            self.assertRegex(waits['locked out'], r'^Lock\.acquire of 0x[0-9a-f]+ \(1 waiting\)$')
            self.assertRegex(waits['told'], r'^Event\.wait of ')
            self.assertRegex(waits['notified'], r'^Condition\.wait of ')
            self.assertRegex(waits['receiving'], r'^a descriptor \d+$')
            self.assertEqual(waits['group'], 'the tasks of a TaskGroup')
            self.assertEqual(waits['waiter'], 'wait')
            self.assertEqual(waits['hasty'], 'the end of what it has cancelled')
            self.assertTrue(tasks['stubborn']['awaited_by'])
            self.assertEqual(waits['awaiting'], 'slow')
            self.assertRegex(waits['promised'], r'^Future 0x[0-9a-f]+ made at .*target\.cpp:\d+$')
            self.assertEqual(loops[0]['state'], 'asleep')
            self.assertTrue(loops[0]['exact'])
            self.assertEqual(tasks['slow']['stack'][-1][0], 'nap')

    def test_says_which_connection_is_waited_for(self):
        with Target('streams') as target:
            port = next(told['port'] for told in target.told if told['name'] == 'port')
            tasks, _ = tasks_of(tool('ps', '--json', target.pid))
            waits = {name: tasks[name]['waits']['detail'] for name in ('reading', 'draining', 'closing')}
            for name, what in (('reading', 'StreamReader.read'), ('draining', 'StreamWriter.drain'),
                               ('closing', 'StreamWriter.wait_closed')):
                self.assertRegex(waits[name], rf'^{what} of descriptor \d+, to 127\.0\.0\.1:{port}$')
            self.assertNotEqual(waits['reading'].split()[3], waits['draining'].split()[3])

    def test_the_tree_shows_who_awaits_whom(self):
        with Target() as target:
            answer = tool('pstree', target.pid)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            lines = answer.stdout.splitlines()
            self.assertIn('* shielded', lines)
            self.assertIn('    * inner', lines)
            self.assertIn('    * member', lines)
            self.assertEqual([line for line in lines if '* slow' in line],
                             ['    * slow', '    * slow (see above)'])

    def test_a_stack_by_name_and_by_id(self):
        with Target() as target:
            answer = tool('stack', 'slow', target.pid)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertRegex(answer.stdout, r'in fetch\n.*in nap\nwaits for sleep, ')
            tasks, _ = tasks_of(tool('ps', '--json', target.pid))
            self.assertIn('in nap\n', tool('stack', tasks['slow']['id'], target.pid).stdout)
            self.assertEqual(tool('stack', 'nobody', target.pid).stderr, 'asyncio: no task is called nobody\n')

    def test_names_cannot_speak_to_the_terminal_or_the_page(self):
        with Target() as target:
            for answer in (tool('ps', target.pid), tool('pstree', target.pid)):
                self.assertNotIn('\x1b', answer.stdout)
                self.assertIn('\\x1b[31m', answer.stdout)
            answer = tool('ps', '--json', target.pid)
            self.assertNotIn('<script>', answer.stdout)
            self.assertIn('<script>alert(1)</script>\x1b[31m', tasks_of(answer)[0])

    def test_a_filter_shows_some(self):
        with Target() as target:
            tasks, _ = tasks_of(tool('ps', '--json', '--filter', 'Queue.get', target.pid))
            self.assertEqual(sorted(tasks), ['another consumer', 'consumer of the long-named queue'])
            answer = tool('ps', '--loop', 2, target.pid)
            self.assertEqual((answer.returncode, answer.stdout), (0, ''))

    def test_all_loops_of_a_process(self):
        with Target('threads', 3) as target:
            _, loops = tasks_of(tool('ps', '--json', target.pid))
            self.assertEqual([len(loop['tasks']) for loop in loops], [len(target.told) + 1] * 3)
            self.assertEqual(len({loop['thread'] for loop in loops}), 3)

    def test_a_loop_that_is_stuck(self):
        with Target('stuck') as target:
            tasks, loops = tasks_of(tool('ps', '--json', target.pid))
            self.assertEqual((loops[0]['state'], tasks['Task-1']['state']), ('running', 'running'))
            self.assertEqual(tasks['Task-1']['stack'][0][0], 'program')
            self.compare(target.told, tool('ps', '--json', '--stop', target.pid))

    def test_a_busy_loop_is_never_torn(self):
        with Target('busy', 500) as target:
            names = {task['name'] for task in target.told} | {'Task-1'}
            for _ in range(10 if SANITIZED else 100):
                tasks, loops = tasks_of(tool('ps', '--json', target.pid))
                self.assertEqual(set(tasks), names)
                self.assertTrue(all(loop['exact'] for loop in loops))

    def test_what_was_not_exact_says_so(self):
        with Target('busy', 500) as target:
            answers = [tool('ps', '--no-stop', '--retries', 0, target.pid) for _ in range(20)]
            self.assertIn(2, [answer.returncode for answer in answers])
            for answer in answers:
                self.assertEqual('it ran while it was read' in answer.stdout, answer.returncode == 2)

    def test_the_program_is_not_disturbed(self):
        with Target('busy', 5) as target:
            for _ in range(20):
                self.assertEqual(tool('ps', '--stop', target.pid).returncode, 0)
            target.process.stdin.close()
            self.assertEqual(target.process.wait(30), 0)

    @unittest.skipIf(SANITIZED, 'a sanitizer maps too much for a core file')
    def test_a_core_file(self):
        with tempfile.TemporaryDirectory() as folder:
            def dump():
                resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

            program = os.path.join(folder, 'program')
            with open(TARGET, 'rb') as from_, open(program, 'wb') as to:
                to.write(from_.read())
            os.chmod(program, 0o755)
            with Target(program=program, cwd=folder, preexec_fn=dump) as target:
                target.process.send_signal(signal.SIGABRT)
                target.process.wait()
                told = target.told
            cores = [name for name in os.listdir(folder) if name.startswith('core')]
            if not cores:
                self.skipTest('this system puts core files elsewhere')
            core = os.path.join(folder, cores[0])
            self.compare(told, tool('ps', '--json', 'core', core))
            self.compare(told, tool('ps', '--json', 'core', core, program))
            self.hostile(core)
            os.remove(program)
            answer = tool('ps', 'core', core)
            self.assertEqual(answer.returncode, 1)
            self.assertIn(program, answer.stderr)

    def hostile(self, core):
        """Whatever stands in a core file: an answer or an error, no crash, no hang."""
        seed = int(os.environ.get('ASYNCIO_TOOL_SEED', '1'))
        chance = random.Random(seed)
        with open(core, 'rb') as file:
            image = bytearray(file.read())
        with tempfile.NamedTemporaryFile() as changed:
            for _ in range(int(os.environ.get('ASYNCIO_TOOL_FLIPS', '40'))):
                bits = [chance.randrange(len(image) * 8) for _ in range(chance.choice((1, 100, 10_000)))]
                for bit in bits:
                    image[bit // 8] ^= 1 << bit % 8
                changed.seek(0)
                changed.write(image)
                changed.flush()
                started = time.monotonic()
                for command in ('ps', 'pstree'):
                    answer = subprocess.run([TOOL, command, 'core', changed.name], capture_output=True, timeout=60)
                    self.assertIn(answer.returncode, (0, 1, 2), (seed, answer.stderr[-1000:]))
                self.assertLess(time.monotonic() - started, 20)
                for bit in bits:
                    image[bit // 8] ^= 1 << bit % 8

    def top(self, target, *options):
        answer = tool('top', '--json', *options, target.pid)
        self.assertEqual((answer.returncode, answer.stderr), (0, ''))
        looks = [json.loads(line) for line in answer.stdout.splitlines()]
        return [look['loops'][0] for look in looks]

    def test_top_tells_what_tasks_cost(self):
        with Target('busy', 3) as target:
            looks = self.top(target, '--seconds', 0.2, '--times', 3)
            self.assertEqual(len(looks), 3)
            for loop in looks[1:]:
                self.assertGreater(loop['busy_part'], 0.9)
                self.assertEqual([task['function'] for task in loop['tasks']], ['busy'] * 3)
                steps = [task['steps'] for task in loop['tasks']]
                self.assertGreater(min(steps), 10)
                self.assertLessEqual(max(steps) - min(steps), 3)  # they take turns
                self.assertLessEqual(sum(task['busy'] for task in loop['tasks']), loop['busy'] * 1.01)
                self.assertLess(loop['busy'], loop['seconds'] * 1.01)
            text = tool('top', '--seconds', 0.05, '--times', 2, '--rows', 2, target.pid).stdout
            self.assertRegex(text, r'(?m)^loop 1: epoll, \d+\.\d % busy, \d+ steps a second, the longest ')
            self.assertRegex(text, r'(?m)^BUSY %  +STEPS/S')
            self.assertIn('and 1 tasks more\n', text)
            self.assertNotIn('\x1b', text)

    def test_top_tells_of_each_step_once(self):
        with Target('stalls', 1) as target:  # a step each 50 ms
            looks = self.top(target, '--seconds', 0.02, '--times', 40)
            steps = [task['steps'] for look in looks for task in look['tasks'] if task['name'] == 'stalls']
            self.assertGreater(sum(steps), 1)
            self.assertLessEqual(sum(steps), sum(look['seconds'] for look in looks) / 0.05 + 2)

    def test_top_tells_of_steps_that_are_long(self):
        with Target('stalls', 200) as target:
            looks = self.top(target, '--seconds', 0.6, '--times', 2)
            task = looks[1]['tasks'][0]
            self.assertEqual((task['name'], task['function']), ('stalls', 'stalls'))
            self.assertGreaterEqual(task['longest'], 0.199)
            self.assertGreaterEqual(sum(looks[1]['late']), 1)

    def test_top_names_who_does_not_give_the_loop_back(self):
        with Target('stuck') as target:
            text = tool('top', '--seconds', 0.05, '--times', 1, target.pid).stdout
            self.assertIn('no step has ended since the first look: task Task-1 of program\n', text)

    def test_while_steps_are_counted_waits_have_a_beginning(self):
        with Target('stalls', 1) as target, \
                subprocess.Popen([TOOL, 'top', '--seconds', '0.3', target.pid], stdout=subprocess.PIPE) as top:
            for _ in range(3):
                while top.stdout.readline().strip():
                    pass
            for _ in range(20):
                tasks, _ = tasks_of(tool('ps', '--json', target.pid))
                if tasks['stalls']['state'] == 'waiting':  # not in its step
                    break
            top.kill()
            waits = tasks['stalls']['waits']
            # It sleeps for 50 ms each time; how late a busy machine looks is not known.
            self.assertAlmostEqual(waits['since'] + waits['until'], 0.05, delta=0.5)
            self.assertNotIn('since', tasks['told']['waits'])  # it waits since before

    def test_lost_names_those_that_nothing_can_wake(self):
        with Target('lost') as target:
            tasks, _ = tasks_of(tool('ps', '--json', target.pid))
            lost, _ = tasks_of(tool('lost', '--json', target.pid))
            expected = {name for name in tasks if name.startswith('lost: ')}
            self.assertEqual(len(expected), 6)
            # Its future is in nobody's hand but its own.
            expected.add('promised')
            if SANITIZED:  # what is freed does not go to the pool, and old words look like pointers for long
                self.assertLessEqual(set(lost), expected)
                return
            self.assertEqual(set(lost), expected)
            text = tool('lost', target.pid).stdout
            self.assertRegex(text, r'(?m)^\S*target\.cpp:\d+ +forgotten +waiting +Queue\.get of ')

    def test_lost_finds_none_where_all_can_go_on(self):
        with Target('threads', 2) as target:
            lost, _ = tasks_of(tool('lost', '--json', target.pid))
            self.assertLessEqual(set(lost), {'promised'})

    def trace(self, target, *arguments, status=0):
        answer = tool('trace', *arguments, target.pid)
        self.assertEqual(answer.returncode, status, answer.stderr)
        events = json.loads(answer.stdout)['traceEvents']
        over = {}
        for event in events:
            if event['ph'] == 'X':
                self.assertGreaterEqual(event['ts'] + 0.001, over.get(event['tid'], 0), event)
                over[event['tid']] = event['ts'] + event['dur']
        begun = [e['id'] for e in events if e['ph'] == 'b']
        self.assertEqual(sorted(begun), sorted(e['id'] for e in events if e['ph'] == 'e'))
        self.assertEqual(len(begun), len(set(begun)))
        return events

    def test_a_trace_has_each_step_and_sleep(self):
        with Target('stalls', 20) as target:
            events = self.trace(target, '--seconds', 0.6)
            steps = [e for e in events if e['ph'] == 'X' and e['name'] == 'stalls']
            sleeps = [e for e in events if e['ph'] == 'X' and e['name'] == 'asleep']
            self.assertGreaterEqual(len(steps), 3)
            self.assertGreaterEqual(len(sleeps), 3)
            self.assertGreaterEqual(min(e['dur'] for e in steps), 19_900)
            self.assertRegex(steps[0]['args']['place'], r'^stalls\(\) .*target\.cpp:\d+$')
            self.assertEqual(len({e['args']['task'] for e in steps}), 1)
            names = {e['args']['name'] for e in events if e['ph'] == 'M'}
            self.assertIn('loop 1 (epoll)', names)

    def test_steps_that_come_too_fast_are_counted(self):
        with Target('busy', 3) as target, tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, 'trace.json')
            answer = tool('trace', '--seconds', 0.3, '--output', file, target.pid)
            self.assertIn(answer.returncode, (0, 2))
            self.assertEqual(answer.returncode == 2, 'came faster than they could be read' in answer.stderr)
            self.assertEqual(answer.stdout, '')
            with open(file, encoding='utf-8') as text:
                self.assertGreater(len(json.load(text)['traceEvents']), 100)

    def test_a_trace_that_is_cut_short_is_whole(self):
        with Target('stalls', 1) as target, subprocess.Popen(
                [TOOL, 'trace', '--seconds', '20', target.pid], stdout=subprocess.PIPE) as trace:
            time.sleep(1)
            trace.send_signal(signal.SIGINT)
            events = json.loads(trace.communicate(timeout=20)[0])['traceEvents']
            self.assertEqual(trace.returncode, 0)
            self.assertTrue(any(e['name'] == 'stalls' for e in events))
        with Target('stalls', 1) as target, subprocess.Popen(
                [TOOL, 'trace', '--seconds', '20', target.pid], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as trace:
            time.sleep(1)
            target.process.kill()
            target.process.wait()
            out, errors = trace.communicate(timeout=20)
            self.assertTrue(any(e['name'] == 'stalls' for e in json.loads(out)['traceEvents']))
            self.assertRegex(errors, b'there is no process|No such process')

    def test_a_trace_of_what_sleeps_is_empty(self):
        with Target('told') as target:
            answer = tool('trace', '--seconds', 0.05, target.pid)
            self.assertEqual((answer.returncode, answer.stderr), (0, 'asyncio: nothing ran meanwhile\n'))
            self.assertEqual([e for e in json.loads(answer.stdout)['traceEvents'] if e['ph'] == 'X'], [])

    def test_keeping_steps_ends_with_the_tool(self):
        with Target('busy', 1) as target:
            self.assertIn(tool('trace', '--seconds', 0.1, target.pid).returncode, (0, 2))
            end = time.monotonic() + 8
            while tasks_of(tool('ps', '--json', target.pid))[1][0]['counting'] and time.monotonic() < end:
                time.sleep(0.1)
            self.assertFalse(tasks_of(tool('ps', '--json', target.pid))[1][0]['counting'])

    def test_metrics_are_those_of_the_program(self):
        with Target('threads', 2) as target:
            answer = tool('metrics', target.pid)
            self.assertEqual((answer.returncode, answer.stderr), (0, ''))
            self.assertTrue(answer.stdout.endswith('# EOF\n'))
            tasks, loops = tasks_of(tool('ps', '--json', target.pid))
            told = sum(float(line.split()[-1]) for line in answer.stdout.splitlines()
                       if line.startswith('asyncio_tasks{'))
            self.assertEqual(told, sum(len(loop['tasks']) for loop in loops))
            made = sum(float(line.split()[-1]) for line in answer.stdout.splitlines()
                       if line.startswith('asyncio_tasks_created_total'))
            self.assertGreaterEqual(made, told)

    def test_counting_ends_with_the_tool(self):
        def counting():
            return tasks_of(tool('ps', '--json', target.pid))[1][0]['counting']
        with Target('busy', 1) as target:
            self.assertFalse(counting())
            with subprocess.Popen([TOOL, 'top', target.pid], stdout=subprocess.PIPE) as top:
                top.stdout.readline()
                self.assertTrue(counting())
                top.kill()
            end = time.monotonic() + 8
            while counting() and time.monotonic() < end:
                time.sleep(0.1)
            self.assertFalse(counting())

    def test_top_is_for_processes_that_run(self):
        for arguments, error in ((('top', 'core', TOOL), 'top looks at a process that runs'),
                                 (('top', '--seconds', '0', '1'), '0 is no number of seconds from 0.01 to 20'),
                                 (('top', '--seconds', 'nan', '1'), 'nan is no number of seconds'),
                                 (('top', '--seconds', '1e9', '1'), '1e9 is no number of seconds'),
                                 (('top', '--times', '-1', '1'), '-1 is no number of looks')):
            answer = tool(*arguments)
            self.assertEqual((answer.returncode, answer.stdout), (1, ''), arguments)
            self.assertIn(error, answer.stderr.splitlines()[0], arguments)

    def test_a_stripped_program(self):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, 'stripped')
            subprocess.run(['strip', '-s', '-o', program, TARGET], check=True)
            with Target(program=program) as target:
                os.remove(program)
                self.compare(target.told, tool('ps', '--json', target.pid))

    def test_who_may_not_is_told_what_to_do(self):
        if os.geteuid() != 0:
            self.skipTest('needs root to become somebody else')
        with Target() as target:
            answer = tool('ps', target.pid, user=65534, group=65534, extra_groups=[])
            self.assertEqual(answer.returncode, 1)
            self.assertIn('may not be read by this user', answer.stderr)

    def test_what_is_wrong_is_said_in_a_sentence(self):
        gone = subprocess.Popen(['true'])
        gone.wait()
        for arguments, error in (
                (('ps', gone.pid), f'there is no process {gone.pid}'),
                (('ps', os.getpid()), 'has no libasyncio'),
                (('ps', '12x'), '12x is no process id'),
                (('ps', '-1'), '-1 is no process id'),
                (('ps', '0'), '0 is no process id'),
                (('ps', '99999999999999999999'), '99999999999999999999 is no process id'),
                (('ps',), 'missing: the process'),
                ((), 'missing: a command'),
                (('look', '1'), 'unknown command look'),
                (('ps', '--fast', '1'), 'unknown option --fast'),
                (('ps', '--loop', 'x', '1'), 'x is no number of a loop'),
                (('ps', '1', '2'), 'too much: 2'),
                (('ps', 'core', '/nonexistent'), '/nonexistent: No such file or directory'),
                (('ps', 'core', '/'), '/ is no file that can be read'),
                (('ps', 'core', TOOL), 'is no core file'),
        ):
            answer = tool(*arguments)
            self.assertEqual((answer.returncode, answer.stdout), (1, ''), arguments)
            self.assertIn(error, answer.stderr.splitlines()[0], arguments)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
