#!/usr/bin/env python3
"""Fails unless the lines of a block stand in a file of the project, one after the other.

    excerpt.py BLOCK FILE
"""

import difflib
import pathlib
import sys


def main():
    block, file = (pathlib.Path(name).read_text().splitlines() for name in sys.argv[1:])
    places = range(len(file) - len(block) + 1)
    if block and any(file[at:at + len(block)] == block for at in places):
        return
    print('\n'.join(difflib.unified_diff(file, block, sys.argv[2], 'the page', lineterm='')))
    sys.exit(1)


if __name__ == '__main__':
    main()
