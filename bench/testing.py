"""Measures libasyncio::testing: orders a second of a small scenario, and runs a second of 200 clients whose packets
are lost now and then. No peer does either, so that these are figures and no ratios."""

import json
import os
import statistics

import programs

WORKLOADS = {"schedules": ("three tasks with two awaits each, orders by chance", 30_000, 100_000),
             "clients": ("200 clients, jitter, 10 % loss: runs", 100, 150)}


def run(build_dir, compilers, runs):
    """{compiler: {workload: [a second, in each round]}}"""
    found = {}
    for name, path in compilers.items():
        programs.build_targets(build_dir, path, ["asyncio-testing"])
        program = os.path.join(programs.directory_of(build_dir, path), "bin", "asyncio-testing")
        for workload, (_, n, _) in WORKLOADS.items():
            for _ in range(runs):
                out = programs.run([program, workload, str(n)])
                found.setdefault(name, {}).setdefault(workload, []).append(
                    json.loads(out.strip().splitlines()[-1])["per_second"])
    return found


def table(found):
    yield "| workload | compiler | a second | aim |"
    yield "| --- | --- | --- | --- |"
    for name, workloads in found.items():
        for workload, rates in workloads.items():
            text, _, aim = WORKLOADS[workload]
            yield (f"| {text} | {name} | {statistics.median(rates):,.0f} "
                   f"({min(rates):,.0f} to {max(rates):,.0f}) | {aim:,} |")
