#!/usr/bin/env python3
"""Compares asyncio-conformance with the stored traces of CPython's asyncio.

    check_corpus.py --interpreter PROGRAM                 all of corpus/
    check_corpus.py --interpreter PROGRAM FILE.json...    these; NAME.trace lies beside NAME.json

Prints the first differences (`-` stored, `+` printed) and at last `N passed, N failed`.
"""

import argparse
import glob
import os
import sys

import traces


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    traces.add_arguments(parser)
    parser.add_argument('files', nargs='*', metavar='FILE.json')
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    files = args.files or sorted(glob.glob(os.path.join(here, 'corpus', '*.json')))
    expected = {path: traces.read_lines(os.path.splitext(path)[0] + '.trace') for path in files}
    return traces.compare(args, expected)


if __name__ == '__main__':
    sys.exit(main())
