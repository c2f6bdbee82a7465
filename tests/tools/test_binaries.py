"""The program `asyncio` on one program that is linked in every way: it says the same of all.

    test_binaries.py TOOL TARGET WORK CXX OBJECT ARCHIVE SHARED_FOLDER LIBRARIES [SOURCE INCLUDE OTHER_CXX]

OBJECT is the target's, made by CXX; with OTHER_CXX the target is compiled by that, too. LIBRARIES: what ARCHIVE needs,
one word of them. A way that this system cannot link is told of and left out.
"""

import os
import shutil
import subprocess
import sys
import unittest

import test_tool
from test_tool import Target, tasks_of, tool

WORK, CXX, OBJECT, ARCHIVE, SHARED = sys.argv[3:8]
LIBRARIES = sys.argv[8].split()
OTHER = sys.argv[9:12]

WAYS = {
    'pie': ['-pie'],
    'no_pie': ['-no-pie'],
    'static': ['-static'],
    'static_pie': ['-static-pie'],
    'gc_sections': ['-pie', '-Wl,--gc-sections', '-Wl,-O2'],
    'gold': ['-pie', '-fuse-ld=gold', '-Wl,--gc-sections'],
    'lld': ['-pie', '-fuse-ld=lld', '-Wl,--gc-sections'],
    'static_lld': ['-static', '-fuse-ld=lld'],
}


def link(name, compiler, made, options, libraries):
    program = os.path.join(WORK, name)
    done = subprocess.run([compiler, made, *options, *libraries, '-o', program], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return program if done.returncode == 0 else None, done.stdout


class Binaries(unittest.TestCase):
    maxDiff = None
    compare = test_tool.Tool.compare

    def look(self, program):
        with Target(program=program) as target:
            self.compare(target.told, tool('ps', '--json', target.pid))

    def look_at(self, name, compiler, made, options, libraries):
        program, said = link(name, compiler, made, options, libraries)
        if not program:
            print(f'left out: {name}: {said.strip().splitlines()[-1]}')
            return False
        self.look(program)
        subprocess.run(['strip', '-s', program], check=True)
        self.look(program)
        return True

    def test_linked_in_every_way(self):
        read = []
        for name, options in WAYS.items():
            with self.subTest(name):
                if self.look_at(name, CXX, OBJECT, options, [ARCHIVE, *LIBRARIES]):
                    read.append(name)
        self.assertIn('pie', read)
        print('read, plain and stripped:', ' '.join(read))

    @unittest.skipUnless(SHARED, 'there is no shared library here')
    def test_on_the_shared_library(self):
        self.assertTrue(self.look_at('shared', CXX, OBJECT, [f'-L{SHARED}', f'-Wl,-rpath,{SHARED}'],
                                     ['-lasyncio', '-pthread']))

    @unittest.skipUnless(OTHER and shutil.which(OTHER[2] if OTHER else 'false'), 'there is no other compiler')
    def test_by_another_compiler(self):
        source, include, compiler = OTHER
        made = os.path.join(WORK, 'other.o')
        subprocess.run([compiler, '-std=c++20', f'-I{include}', '-c', source, '-o', made], check=True)
        self.assertTrue(self.look_at('other', compiler, made, [], [ARCHIVE, *LIBRARIES]))

    def test_whose_file_is_gone(self):
        program, said = link('gone', CXX, OBJECT, ['-pie'], [ARCHIVE, *LIBRARIES])
        self.assertTrue(program, said)
        with Target(program=program) as target:
            os.remove(program)
            self.compare(target.told, tool('ps', '--json', target.pid))

    def test_in_a_container(self):
        """Namespaces of its own for processes, files and users, and another root."""
        unshare = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--mount', '--kill-child']
        if subprocess.run([*unshare, 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('this system lets nobody make namespaces')
        root = os.path.join(WORK, 'root')
        os.makedirs(root, exist_ok=True)
        program, said = link(os.path.join('root', 'program'), CXX, OBJECT, ['-static'], [ARCHIVE, *LIBRARIES])
        if not program:
            self.skipTest(said)
        process = subprocess.Popen([*unshare, 'chroot', root, '/program'], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        try:
            told = []
            for line in process.stdout:
                if line.strip() == b'ready':
                    break
                told.append(line)
            inner = None
            for entry in os.listdir('/proc'):
                if not entry.isdigit():
                    continue
                try:
                    with open(f'/proc/{entry}/status', encoding='utf-8') as status:
                        if f'PPid:\t{process.pid}\n' in status.read():
                            inner = entry
                except FileNotFoundError:
                    pass  # it has just ended
            self.assertIsNotNone(inner)
            seen, _ = tasks_of(tool('ps', '--json', inner))
            self.assertEqual(len(seen), len(told) + 1)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


if __name__ == '__main__':
    os.makedirs(WORK, exist_ok=True)
    unittest.main(argv=sys.argv[:1], verbosity=2)
