#!/usr/bin/env python3
"""The table of shapes, shapes/*.cpp, and what is held of it.

    run.py table CHECKER FOLDER          asyncio-check-coroutines reports what is marked, nothing else
    run.py prove COMPILER FOLDER         g++ 12 makes wrong what is marked, nothing else
    run.py messages CHECKER FOLDER       what the checker says when it cannot work
    run.py clean CHECKER BUILD           the sources of this repository have none

FOLDER is for what is written meanwhile. Marks stand at the end of a line, for the shape it is in:

    // bad: NAME...     the checker reports it, and it is wrong
    // bad here: NAME   the checker reports it; no program shows that it is wrong
    // missed           it is wrong, and the checker does not see it
    // alarm: NAME      the checker reports it, and it is right
    // wrong: why       it is wrong by what it calls
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'lint'))
from passed import Passed, database

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHAPES = sorted((HERE / 'shapes').glob('*.cpp'))
INCLUDES = [f'-I{HERE / "shapes"}', f'-I{ROOT / "tests/support"}']

SHAPE = re.compile(r'^Shape<\w*> (\w+)\(\)')
MARK = re.compile(r'// (bad|bad here|missed|alarm|wrong)(?:: (.*))?$')
FINDING = re.compile(r'^(.*?):(\d+):(\d+): (error|note): (.*) \[([\w-]+)\]$')

MAIN = r'''
#include <cstdio>
#include <sys/wait.h>
#include <unistd.h>

template <class F>
void prove(const char* name, F shape) {
    std::fflush(stdout);
    if (const pid_t child = fork()) {
        int status = 0;
        waitpid(child, &status, 0);
        std::printf("%s %s\n", name, status == 0 ? "right" : "wrong");
        return;
    }
    alarm(10);
    shape().run();
    _exit(Tracked::wrong || !Tracked::alive.empty());
}

int main() {
'''


def marks(file):
    """(line, shape or None, word, text) of each mark, and the names of the shapes."""
    shape, found, names, before = None, [], [], ''
    for number, line in enumerate(file.read_text().splitlines(), 1):
        begins = SHAPE.match(line)
        if begins and not before.startswith('template'):
            shape = begins[1]
            names.append(shape)
        elif line and not line.startswith((' ', '}')):
            shape = None
        mark = MARK.search(line)
        if mark:
            found.append((number, shape, mark[1], mark[2] or ''))
        before = line
    return found, names


def write_database(folder, files, *more):
    entries = [{'directory': str(folder), 'file': str(f),
                'arguments': ['g++', '-std=c++20', '-fno-semantic-interposition', '-Wno-restrict',
                              *INCLUDES, *more, '-c', str(f)]} for f in files]
    (folder / 'compile_commands.json').write_text(json.dumps(entries))


def call(checker, *arguments, **options):
    done = subprocess.run([checker, *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def compare(title, expected, got):
    for each in sorted(expected - got):
        print(f'{title}: expected, but not so: {each}')
    for each in sorted(got - expected):
        print(f'{title}: not expected: {each}')
    return expected == got


def table(checker, folder):
    write_database(folder, SHAPES)
    status, output, errors = call(checker, '-p', folder, '--no-notes')
    got = set()
    for line in output.splitlines():
        match = FINDING.match(line)
        if not match:
            sys.exit(f'not a finding: {line}')
        got.add((pathlib.Path(match[1]).name, int(match[2]), match[6]))
    expected = {(f.name, line, name) for f in SHAPES for line, _, word, text in marks(f)[0]
                if word in ('bad', 'bad here', 'alarm') for name in text.split(', ')}
    print(f'{len(SHAPES)} files, {sum(len(marks(f)[1]) for f in SHAPES)} shapes, {len(expected)} findings')
    if status != 1 or errors:
        sys.exit(f'status {status}: {errors}')
    return compare('checker', expected, got)


def prove(compiler, folder):
    right = True
    for file in SHAPES:
        found, names = marks(file)
        calls = ''.join(f'    prove("{name}", {name});\n' for name in names)
        source, program = folder / file.name, folder / file.stem
        source.write_text(f'#include "{file}"\n{MAIN}{calls}}}\n')
        subprocess.run([compiler, '-std=c++20', '-w', *INCLUDES, source, '-o', program], check=True)
        lines = subprocess.run([program], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               check=True, timeout=600).stdout.split('\n')
        got = {tuple(line.split()) for line in lines if line}
        wrong = {shape for _, shape, word, _ in found if word in ('bad', 'missed', 'wrong')}
        expected = {(name, 'wrong' if name in wrong else 'right') for name in names}
        right = compare(f'{file.name} as {compiler} makes it', expected, got) and right
    return right


def messages(checker, folder):
    good, bad, broken = (folder / name for name in ('good.cpp', 'bad.cpp', 'broken.cpp'))
    good.write_text('#include "shapes.hpp"\nShape<> good() { co_return co_await number(); }\n')
    bad.write_text('#include "shapes.hpp"\nShape<> bad(int& kept) { co_return co_await take({kept, 2}); }\n')
    broken.write_text('int f() { return 1 + ; }\n')
    (folder / 'unknown.cpp').write_text('')
    write_database(folder, [good, bad, broken], '-Winvalid-pch', '-fpch-preprocess')
    tools = folder / 'tools'
    tools.mkdir(exist_ok=True)
    python = tools / 'python3'
    if not python.exists():
        python.symlink_to(sys.executable)

    right = True

    def expect(what, status, text, *arguments, **options):
        nonlocal right
        got, output, errors = call(checker, *arguments, cwd=folder, **options)
        if got != status or not re.search(text, output + errors) or 'Traceback' in errors:
            print(f'{what}: status {got}, not {status}, or not "{text}":\n{output}{errors}')
            right = False

    expect('good', 0, '^$', '-p', folder, 'good.cpp')
    expect('bad', 1, r'^bad\.cpp:2:50: error: g\+\+ 12 .* \[aggregate-beside-await\]$', '-p', folder, '--no-notes',
           'bad.cpp')
    expect('notes', 1, r'bad\.cpp:2:13: note: this coroutine keeps a reference: .* '
           r'\[cppcoreguidelines-avoid-reference-coroutine-parameters\]', '-p', folder, 'bad.cpp')
    expect('not in the database', 2, r'unknown\.cpp: not in .*/compile_commands\.json', '-p', folder, 'unknown.cpp')
    expect('no such file', 2, r'nothing\.cpp: there is no such file', '-p', folder, 'nothing.cpp')
    expect('does not compile', 2, r'broken\.cpp: clang does not compile it: .*error: expected expression', '-p', folder,
           'broken.cpp')
    expect('the rest is checked', 2, r'aggregate-beside-await', '-p', folder, '--no-notes')
    expect('no database', 2, r'compile_commands\.json: No such file', '-p', folder / 'tools')
    expect('no clang-query', 2, r'clang-query-19 is not installed \(Debian: clang-tools-19\)', '-p', folder, 'good.cpp',
           env={'PATH': str(tools)})
    expect('wrong use', 2, 'usage:', '--nonsense')
    return interrupted(checker, folder) and right


def interrupted(checker, folder):
    """Ctrl-C ends it: no file after the one that is looked at is begun."""
    begun = folder / 'begun'
    slow = folder / 'tools' / 'clang-query-19'
    slow.write_text(f'#!/bin/sh\necho begun >> {begun}\nexec /bin/sleep 60\n')
    slow.chmod(0o755)
    with subprocess.Popen([checker, '-p', folder, '--no-notes', '-j', '1'], cwd=folder, start_new_session=True,
                          env={'PATH': str(folder / 'tools')}, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not (begun.exists() and begun.stat().st_size) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    files = len(begun.read_text().split())
    if process.returncode != 130 or files != 1 or 'Traceback' in output:
        print(f'Ctrl-C: status {process.returncode}, {files} files begun:\n{output}')
    return process.returncode == 130 and files == 1 and 'Traceback' not in output


# Sources of this repository in which the checker has a finding that is wrong.
ALARMS = {
    # Queue::put and the like take braces in a class of their own where the compiler is g++ 12, and the checker reads
    # the headers as clang does.
    'tests/threads/test_braced.cpp',
}


def clean(checker, build):
    entries = database(pathlib.Path(build))
    # What is made in the build tree, and the table itself, are no part of it.
    files = [f for f in sorted(entries) if f.startswith(f'{ROOT}/') and
             not f.startswith((f'{ROOT}/build/', f'{HERE}/')) and f[len(f'{ROOT}/'):] not in ALARMS]
    if not files:
        sys.exit(f'{build}/compile_commands.json has no source of this repository')
    version = subprocess.run(['clang-query-19', '--version'], stdout=subprocess.PIPE, text=True, check=True).stdout
    passed = Passed(ROOT / 'build' / 'passed', version, pathlib.Path(checker).read_text())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        places = dict(zip(files, pool.map(lambda f: passed.place(entries[f]), files)))
    left = [f for f in files if not places[f] or not places[f].exists()]
    print(f'{len(files)} files, {len(files) - len(left)} of them as they passed before', flush=True)
    right = True
    # Some at a time, so that what has passed is noted though the rest is cut short.
    for begin in range(0, len(left), 20):
        some = left[begin:begin + 20]
        status, output, errors = call(checker, '-p', build, '--no-notes', *some)
        print(f'{output}{errors}', end='', flush=True)
        right = right and status == 0
        for file in some:
            if status == 0 and places[file]:
                places[file].touch()
    return right


def main(what, tool, folder):
    if what == 'clean':
        return clean(tool, folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return {'table': table, 'prove': prove, 'messages': messages}[what](tool, pathlib.Path(place))


if __name__ == '__main__':
    sys.exit(0 if main(*sys.argv[1:]) else 1)
