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

    ```text output      what the program before it prints on standard output, compared line by line

In the expected output a line `...` stands for any number of lines, every `name.cpp:12` for any
place, and every `0x...` for any address.  What is no program gets the includes below before it,
and what the page says in `<!-- cpp prelude` ... `-->`, which a reader does not see, so that it
holds only names that the text around the block explains.

Prints nothing and writes OUT_DIR/blocks.cmake, one call of doc_block() a block; files that have not
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
        self.expected = None
        known = {'fragment', 'norun', 'refused', 'exit'}
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
            elif words == ['text', 'output']:
                if not blocks or blocks[-1].kind != 'run' or blocks[-1].expected is not None:
                    sys.exit(f'{page}:{number}: output of no program')
                blocks[-1].expected = text
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
            write(source, block.source())
            expected = ''
            if block.expected is not None:
                expected = out / f'{block.name}.expected'
                write(expected, block.expected)
            status = block.options.get('exit', '0')
            calls.append(f'doc_block({block.name} "{source}" {block.kind} {status} "{expected}")\n')
    write(out / 'blocks.cmake', ''.join(calls))


if __name__ == '__main__':
    main()
