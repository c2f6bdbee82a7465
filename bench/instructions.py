"""Instructions for one operation of each workload, counted by valgrind's callgrind.

Counts do not depend on how busy the machine is, so that they show a small change which times hide.
Each workload runs with two numbers of operations; the difference leaves out what starting costs.
"""

import json
import os
import re
import subprocess

import programs
import workloads as known

BASELINE = os.path.join(programs.HERE, "baseline.json")
USUAL_LIMIT = 3  # percent

# What takes turns with other threads counts differently each time.
LEFT_OUT = {"to_thread", "thread_post", "subprocess"}
# A loop looks around once some time has passed, and this does little else in that time: the least of some counts.
BY_THE_CLOCK = {"timeout_yield", "timers"}
COUNTS_BY_THE_CLOCK = 5
FEW, MANY = 2_000, 22_000


def count(program, workload, n):
    """Instructions of a whole run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program,
               workload, str(n)]
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, **programs.EPOLL})
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise programs.BuildError(f"{' '.join(command)}\n{done.stderr[-1000:]}")
    return int(found.group(1))


def per_operation(program, workload):
    few, many = (min(count(program, workload, n)
                     for _ in range(COUNTS_BY_THE_CLOCK if workload in BY_THE_CLOCK else 1))
                 for n in (FEW, MANY))
    return round((many - few) / (MANY - FEW), 1)


def names(wanted=None):
    return [w.name for w in known.WORKLOADS
            if w.name not in LEFT_OUT and (not wanted or w.name in wanted)]


def count_all(ours, wanted=None):
    """{compiler: {"version":, "instructions": {workload: count}}}; prints as it goes."""
    result = {}
    for program in ours:
        counts = {}
        for name in names(wanted):
            counts[name] = per_operation(program.argv[0], name)
            print(f"{program.name:12} {name:16} {counts[name]:10,.1f} instructions", flush=True)
        result[program.name] = {"version": programs.version([program.name, "--version"]),
                                "instructions": counts}
    return result


def save(counts):
    with open(BASELINE, "w") as file:
        json.dump(counts, file, indent=2, sort_keys=True)
        file.write("\n")


def load():
    try:
        with open(BASELINE) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def check(counts, percent=USUAL_LIMIT):
    """Compares with the baseline and returns how many workloads grew by more than `percent`."""
    baseline, grown, limit = load(), 0, percent / 100
    for compiler, now in counts.items():
        before = baseline.get(compiler)
        if not before or before["version"] != now["version"]:
            print(f"{compiler}: the baseline has no counts of {now['version']}")
            continue
        for name, value in now["instructions"].items():
            old = before["instructions"].get(name)
            if old is None:
                continue
            change = value / old - 1
            if change > limit:
                grown += 1
            if abs(change) > limit:
                word = "GREW" if change > 0 else "fell"
                print(f"{compiler} {name}: {word} by {abs(change):.1%}, {old} -> {value}")
    print(f"{grown} of the workloads grew by more than {percent:g} %")
    return grown
