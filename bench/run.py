#!/usr/bin/env python3
"""Measures libasyncio, beside its peers, on this machine.

  script/bench                  every workload, ours by each compiler and all peers, one table
  script/bench quick            the same with shorter runs and the nearest peers only
  script/bench network          the echo servers beside the peers': CPU a message, churn, idle memory
  script/bench network-quick    the same in a minute or two
  script/bench compile          what `#include <asyncio.hpp>` costs beside its standard headers
  script/bench callgrind        instructions for one operation; --update writes bench/baseline.json
  script/bench check            the same against bench/baseline.json: fails where it grew by over 3 %
  script/bench --install-peers  installs what the peers need (apt-get), then measures
"""

import argparse
import json
import os
import shutil
import sys
import time

import compile_time
import instructions
import measure
import network
import programs
import report
import workloads

# Never the best at anything here, so that a quick run does without them.
NOT_IN_QUICK = {"asyncio", "uvloop", "tokio_multi", "go_2", "raw_coro"}


def arguments():
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    split = lambda text: [part for part in text.split(",") if part]
    parser.add_argument("command", nargs="?", default="all",
                        choices=["all", "quick", "network", "network-quick", "compile", "callgrind",
                                 "check"])
    parser.add_argument("--build-dir", default=os.environ.get(
        "ASYNCIO_BENCH_DIR", os.path.join(programs.ROOT, "build", "bench")))
    parser.add_argument("--runs", type=int, default=5, help="rounds of each measurement")
    parser.add_argument("--workloads", type=split, default=[], help="only these, with commas")
    parser.add_argument("--peers", type=split, default=[], help="only these, with commas")
    parser.add_argument("--compilers", type=split, default=[], help="only these, with commas")
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=PROGRAM",
                        help="measure this asyncio-bench instead of building one")
    parser.add_argument("--json", default="", help="where results go (build directory)")
    parser.add_argument("--no-compile-time", action="store_true")
    parser.add_argument("--update", action="store_true", help="callgrind: write the baseline")
    parser.add_argument("--install-peers", action="store_true")
    return parser.parse_args()


def our_programs(args):
    if args.ours:
        return [programs.Program(name, "ours", [os.path.abspath(path)])
                for name, path in (entry.split("=", 1) for entry in args.ours)]
    return programs.ours(args.build_dir, args.compilers)


def write_json(args, name, content):
    path = args.json or os.path.join(args.build_dir, name)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump({"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
                   "machine": programs.machine(), **content}, file, indent=1)
    print("JSON:", path, flush=True)


def run_workloads(args):
    quick = args.command == "quick"
    unknown = [name for name in args.workloads if name not in workloads.BY_NAME]
    if unknown:
        sys.exit(f"no such workload: {', '.join(unknown)}")
    chosen = [w for w in workloads.WORKLOADS if not args.workloads or w.name in args.workloads]
    peers = programs.peers(args.build_dir, args.peers)
    if quick and not args.peers:
        peers = [p for p in peers if p.name not in NOT_IN_QUICK]
    everyone = our_programs(args) + peers
    say = lambda text: print(text, flush=True)
    samples = measure.measure(everyone, chosen, args.runs, 0.08 if quick else 0.25, say)
    lines = report.rows(samples, chosen, everyone)
    print()
    print(report.table(lines))
    print()
    content = {"runs": args.runs, "rows": lines, "figures": report.all_figures(samples)}
    if not args.no_compile_time:
        content["compile_time"] = compile_time.report(programs.compilers(args.compilers), 7)
    write_json(args, "results.json", content)
    missed = [line["workload"] for line in lines if line.get("reached") is False]
    print("every target reached" if not missed else "missed: " + ", ".join(missed))


def run_network(args):
    quick = args.command == "network-quick"
    unknown = [name for name in args.workloads if name not in network.WORKLOADS]
    if unknown:
        sys.exit(f"no such workload of the network: {', '.join(unknown)}")
    compilers = programs.compilers(args.compilers)
    if not compilers:
        sys.exit("no C++ compiler was found")
    rows = network.run(args.build_dir, next(iter(compilers.values())), args.peers, args.workloads,
                       args.runs, 0.3 if quick else 0.8, quick)
    write_json(args, "network.json", {"runs": args.runs, "rows": rows})


def run_compile(args):
    results = compile_time.report(programs.compilers(args.compilers), max(args.runs, 9))
    write_json(args, "compile.json", {"compile_time": results})


def run_instructions(args):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    counts = instructions.count_all(our_programs(args), args.workloads)
    if args.command == "check":
        return 1 if instructions.check(counts) else 0
    if args.update:
        instructions.save(counts)
        print("written:", instructions.BASELINE)
    return 0


def main():
    args = arguments()
    if args.install_peers:
        programs.install_peers()
    try:
        if args.command in ("all", "quick"):
            return run_workloads(args)
        if args.command in ("network", "network-quick"):
            return run_network(args)
        if args.command == "compile":
            return run_compile(args)
        return run_instructions(args)
    except programs.BuildError as error:
        sys.exit(f"script/bench: {error}")


if __name__ == "__main__":
    sys.exit(main())
