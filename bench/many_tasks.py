"""How long `asyncio` takes to tell of a process with many tasks: python3 bench/many_tasks.py BUILD.

Each figure is the median of some runs of the whole command, `--json` to /dev/null; the loop sleeps meanwhile. `ps` of a
loop that runs stops its thread: how long it is stopped is not in it.
"""

import os
import statistics
import subprocess
import sys
import time

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def timed(tool, *arguments):
    begin = time.monotonic()
    subprocess.run([tool, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def main(folder, runs=5):
    tool = os.path.join(folder, 'bin', 'asyncio')
    target = os.path.join(folder, 'bin', 'tests', 'programs', 'tool_target')
    print(f'{"tasks":>9}  {"ps":>8}  {"pstree":>8}  {"metrics":>8}  {"lost":>8}  seconds, median of {runs}')
    for size in SIZES:
        with subprocess.Popen([target, 'many', str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for line in process.stdout:
                if line.strip() == b'ready':
                    break
            figures = []
            for command in (('ps', '--json'), ('pstree',), ('metrics',), ('lost', '--json')):
                times = [timed(tool, *command, str(process.pid)) for _ in range(runs if size < 1_000_000 else 3)]
                figures.append(statistics.median(times))
            process.kill()
        print(f'{size:>9}  ' + '  '.join(f'{f:8.3f}' for f in figures), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
