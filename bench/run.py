#!/usr/bin/env python3
"""Measures libasyncio, beside its peers, on this machine.

  script/bench                  everything up to `compile`, and one table at the end
  script/bench quick            the essential ones with shorter runs and the nearest peers only
  script/bench engine           the workloads of tasks, queues, timers, threads, files, children
  script/bench network          the echo servers beside the peers': CPU a message, churn, idle memory
  script/bench network-quick    the same in a minute or two
  script/bench tls, udp, http, lateness    echo over TLS and UDP, an HTTP server, how late timers are
  script/bench mixed            how long a ping, a timer and a thread's call wait beside uploads, floods, computing
  script/bench growth           what one of 1,000 to 1,000,000 tasks, timers, connections costs
  script/bench testing          orders and simulated runs a second, by libasyncio::testing
  script/bench compile          what `#include <asyncio.hpp>` costs beside its standard headers
  script/bench publish          writes what was measured last to docs/performance.md and docs/speed.svg
  script/bench callgrind        instructions for one operation; --update writes bench/baseline.json
  script/bench check            the same against bench/baseline.json: fails where it grew by over
                                --limit percent (3)
  script/bench spawn            where the instructions of one task go, by part, beside the floor
  script/bench lines            instructions and lines of cache of one message of 1,000 connections
  script/bench --install-peers  installs what the peers need (apt-get), then measures
"""

import argparse
import json
import os
import shutil
import sys
import time

import combine
import compile_time
import growth
import http_hello
import instructions
import lateness
import lines
import measure
import mixed
import network
import parts
import programs
import publish
import report
import testing
import tls
import udp
import workloads

# Never the best at anything here, so that a quick run does without them.
NOT_IN_QUICK = {"asyncio", "uvloop", "tokio_multi", "go_2", "raw_coro"}
NETWORK_IN_QUICK = ["asio", "libuv", "tokio", "streams_uring"]
QUICK_RUNS = 3
RUNS = 5
# Where ratios are near their targets and readings differ most from run to run: more, shorter runs.
MORE_RUNS = 9


def arguments():
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    split = lambda text: [part for part in text.split(",") if part]
    parser.add_argument("command", nargs="?", default="all",
                        choices=["all", "quick", *SECTIONS, "network-quick", "publish",
                                 "callgrind", "check", "spawn", "lines"])
    parser.add_argument("--build-dir", default=os.environ.get(
        "ASYNCIO_BENCH_DIR", os.path.join(programs.ROOT, "build", "bench")))
    parser.add_argument("--runs", type=int, default=0, help="rounds of each measurement")
    parser.add_argument("--workloads", type=split, default=[], help="only these, with commas")
    parser.add_argument("--peers", type=split, default=[], help="only these, with commas")
    parser.add_argument("--compilers", type=split, default=[], help="only these, with commas")
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=PROGRAM",
                        help="measure this asyncio-bench instead of building one")
    parser.add_argument("--json", default="", help="where results go (build directory)")
    parser.add_argument("--limit", type=float, default=instructions.USUAL_LIMIT,
                        help="check: percent by which a count may grow")
    parser.add_argument("--update", action="store_true", help="callgrind: write the baseline")
    parser.add_argument("--install-peers", action="store_true")
    return parser.parse_args()


def our_programs(args):
    """asyncio-bench of each compiler on each back end; on epoll only for a quick run."""
    if args.ours:
        return [programs.Program(name, "ours", [os.path.abspath(path)])
                for name, path in (entry.split("=", 1) for entry in args.ours)]
    everyone = programs.ours(args.build_dir, args.compilers)
    return [p for p in everyone if p.kind == "ours" or args.command != "quick"]


def write_json(args, name, content):
    path = args.json or os.path.join(args.build_dir, name)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump({"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
                   "machine": programs.machine(), **content}, file, indent=1)
    print("JSON:", path, flush=True)


def say(text):
    print(text, flush=True)


def compilers_of(args):
    """The compilers that build our servers; only the last, the newest clang, for a quick run."""
    found = list(programs.compilers(args.compilers).values())
    if not found:
        sys.exit("no C++ compiler was found")
    return found[-1:] if "quick" in args.command else found


def runs_of(args, usual=RUNS):
    return args.runs or (QUICK_RUNS if "quick" in args.command else usual)


def run_engine(args):
    quick = args.command == "quick"
    chosen = [w for w in workloads.WORKLOADS if not args.workloads or w.name in args.workloads]
    peers = programs.peers(args.build_dir, args.peers)
    if quick and not args.peers:
        peers = [p for p in peers if p.name not in NOT_IN_QUICK]
    everyone = our_programs(args) + peers
    samples = measure.measure(everyone, chosen, runs_of(args), 0.08 if quick else 0.25, say)
    lines = report.rows(samples, chosen, everyone)
    say("\n" + report.table(lines) + "\n")
    missed = [line["workload"] for line in lines if line.get("reached") is False]
    say("every target reached" if not missed else "missed: " + ", ".join(missed))
    both = report.backends(samples, chosen, everyone)
    if both:
        say("\non io_uring, beside epoll\n\n" + report.backends_table(both))
    return {"rows": lines, "figures": report.all_figures(samples), "backends": both}


def run_network(args):
    quick = "quick" in args.command
    peers = args.peers or (NETWORK_IN_QUICK if quick else [])
    rows = network.run(args.build_dir, compilers_of(args), peers, args.workloads,
                       runs_of(args, MORE_RUNS), 0.3 if quick else 0.5, quick)
    return {"rows": rows, "runs": runs_of(args, MORE_RUNS)}


def run_growth(args):
    rows = growth.run(args.build_dir, compilers_of(args), our_programs(args), runs_of(args), 0.5, say)
    return {"rows": rows}


def run_servers(module, seconds, usual=RUNS):
    return lambda args: {"rows": module.run(args.build_dir, compilers_of(args), args.peers,
                                            runs_of(args, usual), seconds),
                         "runs": runs_of(args, usual)}


def run_testing(args):
    found = testing.run(args.build_dir, programs.compilers(args.compilers), runs_of(args))
    say("\n".join(testing.table(found)))
    return {"rates": found}


def run_compile(args):
    return {"rows": compile_time.report(programs.compilers(args.compilers), max(runs_of(args), 7))}


SECTIONS = {"engine": run_engine, "network": run_network, "tls": run_servers(tls, 0.5, MORE_RUNS),
            "udp": run_servers(udp, 0.5), "http": run_servers(http_hello, 2),
            "lateness": run_servers(lateness, 1), "mixed": run_servers(mixed, 1, QUICK_RUNS), "growth": run_growth,
            "testing": run_testing, "compile": run_compile}
QUICK = ("engine", "network", "compile")
# The server of ours that counts in each section.
OURS = {"network": ("streams",), "tls": ("streams",), "udp": ("ours", "ours_batch"),
        "http": ("ours",), "lateness": ("ours",)}


def check_workloads(args):
    known = set(workloads.BY_NAME) | set(network.WORKLOADS)
    unknown = [name for name in args.workloads if name not in known]
    if unknown:
        sys.exit(f"no such workload: {', '.join(unknown)}")


def combined(content):
    """The rows of all sections, ours beside the best peer."""
    rows = combine.of_engine(content.get("engine", {}).get("rows", []))
    for section, ours in OURS.items():
        rows += combine.of_servers(content.get(section, {}).get("rows", []), ours)
    return rows


def run_sections(args):
    names = {"all": list(SECTIONS), "quick": QUICK, "network-quick": ("network",)}.get(
        args.command, (args.command,))
    content = {"runs": runs_of(args)}
    for name in names:
        say(f"\n== {name}")
        content[name] = SECTIONS[name](args)
        # After each, so that what was measured is kept whatever comes next.
        write_json(args, "results.json" if len(names) > 1 else f"{args.command}.json", content)
    if len(names) > 1:
        say("\n== ours beside the best peer\n\n" + combine.table(combined(content)))
    return content


def publish_results(args):
    """From the last results of a run of several sections."""
    path = args.json or os.path.join(args.build_dir, "results.json")
    try:
        with open(path) as file:
            content = json.load(file)
    except FileNotFoundError:
        sys.exit(f"{path} is missing: run script/bench first")
    publish.publish(content, combined(content))
    say(f"written: {publish.PAGE}, {publish.PICTURE}")


def run_instructions(args):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    on_epoll = [program for program in our_programs(args) if program.kind == "ours"]
    counts = instructions.count_all(on_epoll, args.workloads)
    if args.command == "check":
        return 1 if instructions.check(counts, args.limit) else 0
    if args.update:
        instructions.save(counts)
        print("written:", instructions.BASELINE)
    return 0


def run_parts(args):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    ours = {p.name: p.argv[0] for p in our_programs(args) if p.kind == "ours"}
    parts.report(ours, parts.build_floor(args.build_dir), say)
    return 0


def run_lines(args):
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing: apt-get install valgrind")
    lines.run(args.build_dir, compilers_of(args), say)
    return 0


def main():
    args = arguments()
    if args.install_peers:
        programs.install_peers()
    try:
        if args.command in ("callgrind", "check"):
            return run_instructions(args)
        if args.command == "spawn":
            return run_parts(args)
        if args.command == "lines":
            return run_lines(args)
        if args.command == "publish":
            return publish_results(args)
        check_workloads(args)
        run_sections(args)
    except programs.BuildError as error:
        sys.exit(f"script/bench: {error}")


if __name__ == "__main__":
    sys.exit(main())
