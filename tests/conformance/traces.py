"""Runs asyncio-conformance on scenarios and compares what it prints with the traces expected."""

import difflib
import os
import subprocess


def base(path):
    """The name of a scenario: its file's name without folder and `.json`."""
    return os.path.splitext(os.path.basename(path))[0]


def read_lines(path):
    with open(path) as f:
        return f.read().splitlines()


def run(command, files, timeout):
    """Returns {name: lines} as printed for `files`, and what went wrong (None if nothing did)."""
    problem = None
    try:
        done = subprocess.run(command + files, capture_output=True, timeout=timeout)
        out = done.stdout
        if done.returncode:
            last = done.stderr.decode(errors='replace').strip().split('\n')[-1]
            problem = f'<exit status {done.returncode}> {last}'.rstrip()
    except subprocess.TimeoutExpired as late:
        out, problem = late.stdout or b'', f'<no end within {timeout} s>'
    lines = out.decode(errors='replace').splitlines()
    if len(files) == 1:
        lines.insert(0, f'=== {base(files[0])}')
    traces, current = {}, []
    for line in lines:
        if line.startswith('=== '):
            current = traces.setdefault(line[4:], [])
        else:
            current.append(line)
    return traces, problem


def run_each(command, files, timeout):
    """As run(), but a file in which the program dies does not spoil those after it."""
    traces, problem = run(command, files, timeout)
    if problem is None:
        return traces
    for path in files:
        alone, problem = run(command, [path], timeout)
        traces.update(alone)
        if problem:
            traces.setdefault(base(path), []).append(problem)
    return traces


def show_difference(path, expected, got):
    print(f'--- {path}')
    lines = difflib.unified_diff(expected, got, 'expected', 'printed', lineterm='', n=4)
    print('\n'.join(list(lines)[2:]))


def add_arguments(parser):
    parser.add_argument('--interpreter', required=True, metavar='PROGRAM',
                        help='asyncio-conformance, with arguments if it needs a wrapper')
    parser.add_argument('--show', type=int, default=5, help='differences to show (default 5)')
    parser.add_argument('--batch', type=int, default=50, help='files per process (default 50)')
    parser.add_argument('--timeout', type=float, default=60, help='seconds per process (default 60)')


def compare(args, expected):
    """`expected`: {path: lines}. Prints differences, then the count. Returns the exit status."""
    command = args.interpreter.split()
    files = list(expected)
    passed = failed = 0
    for start in range(0, len(files), args.batch):
        batch = files[start:start + args.batch]
        traces = run_each(command, batch, args.timeout)
        for path in batch:
            got = traces.get(base(path), ['<nothing>'])
            if got == expected[path]:
                passed += 1
                continue
            failed += 1
            if failed <= args.show:
                show_difference(path, expected[path], got)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0
