#!/usr/bin/env python3
"""Whether every relative link of the repository's Markdown pages leads to a file, and to a heading that it has.

    links.py [ROOT]     prints what leads nowhere; status 1 if anything does
"""

import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(HERE / 'script/site'))
sys.dont_write_bytecode = True

import markdown  # noqa: E402

SKIPPED = {'build', '.git', '.ccache', 'node_modules'}


def pages_of(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(names):
            if name.endswith('.md'):
                yield pathlib.Path(folder) / name


def rendered(path, known={}):
    if path not in known:
        known[path] = markdown.Renderer()
        known[path].render(path.read_text())
    return known[path]


def wrong_links(root):
    """[(page, target, why)]"""
    root = root.resolve()
    for page in pages_of(root):
        for target in dict.fromkeys(rendered(page).targets):
            if re.match(r'[a-z][a-z0-9+.-]*:', target):
                continue
            path, _, anchor = target.partition('#')
            to = (page.parent / path).resolve() if path else page
            where = page.relative_to(root)
            if not to.exists():
                yield where, target, 'no such file'
            elif root not in to.parents and to != root:
                yield where, target, 'outside of the repository'
            elif anchor and to.suffix == '.md' and anchor not in rendered(to).ids:
                yield where, target, 'no such heading'


def main(arguments):
    root = pathlib.Path(arguments[0]) if arguments else HERE
    wrong = list(wrong_links(root))
    for page, target, why in wrong:
        print(f'{page}: {target}: {why}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
