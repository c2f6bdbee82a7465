"""gdb's commands on programs that run, on stripped ones and on core files: what they say is what `asyncio` says.

    test_gdb.py SCRIPT TOOL TARGET [unittest arguments]
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

SCRIPT, TOOL, TARGET = sys.argv[1:4]


class Target:
    def __init__(self, *arguments, program=TARGET):
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in self.process.stdout:
            if line.strip() == b'ready':
                return
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


def gdb(commands, *arguments):
    """What it prints after it has loaded the commands."""
    words = ['gdb', '-nx', '-batch', '-ex', 'set width 0', *arguments, '-ex', f'source {SCRIPT}', '-ex', 'echo BEGIN\\n']
    for command in commands:
        words += ['-ex', command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    return done.stdout.partition('BEGIN\n')[2] + done.stderr


def tree_of(text):
    """{task: (level, state, frames)} of a tree."""
    found, task = {}, None
    for line in text.splitlines():
        if match := re.match(r'( *)\* (.*?)( \((running|ready|suspended)\))?$', line):
            if match[2].endswith(' (see above)'):
                continue
            task = found[match[2]] = (len(match[1]) // 4, match[4], [])
        elif match := re.match(r' *  \|  (.*)\(\)  (.*)$', line):
            task[2].append((match[1], match[2]))
    return found


class Gdb(unittest.TestCase):
    maxDiff = None

    def assert_same_tree(self, text, program):
        told = subprocess.run([TOOL, 'pstree', *program], capture_output=True, text=True, check=True).stdout
        self.assertEqual(tree_of(text), tree_of(told))
        self.assertGreater(len(tree_of(text)), 15)

    def test_the_tree_of_a_program_that_runs(self):
        with Target() as target:
            self.assert_same_tree(gdb(['asyncio tree'], '-p', target.pid), [target.pid])

    def test_the_tree_of_a_stripped_program(self):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, 'stripped')
            subprocess.run(['strip', '-s', '-o', program, TARGET], check=True)
            with Target(program=program) as target:
                self.assert_same_tree(gdb(['asyncio tree'], '-p', target.pid), [target.pid])

    def test_the_tree_of_a_core_file(self):
        with tempfile.TemporaryDirectory() as folder, Target() as target:
            core = os.path.join(folder, 'core')
            subprocess.run(['gdb', '-nx', '-batch', '-p', target.pid, '-ex', f'generate-core-file {core}'],
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=True)
            self.assert_same_tree(gdb(['asyncio tree'], TARGET, core), ['core', core, TARGET])

    def test_what_each_task_waits_for(self):
        with Target() as target:
            text = gdb(['asyncio tasks'], '-p', target.pid)
            self.assertRegex(text, r'consumer +waiting +Queue\.get of 0x[0-9a-f]+ \(0 of 10\) +another consumer')
            self.assertRegex(text, r'gatherer +waiting +gather \(0 of 2 done\)')
            self.assertRegex(text, r'nap +waiting +sleep, 3[56]\d\d\.\d s left +slow +waiter, awaiting')
            self.assertNotIn('\x1b', text)
            self.assertIn('\\x1b[31m', text)
            rows = [line for line in gdb(['asyncio tasks Lock.acquire'], '-p', target.pid).splitlines() if 'target.cpp' in line]
            self.assertEqual(len(rows), 1)

    def test_the_variables_of_a_frame(self):
        with Target() as target:
            text = gdb(['asyncio bt slow', 'asyncio frame slow 1', 'asyncio frame gatherer 0'], '-p', target.pid)
            self.assertRegex(text, r'#0  nap\(\) at .*target\.cpp:\d+\n#1  fetch\(\) at .*target\.cpp:\d+\n'
                                   r'waits for sleep, ')
            self.assertRegex(text, r'#1  fetch\(\) at .*\nn = 0\n')

    def test_a_program_linked_with_the_archive_brings_the_commands(self):
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, 'bin', 'target')
            script = os.path.join(folder, 'share', 'libasyncio', 'asyncio_gdb.py')
            for source, to in ((TARGET, program), (SCRIPT, script)):
                os.makedirs(os.path.dirname(to))
                shutil.copy(source, to)

            def run(*options):
                return subprocess.run(['gdb', '-nx', '-batch', *options, '-ex', 'help asyncio tasks', program],
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)

            trusted = run('-iex', f'add-auto-load-safe-path {folder}')
            self.assertIn('asyncio tasks', trusted.stdout, trusted.stderr)
            # Nothing runs that nobody has allowed.
            self.assertNotIn('asyncio tasks', run('-iex', 'set auto-load safe-path /nowhere').stdout)

    def test_probes_of_the_loop_and_of_tasks(self):
        notes = subprocess.run(['readelf', '-n', TARGET], capture_output=True, text=True, check=True).stdout
        if 'stapsdt' not in notes:
            self.skipTest('the library was built without <sys/sdt.h> (systemtap-sdt-dev)')
        names = ('step', 'task_begins', 'task_ended', 'wait', 'woke')
        for name in names:
            self.assertRegex(notes, rf'Provider: asyncio\n *Name: {name}\n')
        commands = []
        for number, name in enumerate(names, 1):
            commands += [f'break -probe-stap asyncio:{name}', f'commands {number}\nsilent\n'
                         f'printf "at {name} %d\\n", $_probe_arg0 != 0\ncont\nend']
        with tempfile.NamedTemporaryFile('w', suffix='.gdb') as script:
            script.write('set breakpoint pending on\n' + '\n'.join(commands) + '\nrun\n')
            script.flush()
            done = subprocess.run(['gdb', '-nx', '-batch', '-x', script.name, TARGET], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=200)
        for name in names:
            self.assertIn(f'at {name} 1', done.stdout, done.stdout[-2000:] + done.stderr)

    def test_a_backtrace_goes_on_into_who_awaits(self):
        with Target('awaited') as target:
            text = gdb(['bt', 'asyncio off', 'bt'], '-p', target.pid)
            begin = text.rindex('#0 ')
            self.assertRegex(text[:begin], r'(?s)TaskBase::run.*\[await\] middle.*\[await\] outermost.*target\.cpp:\d+')
            self.assertNotIn('[await]', text[begin:])

    def test_what_is_wrong_is_said_in_a_sentence(self):
        with Target() as target:
            text = gdb(['asyncio bt nobody'], '-p', target.pid)
            self.assertIn('no task is called nobody', text)
            self.assertIn('slow has no frame 7', gdb(['asyncio frame slow 7'], '-p', target.pid))
            for wrong in ('slow', 'slow -1', 'slow 1 2', ''):
                text = gdb([f'asyncio frame {wrong}'], '-p', target.pid)
                self.assertIn('asyncio frame TASK N', text)
                self.assertNotIn('Traceback', text)
        self.assertIn('no libasyncio', gdb(['starti', 'asyncio tasks', 'kill'], shutil.which('true')))
        self.assertRegex(gdb(['asyncio tasks']), 'there is no process, and no core file')

    def test_ten_thousand_tasks_take_seconds(self):
        with Target('many', '10000') as target:
            began = time.monotonic()
            text = gdb(['asyncio tasks'], '-p', target.pid)
            self.assertGreater(len(text.splitlines()), 10_000)
            # A busy machine is given its time.
            self.assertLess(time.monotonic() - began, 60)


if __name__ == '__main__':
    if not shutil.which('gdb'):
        print('skipped: there is no gdb')
        sys.exit(0)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
