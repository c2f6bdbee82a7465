#!/usr/bin/env python3
"""Makes a source file of every ```cpp block of the documentation, for tests/docs/CMakeLists.txt.

    extract.py OUT_DIR FILE.md...

The words after `cpp` in the fence and the block itself say what is done with it:

    ```cpp              with a main: a program, compiled as it stands, run, must end with status 0
    ```cpp exit=N       a program that must end with status N
    ```cpp norun        a program that is compiled and linked, but not run
    ```cpp              without a main: declarations, compiled
    ```cpp fragment     statements, compiled as the body of a coroutine
    ```cpp refused      must not compile; `refused=gcc12`: g++ 12 alone must refuse it
    ```cpp file=PATH    lines of that file of the project, all or some in a row: compared with it, and
                        not compiled; output that follows is that of the example of this name

    ```text output      what the program before it prints on standard output, compared line by line
    ```text stderr      what it prints on standard error, likewise

In the expected output a line `...` stands for any number of lines, every `name.cpp:12` for any
place, and every `0x...` for any address.  What is no program gets the includes below before it,
and what the page says in `<!-- cpp prelude` ... `-->`, which a reader does not see, so that it
holds only names that the text around the block explains.

Prints nothing and writes OUT_DIR/blocks.cmake, one call of doc_block() or doc_excerpt() a block; files that have not
changed are left alone, so that nothing is compiled again.
"""

import pathlib
import re
import sys

FENCE = re.compile(r'^( *)```(.*)$')
PRELUDE = re.compile(r'^<!-- cpp prelude\s*$')
MAIN = re.compile(r'\bint main\s*\(')

INCLUDES = ''.join(f'#include <{name}>\n' for name in (
    'asyncio.hpp', 'chrono', 'cstdio', 'exception', 'iostream', 'memory', 'optional', 'stdexcept',
    'string', 'string_view', 'thread', 'tuple', 'utility', 'vector'))
INCLUDES += 'using namespace std::chrono_literals;\n'


class Block:
    def __init__(self, page, line, words, text, prelude):
        self.page, self.line, self.text, self.prelude = page, line, text, prelude
        self.options = dict(w.partition('=')[::2] for w in words)
        self.expected = {}  # 'output', 'stderr': the text
        known = {'fragment', 'norun', 'refused', 'exit', 'file'}
        if unknown := set(self.options) - known:
            sys.exit(f'{page}:{line}: unknown word after ```cpp: {", ".join(sorted(unknown))}')

    @property
    def name(self):
        return re.sub(r'\W+', '_', f'{self.page}'.removesuffix('.md')).lower() + f'_{self.line}'

    @property
    def is_program(self):
        return bool(MAIN.search(self.text))

    @property
    def kind(self):
        if 'file' in self.options:
            return 'run'
        if 'refused' in self.options:
            return 'refused_' + (self.options['refused'] or 'always')
        if not self.is_program:
            return 'compile'
        return 'link' if 'norun' in self.options else 'run'

    def source(self):
        code = f'#line {self.line + 1} "{self.page}"\n{self.text}'
        if 'fragment' in self.options:
            code = f'asyncio::Coroutine<> fragment() {{\n{code}\nco_return;\n}}\n'
        if not self.is_program:
            prelude = ''.join(f'#line {line + 1} "{self.page}"\n{text}'
                              for line, text in self.prelude)
            code = INCLUDES + prelude + code
        return code


def blocks_of(path, page):
    """The blocks of one page, in order."""
    blocks, prelude = [], []
    lines = path.read_text().splitlines()
    at = 0

    def until(end):
        nonlocal at
        start = at
        while at < len(lines) and not end(lines[at]):
            at += 1
        if at == len(lines):
            sys.exit(f'{page}:{start}: the block that begins here has no end')
        at += 1
        return lines[start:at - 1]

    while at < len(lines):
        line = lines[at]
        at += 1
        number = at
        if PRELUDE.match(line):
            body = until(lambda text: text.strip() == '-->')
            prelude = prelude + [(number, '\n'.join(body) + '\n')]
        elif fence := FENCE.match(line):
            indent, words = len(fence[1]), fence[2].split()
            body = until(lambda text: text.strip() == '```')
            text = '\n'.join(row[indent:] for row in body) + '\n'
            if words[:1] == ['cpp']:
                blocks.append(Block(page, number, words[1:], text, prelude))
            elif words in (['text', 'output'], ['text', 'stderr']):
                if not blocks or blocks[-1].kind != 'run' or words[1] in blocks[-1].expected:
                    sys.exit(f'{page}:{number}: {words[1]} of no program')
                blocks[-1].expected[words[1]] = text
    return blocks


def write(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    root = pathlib.Path(__file__).resolve().parents[2]
    calls = []
    for argument in sys.argv[2:]:
        path = pathlib.Path(argument).resolve()
        for block in blocks_of(path, path.relative_to(root)):
            source = out / f'{block.name}.cpp'
            file = block.options.get('file')
            write(source, block.text if file else block.source())
            expected = []
            for stream in ('output', 'stderr'):
                path = out / f'{block.name}.{stream}'
                if stream in block.expected:
                    write(path, block.expected[stream])
                expected.append(f'"{path}"' if stream in block.expected else '""')
            status = block.options.get('exit', '0')
            what, how = ('excerpt', file) if file else ('block', block.kind)
            calls.append(f'doc_{what}({block.name} "{source}" {how} {status} {" ".join(expected)})\n')
    write(out / 'blocks.cmake', ''.join(calls))


if __name__ == '__main__':
    main()
