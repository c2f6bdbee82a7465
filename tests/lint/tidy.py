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

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(check, files))
    ran = [d for d in done if d]
    for each in ran:
        print(each.stdout, end='')
        if each.returncode != 0 and not each.stdout:
            print(each.stderr, end='')
    print(f'{len(files)} files, {len(files) - len(ran)} of them as they passed before')
    return not any(each.returncode for each in ran)


if __name__ == '__main__':
    sys.exit(0 if main(*sys.argv[1:]) else 1)
