#!/usr/bin/env python3
"""Runs a program of the documentation and compares what it prints with what the page says.

    run.py PROGRAM STATUS [OUTPUT_FILE [STANDARD_ERROR_FILE]]     an empty name: anything will do
"""

import difflib
import pathlib
import re
import subprocess
import sys

MASKS = ((re.compile(r'[\w./+-]+\.(?:cpp|hpp|md):\d+'), 'FILE:LINE'),
         (re.compile(r"""(['"])[^'"]*\1, line \d+"""), 'FILE, LINE'),
         (re.compile(r'0x[0-9a-f]+'), '0xADDRESS'))


def masked(text):
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return [line.rstrip() for line in text.splitlines()]


def matches(expected, printed):
    """Whether the lines are the same, a line `...` in `expected` standing for any lines."""
    pattern = ''.join(r'(?:.*\n)*' if line == '...' else re.escape(line) + r'\n'
                      for line in expected)
    return re.fullmatch(pattern, ''.join(line + '\n' for line in printed)) is not None


def compare(expected, printed):
    expected, printed = masked(expected), masked(printed)
    if matches(expected, printed):
        return True
    print('\n'.join(difflib.unified_diff(expected, printed, 'the page', 'the program', lineterm='')))
    return False


def main():
    program, status = sys.argv[1], int(sys.argv[2])
    done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    good = done.returncode == status
    if not good:
        print(f'{program} ended with status {done.returncode}, not {status}')
    for name, printed in zip(sys.argv[3:], (done.stdout, done.stderr)):
        good = (not name or compare(pathlib.Path(name).read_text(), printed)) and good
    if not good:
        print(done.stdout, done.stderr, sep='\n--- standard error:\n')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
