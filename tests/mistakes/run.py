#!/usr/bin/env python3
"""The usual mistakes of this folder, as the compilers tell of them.

    run.py check COMPILER SHARE COUNT PAGE INCLUDE...
        compiles every COUNTth mistake, from number SHARE on, and compares what the compiler says
        with what the file asks for and with the page's table
    run.py table GXX CLANGXX PAGE INCLUDE... [--before INCLUDE...]
        writes the table of the page anew; with --before also its columns of the other headers

A file is one mistake. Its first line says which. Then `// says: WORDS` are words that the compiler
must say, or several of them with ` | ` between; `// lines: N` allows more than 10 lines, where
they are the compiler's own; `// errors: N` more than one error; `// only: g++` (or clang) names the
only compiler that can see the mistake. All are compiled with -fsyntax-only, and fast, since they
share a precompiled header.
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MOST = 10
ERROR = re.compile(r': (?:fatal )?error: ')
TABLE = '| mistake | what is said | g++ before | g++ | clang before | clang |'


class Mistake:
    def __init__(self, path):
        self.path = path
        self.text = path.read_text()
        self.what = self.text.splitlines()[0].removeprefix('// ')
        self.says = self.setting('says', '').split(' | ')
        self.lines = int(self.setting('lines', MOST))
        self.errors = int(self.setting('errors', 1))
        self.only = self.setting('only', '')

    def setting(self, name, default):
        match = re.search(rf'^// {name}: (.*)$', self.text, re.M)
        return match[1] if match else default


class Compiler:
    """A compiler with a precompiled <asyncio.hpp>."""

    def __init__(self, command, includes, folder):
        self.command = command
        said = subprocess.run([command, '--version'], capture_output=True, text=True).stdout
        self.name = 'clang' if 'clang' in said else 'g++'
        self.flags = ['-std=c++20', '-Wall', '-Wextra', '-fno-diagnostics-color']
        self.flags += [f'-I{folder}'] if self.name == 'g++' else []
        self.flags += [f'-I{include}' for include in includes]
        header = pathlib.Path(includes[0]) / 'asyncio.hpp'
        made = pathlib.Path(folder) / ('asyncio.hpp.' + ('pch' if self.name == 'clang' else 'gch'))
        subprocess.run([command, *self.flags, '-w', '-x', 'c++-header', header, '-o', made],
                       check=True)
        if self.name == 'clang':
            self.flags += ['-include-pch', str(made)]

    def says(self, mistake):
        done = subprocess.run([self.command, *self.flags, '-fsyntax-only', mistake.path],
                              capture_output=True, text=True, timeout=60)
        return done.stderr


def faults(mistake, compiler, said, row):
    lines = len(said.splitlines())
    if mistake.only not in ('', compiler.name):
        return
    if not any(words in said for words in mistake.says):
        yield f'does not say "{" | ".join(mistake.says)}"'
    if lines > mistake.lines:
        yield f'{lines} lines, more than {mistake.lines}'
    if len(ERROR.findall(said)) > mistake.errors:
        yield f'more errors than {mistake.errors}'
    if row is None:
        yield 'is not in the table of the page'
    elif row[3 if compiler.name == 'g++' else 5] != str(lines):
        yield f'{lines} lines, and the page has another number'


def all_mistakes():
    return [Mistake(path) for path in sorted(HERE.glob('*.cpp'))]


def rows_of(page):
    rows = {}
    for line in pathlib.Path(page).read_text().partition(TABLE)[2].splitlines()[2:]:
        if not line.startswith('|'):
            break
        cells = [cell.strip() for cell in line.replace('\\|', '\0').strip('|').split('|')]
        rows[cells[0].replace('\0', '\\|')] = cells
    return rows


def cell_of(text):
    return text.replace('|', '\\|').replace('<', '&lt;')


def check(command, share, count, page, *includes):
    rows = rows_of(page)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        compiler = Compiler(command, includes, folder)
        for mistake in all_mistakes()[int(share)::int(count)]:
            said = compiler.says(mistake)
            found = list(faults(mistake, compiler, said, rows.get(cell_of(mistake.what))))
            if found:
                bad += 1
                print(f'{mistake.path.name}: ' + '; '.join(found) + '\n' + said)
    if bad:
        print(f'{bad} mistakes are told of otherwise than they should be. If that is meant: '
              'tests/mistakes/run.py table (its head says how).')
    return 1 if bad else 0


def sentence(said):
    """What the library has to say, of all that the compiler says."""
    for line in said.splitlines():
        match = (re.search(r'static assertion failed[^:]*: (.*)$', line) or
                 re.search(r"declared with attribute .nodiscard.: .(.*?). \[-W", line))
        if match:
            return match[1].strip('"‘’')
    return ''


def measure(compilers, mistakes):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [list(pool.map(compiler.says, mistakes)) for compiler in compilers]


def table(gxx, clangxx, page, *rest):
    after, _, before = ' '.join(rest).partition('--before')
    mistakes = all_mistakes()
    old = rows_of(page)

    def lines_with(includes):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            return measure([Compiler(gxx, includes, one), Compiler(clangxx, includes, two)],
                           mistakes)

    now = lines_with(after.split())
    then = lines_with(before.split()) if before else None
    rows = [TABLE, '|---|---|---|---|---|---|']
    for i, mistake in enumerate(mistakes):
        cells = [cell_of(mistake.what), cell_of(sentence(now[0][i]) or sentence(now[1][i]))]
        for c in (0, 1):
            kept = old.get(cells[0], [''] * 6)[2 + 2 * c]
            cells.append(str(len(then[c][i].splitlines())) if then else kept)
            cells.append(str(len(now[c][i].splitlines())))
        rows.append('| ' + ' | '.join(cells) + ' |')
    text = pathlib.Path(page).read_text()
    head, _, tail = text.partition(TABLE)
    tail = re.sub(r'\A.*?\n(?!\|)', '', tail + '\n', flags=re.S)
    pathlib.Path(page).write_text(head + '\n'.join(rows) + '\n' + tail.rstrip('\n') + '\n' * bool(tail.strip()))
    return 0


if __name__ == '__main__':
    sys.exit({'check': check, 'table': table}[sys.argv[1]](*sys.argv[2:]))
