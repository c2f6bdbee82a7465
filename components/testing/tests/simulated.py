#!/usr/bin/env python3
"""Runs the tests of a binary on a network that is made up, but for those that not_simulated.txt names.

    simulated.py BINARY           those that are to pass, in one process
    simulated.py BINARY --each    each test alone, the others too; tells which pass and are named, and which do not

A line of not_simulated.txt is `Suite.Test: why`. Two tests that differ in a parameter alone are one: `Each/Suite.Test`.
"""

import os
import pathlib
import subprocess
import sys

SIMULATED = dict(os.environ, ASYNCIO_BACKEND='simulated')
LIST = pathlib.Path(__file__).with_name('not_simulated.txt')


def named():
    lines = (line.partition(':') for line in LIST.read_text().splitlines() if line and not line.startswith('#'))
    return {name: reason.strip() for name, _, reason in lines}


def tests_of(binary):
    listed = subprocess.run([binary, '--gtest_list_tests'], capture_output=True, text=True, check=True).stdout
    suite = ''
    for line in listed.splitlines():
        if line.endswith('.') and not line.startswith(' '):
            suite = line
        elif line.startswith('  '):
            yield suite + line.split()[0]


def passes(binary, test):
    try:
        run = subprocess.run([binary, f'--gtest_filter={test}'], env=SIMULATED, capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def each(binary, left_out):
    good = 0
    tests = list(tests_of(binary))
    for test in tests:
        fine = passes(binary, test)
        good += fine
        if fine and test in left_out:
            print(f'{test} passes, and is named')
        elif not fine and test not in left_out:
            print(f'{test} fails')
    print(f'{good} of {len(tests)} pass')


def main():
    binary, left_out = sys.argv[1], named()
    if '--each' in sys.argv:
        return each(binary, left_out)
    for name, reason in left_out.items():
        if not reason:
            sys.exit(f'{LIST.name}: {name} has no reason')
    others = [test for test in tests_of(binary) if test in left_out]
    arguments = ['--gtest_brief=1', '--gtest_filter=' + ('-' + ':'.join(others) if others else '*')]
    sys.exit(subprocess.run([binary, *arguments], env=SIMULATED).returncode)


if __name__ == '__main__':
    main()
