"""Where the instructions of one `create_task` and the await of its task go: by function, beside the floor.

Each program runs under valgrind's callgrind with two numbers of operations; what one function took more in the
longer run is its share of one operation. Inlined functions count for those that they are part of.
"""

import collections
import os
import re
import subprocess
import tempfile

import instructions
import programs

WORKLOAD = "spawn_join"
FLOOR = "raw_coro_pool"
# The first that fits the function's name; what none fits is named as it is.
PARTS = [
    ("the coroutine's frame: made, run, destroyed", r"\bleaf\("),
    ("the coroutine that spawns and awaits", r"spawn_join|FutureAwaiter|asyncio_awaiter|add_node"),
    ("create_task", r"create_task|start_task|make_task|make_state|start_plain|copy_context|~Coroutine"),
    ("the loop's iterations", r"Loop::"),
    ("two steps, the end of a task", r"TaskBase::run|end_step"),
    ("its result, who is woken", r"collect|finish|schedule_callbacks|end_cancelled"),
    ("its state's end", r"release|destroy|~Task"),
]


def build_floor(build_dir):
    os.makedirs(build_dir, exist_ok=True)
    path = os.path.join(build_dir, FLOOR)
    programs.compile_peer(path, ["g++", "-std=c++20", "-O2", "-DNDEBUG", "-DFRAME_POOL"],
                          "raw/raw_coro.cpp")
    return path


def by_function(program, n):
    """Counter of instructions by function."""
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        programs.run(["valgrind", "--tool=callgrind", "--dump-line=no", "--compress-strings=no",
                      "--compress-pos=no", f"--callgrind-out-file={out}", program, WORKLOAD, str(n)],
                     env={**os.environ, **programs.EPOLL})
        with open(out) as file:
            return own_costs(file)


def own_costs(lines):
    """From callgrind's file. The line after `calls=` is what the called function took."""
    costs, function, of_call = collections.Counter(), None, False
    for line in lines:
        if line.startswith("fn="):
            function = line[3:].strip()
        elif line.startswith("calls="):
            of_call = True
        elif re.match(r"[\d+*-]", line):
            fields = line.split()
            if not of_call and len(fields) == 2:
                costs[function] += int(fields[1])
            of_call = False
    return costs


def part_of(function):
    return next((part for part, pattern in PARTS if re.search(pattern, function)), function[:60])


def by_part(program):
    """{part: instructions of one operation}"""
    few, many = instructions.FEW, instructions.MANY
    before, after = by_function(program, few), by_function(program, many)
    parts = collections.Counter()
    for function, cost in after.items():
        share = (cost - before[function]) / (many - few)
        if share >= 0.5:
            parts[part_of(function)] += share
    return parts


def report(ours, floor, say):
    """`ours`: {name: path}; `floor`: a path."""
    counted = {name: by_part(path) for name, path in ours.items()}
    say("\n| part | " + " | ".join(counted) + " |")
    say("| --- |" + " --- |" * len(counted))
    order = [part for part, _ in PARTS]
    rest = sorted({part for parts in counted.values() for part in parts} - set(order))
    for part in order + rest:
        say(f"| {part} | " + " | ".join(f"{parts[part]:.0f}" for parts in counted.values()) + " |")
    say("| all | " + " | ".join(f"{sum(parts.values()):.0f}" for parts in counted.values()) + " |")
    least = instructions.per_operation(floor, WORKLOAD)
    ratios = ", ".join(f"{name} {sum(parts.values()) / least:.2f}" for name, parts in counted.items())
    say(f"\nthe floor ({FLOOR}): {least:.0f}; ratios: {ratios}")
