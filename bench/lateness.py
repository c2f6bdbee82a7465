"""Measures timers: how late they fire on an idle loop, beside libuv, tokio and a bare wait of epoll; and that a loop
that sleeps uses no CPU.

`timer_lateness` starts one timer after another, each of 1 to 5 whole milliseconds (libuv counts in these), and
takes how far from its time each fires. How programs are compared: servers.py.
"""

import json
import os
from dataclasses import replace

import programs
import servers as common
from measure import turns
from servers import Figure

TIMER_SECONDS = 0.0032    # of one timer, on average: 1 to 5 ms and some lateness
SLEEP_LIMIT = 1_000_000   # CPU ns in a second of sleep
P50, P99 = "timer_lateness, p50", "timer_lateness, p99"
SLEEP = "sleep_cpu, CPU in a second of sleep"


def build_peers(build_dir):
    at = lambda name: os.path.join(build_dir, name)
    common.build_peers(build_dir, {
        "raw_epoll": lambda: programs.compile_peer(at("raw_epoll"), ["gcc", "-O2"],
                                                   "raw/raw_epoll.c"),
        "uv_bench": lambda: programs.compile_peer(at("uv_bench"), ["gcc", "-O2", "-luv"],
                                                  "libuv/bench.c"),
        "tokio_bench": lambda: programs.build_tokio(at("tokio_bench"), build_dir),
    })


def ours(directory):
    """As programs.on_both_backends(), by the names that servers have."""
    names = {"ours": "ours", programs.uring_name("ours"): "ours_uring"}
    return [replace(program, name=names[program.name]) for program in
            programs.on_both_backends("ours", os.path.join(directory, "asyncio-bench"))]


def theirs(build_dir, wanted):
    at = lambda name: os.path.join(build_dir, name)
    found = [programs.Program("raw_epoll", "floor", [at("raw_epoll")]),
             programs.Program("libuv", "peer", [at("uv_bench")]),
             programs.Program("tokio", "peer", [at("tokio_bench")], {"TOKIO_FLAVOR": "current"})]
    return [p for p in found if os.path.exists(p.argv[0]) and (not wanted or p.name in wanted)]


def result(program, workload, n):
    out = programs.run(["taskset", "-c", common.last_core()] + program.argv + [workload, str(n)],
                       env={**os.environ, **program.env}, timeout=120)
    return json.loads(out.strip().splitlines()[-1])


def measure(our_programs, peers, runs, seconds):
    """{figure: {program: [value in each round]}}"""
    samples = {}
    note = lambda figure, program, value: samples.setdefault(figure, {}).setdefault(
        program.name, []).append(value)
    timers = max(20, round(seconds / TIMER_SECONDS))
    for number in range(runs):
        for program in turns(our_programs + peers, number):
            figures = result(program, "timer_lateness", timers)
            if figures["early"]:
                print(f"{program.name}: {figures['early']} of {timers} timers fired too early")
            note(P50, program, figures["p50_us"] * 1000)
            note(P99, program, figures["p99_us"] * 1000)
        for program in turns(our_programs, number):
            note(SLEEP, program, result(program, "sleep_cpu", 1)["ns_per_op"])
        print(f"lateness: round {number + 1} of {runs}", flush=True)
    return common.in_order(samples, our_programs + peers)


def figure_of(workload):
    if workload == SLEEP:
        return Figure("ns", (), limit=SLEEP_LIMIT, judged=("ours", "ours_uring"))
    return Figure("ns", ("libuv", "tokio"), within_spread=True, judged=("ours", "ours_uring"))


def run(build_dir, compilers, peers, runs, seconds):
    print("building the programs with timers", flush=True)
    our_programs = common.build_ours(build_dir, compilers, ["asyncio-bench"], ours)
    build_peers(build_dir)
    samples = measure(our_programs, theirs(build_dir, peers), runs, seconds)
    rows = common.rows_of(samples, figure_of)
    common.show(rows)
    return rows
