#!/usr/bin/env python3
"""Compares asyncio-conformance with live CPython on generated scenarios.

    check_seeds.py --interpreter PROGRAM --reference DIR --seeds 1..2000 --size small

DIR has the reference interpreter and the generator (reference.py, generate.py), which are not part of
this project. They need CPython 3.13; without that, or without DIR, nothing is compared and the exit
status is 77, which ctest takes as skipped.
"""

import argparse
import os
import sys
import tempfile

import traces

SKIPPED = 77


def seeds(text):
    first, _, last = text.partition('..')
    return range(int(first), int(last or first) + 1)


def generate_into(folder, args):
    """Writes scenarios into `folder`; returns {path: lines} as CPython prints them."""
    sys.path.insert(0, args.reference)
    import generate
    import reference
    expected = {}
    for seed in args.seeds:
        scenario, lines = generate.make(seed, args.size, args.features)
        path = os.path.join(folder, scenario['name'] + '.json')
        with open(path, 'w') as f:
            f.write(reference.dumps(scenario))
        expected[path] = lines
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    traces.add_arguments(parser)
    parser.add_argument('--reference', default='', metavar='DIR')
    parser.add_argument('--seeds', type=seeds, default=seeds('1..100'), metavar='FIRST..LAST')
    parser.add_argument('--size', default='small', choices=['small', 'medium', 'large'])
    parser.add_argument('--features', help='only these families, separated by commas')
    parser.add_argument('--keep', metavar='FOLDER', help='leave the scenarios there')
    args = parser.parse_args()
    if not os.path.exists(os.path.join(args.reference, 'generate.py')):
        print('skipped: no reference interpreter (--reference DIR)')
        return SKIPPED
    if sys.implementation.name != 'cpython' or sys.version_info[:2] != (3, 13):
        print('skipped: the reference is CPython 3.13')
        return SKIPPED
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or temporary
        os.makedirs(folder, exist_ok=True)
        return traces.compare(args, generate_into(folder, args))


if __name__ == '__main__':
    sys.exit(main())
