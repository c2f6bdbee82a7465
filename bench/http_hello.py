"""Measures HTTP: the example http_hello beside the peers' servers, under `wrk` with 64 connections.

Two figures of each: the server's CPU time a request, and the time that passes for one (its inverse is requests a
second, which is printed, too). `wrk` checks the status only, so that one answer is compared before. How a server
is run and compared: servers.py.
"""

import os
import re
import shutil
import subprocess
import urllib.request

import programs
import servers as common
from servers import Figure, Server

CONNECTIONS = 64
RUNTIMES = ("beast", "hyper", "go", "node", "aiohttp", "aiohttp_uvloop")
PAGE = b"hello, world!"
CPU, ELAPSED = "http_hello, server CPU a request", "http_hello, time for a request"


def build_peers(build_dir):
    at = lambda name: os.path.join(build_dir, name)
    cxx = ["g++", "-std=c++20", "-O2", "-DNDEBUG", "-pthread"]
    common.build_peers(build_dir, {
        "raw_epoll": lambda: programs.compile_peer(at("raw_epoll"), ["gcc", "-O2"],
                                                   "raw/raw_epoll.c"),
        "beast_http": lambda: programs.compile_peer(at("beast_http"), cxx, "asio/http.cpp"),
        "hyper_http": lambda: programs.build_crate("hyper", at("hyper_http"), build_dir),
        "go_bench": lambda: programs.build_go(at("go_bench")),
    })


def has_modules(python, modules):
    return subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def python_servers():
    script = os.path.join(programs.PEERS, "python", "aiohttp_hello.py")
    for name in ("python3", "/usr/bin/python3"):
        python = shutil.which(name)
        if not python or not has_modules(python, "aiohttp"):
            continue
        found = [Server("aiohttp", [python, script, "http_hello"])]
        if has_modules(python, "aiohttp, uvloop"):
            found.append(Server("aiohttp_uvloop", [python, script, "http_hello"],
                                {"PEER_LOOP": "uvloop"}))
        return found
    print("peer aiohttp left out: no Python here has it", flush=True)
    return []


def ours(directory):
    return common.on_both_backends({"ours": [os.path.join(directory, "examples", "http_hello")]})


def servers(build_dir, compilers, wanted):
    """Builds ours and the peers, and gives those that were built and are `wanted` (all if it is empty)."""
    at = lambda name: os.path.join(build_dir, name)
    found = common.build_ours(build_dir, compilers, ["example-http-hello"], ours)
    build_peers(build_dir)
    found += [
        Server("raw_epoll", [at("raw_epoll"), "http_hello"]),
        Server("beast", [at("beast_http"), "http_hello"]),
        Server("hyper", [at("hyper_http"), "http_hello"]),
        Server("go", [at("go_bench"), "http_hello"]),
    ]
    if node := shutil.which("node"):
        script = os.path.join(programs.PEERS, "node", "http_hello.js")
        found.append(Server("node", [node, script, "http_hello"]))
    found += python_servers()
    return [s for s in found if os.path.exists(s.argv[0])
            and (not wanted or s.name in wanted or common.is_ours(s.name))]


def check_page(server):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as answer:
            body = answer.read()
    except OSError as error:
        raise programs.BuildError(f"{server.name} does not send the page: {error}") from error
    if body.lower() != PAGE:
        raise programs.BuildError(f"{server.name} sends another page: {body[:50]!r}")


def wrk(server, seconds):
    """How many requests were answered, and in how many seconds."""
    command = ["taskset", "-c", common.last_core(), "wrk", "-t1", f"-c{CONNECTIONS}",
               f"-d{seconds}", f"http://127.0.0.1:{server.port}/"]
    out = programs.run(command, timeout=60 + seconds)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", out)
    if "Non-2xx" in out or (broken and any(int(n) for n in broken.groups())):
        raise programs.BuildError(f"wrk is not content with {server.name}:\n{out}")
    line = next(line for line in out.splitlines() if " requests in " in line)
    per_second = next(line for line in out.splitlines() if line.startswith("Requests/sec:"))
    return int(line.split()[0]), float(per_second.split()[1])


def measure(server, seconds):
    check_page(server)
    wrk(server, 1)    # until all is warm
    before = server.cpu_ns()
    count, per_second = wrk(server, max(1, round(seconds)))
    return {CPU: (server.cpu_ns() - before) / max(count, 1), ELAPSED: 1e9 / per_second}


def figure_of(workload):
    if workload == CPU:
        return Figure("ns", RUNTIMES, within_spread=True, judged=("ours",))
    return Figure("ns", RUNTIMES, judged=())


def run(build_dir, compilers, peers, runs, seconds):
    """Returns the rows; none without wrk."""
    if not shutil.which("wrk"):
        print("http_hello left out: wrk is missing", flush=True)
        return []
    print("building the HTTP servers", flush=True)
    everyone = common.that_start(servers(build_dir, compilers, peers))
    samples = common.take_turns("http_hello", everyone, ["http_hello"], runs,
                                lambda server, _: measure(server, seconds))
    rows = common.rows_of(samples, figure_of)
    for row in rows:
        if row["workload"] == ELAPSED:
            row["per_second"] = 1e9 / row["median"]
    common.show(rows)
    rates = sorted((row for row in rows if "per_second" in row), key=lambda r: -r["per_second"])
    print("requests a second: " + ", ".join(
        f"{row['server']} {row['per_second']:,.0f}" for row in rates), flush=True)
    return rows
