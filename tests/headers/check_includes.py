#!/usr/bin/env python3
"""Public headers include standard C++ headers and each other, and nothing of the system.

    check_includes.py INCLUDE_DIR...

A header of the system (<unistd.h>, <sys/socket.h>, <openssl/ssl.h>, ...) would put its macros and
names into every user's program.  Also refused: standard headers that are slow to compile, and
private headers of src/.
"""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
STANDARD = re.compile(r'[a-z0-9_]+')
SLOW = {'algorithm', 'filesystem', 'format', 'functional', 'iostream', 'map', 'random', 'ranges',
        'regex'}


def faults(root, folders):
    for path in sorted(root.rglob('*.hpp')):
        if path.parent == root / 'asyncio' / 'testing':  # for the frameworks that they name
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            name = match[2]
            place = f'{path.relative_to(root.parent)}:{number}'
            if name.startswith('asyncio'):
                if not any((folder / name).is_file() for folder in folders):
                    yield f'{place}: {name} is not a public header'
            elif match[1] == '"' or not STANDARD.fullmatch(name):
                yield f'{place}: {name} is not a standard C++ header'
            elif name in SLOW:
                yield f'{place}: <{name}> takes too long to compile for a public header'


def main():
    folders = [pathlib.Path(folder).resolve() for folder in sys.argv[1:]]
    found = [fault for folder in folders for fault in faults(folder, folders)]
    print('\n'.join(found) or 'ok')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
