#!/usr/bin/env python3
"""clang-tidy over files that have changed since they last passed.

    tidy.py TOOL BUILD FILE...      BUILD: a build tree with compile_commands.json
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

from passed import Passed, database

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def main(tool, build, *files):
    build = pathlib.Path(build)
    entries = database(build)
    version = subprocess.run([tool, '--version'], capture_output=True, text=True, check=True).stdout
    passed = Passed(ROOT / 'build' / 'passed', version, (ROOT / '.clang-tidy').read_text())

    def check(file):
        # One that is not compiled here (for another library) is read with a neighbour's options.
        entry = entries.get(os.path.realpath(file))
        place = passed.place(entry) if entry else None
        if place and place.exists():
            return None
        done = subprocess.run([tool, '-p', build, '--quiet', file], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600, check=False)
        if done.returncode == 0 and place:
            place.touch()
        return done

    ran, right = 0, True
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(check, files):
            if done is None:
                continue
            ran += 1
            if done.returncode != 0:
                right = False
                print(done.stdout or done.stderr, end='', flush=True)
    print(f'{len(files)} files, {len(files) - ran} of them as they passed before')
    return right


if __name__ == '__main__':
    sys.exit(0 if main(*sys.argv[1:]) else 1)
