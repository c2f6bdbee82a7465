"""Measures the echo servers: ours with streams and with protocols, on both back ends, beside the peers'.

The load client (peers/loadclient) compares every byte that comes back. What counts is the CPU time that the
server needs for a message: on a loopback the client's core is the limit, so that messages a second are the
same for all fast servers. How a server is run and compared: servers.py.
"""

import json
import os
import resource
import subprocess
import time

import programs
import servers as common
from servers import Figure, Running, Server

# connections, bytes of a message, messages under way on each connection
ECHO = [(1, 64, 1), (50, 64, 1), (1000, 64, 1), (1, 64, 16), (50, 64, 16), (1000, 64, 16),
        (1, 16384, 1), (50, 16384, 1), (1000, 16384, 1)]
QUICK_ECHO = [(50, 64, 1), (50, 64, 16), (50, 16384, 1)]
LATENCY = (50, 64, 1)   # the scenario whose round trips are reported, too
WORKLOADS = ("tcp_echo", "churn", "idle_10k")
TARGET = 1.05           # our CPU a message over raw_epoll's
IDLE_TARGET = 1024      # bytes of user memory for an idle connection
CHURN_TARGET = 1 / 0.95
IDLE_CONNECTIONS = 10_000

OURS = ("streams", "protocol")
REFERENCE = "raw_epoll"
RUNTIMES = ("asio", "libuv", "tokio", "go", "asyncio")


def ours(directory):
    return common.on_both_backends({
        kind: [os.path.join(directory, f"asyncio-echo-{kind}")] for kind in OURS})


def build_ours(build_dir, compilers):
    return common.build_ours(build_dir, compilers,
                             ["asyncio-echo-streams", "asyncio-echo-protocol"], ours)


def build_peers(build_dir):
    """Builds what can be built here; what cannot is named and left out."""
    at = lambda name: os.path.join(build_dir, name)
    cc, cxx = ["gcc", "-O2"], ["g++", "-std=c++20", "-O2", "-DNDEBUG"]
    compile_peer = programs.compile_peer
    common.build_peers(build_dir, {
        "loadclient": lambda: compile_peer(at("loadclient"), cc, "loadclient/loadclient.c"),
        "raw_epoll": lambda: compile_peer(at("raw_epoll"), cc, "raw/raw_epoll.c"),
        "raw_uring": lambda: compile_peer(at("raw_uring"), cc + ["-luring"], "raw/raw_uring.c"),
        "asio_echo": lambda: compile_peer(at("asio_echo"), cxx + ["-pthread"], "asio/echo.cpp"),
        "uv_bench": lambda: compile_peer(at("uv_bench"), cc + ["-luv"], "libuv/bench.c"),
        "tokio_bench": lambda: programs.build_tokio(at("tokio_bench"), build_dir),
        "go_bench": lambda: programs.build_go(at("go_bench")),
    })
    for name in ("loadclient", REFERENCE):
        if not os.path.exists(at(name)):
            raise programs.BuildError(f"{name} is needed and could not be built")


def peers(build_dir):
    at = lambda name: os.path.join(build_dir, name)
    script = os.path.join(programs.PEERS, "python", "bench.py")
    return [
        Server(REFERENCE, [at("raw_epoll"), "tcp_echo"]),
        Server("raw_uring", [at("raw_uring"), "tcp_echo"]),
        Server("asio", [at("asio_echo"), "tcp_echo"]),
        Server("libuv", [at("uv_bench"), "tcp_echo"]),
        Server("tokio", [at("tokio_bench"), "tcp_echo"], {"TOKIO_FLAVOR": "current"}),
        Server("go", [at("go_bench"), "tcp_echo"]),
        Server("asyncio", [os.environ.get("PEER_PYTHON", "python3"), script, "tcp_echo"]),
    ]


def servers(build_dir, compilers, wanted):
    """Builds ours and the peers, and gives those that were built and are `wanted` (all if it is empty)."""
    found = build_ours(build_dir, compilers)
    build_peers(build_dir)
    found += peers(build_dir)
    always = set(OURS) | {REFERENCE}
    chosen = lambda s: not wanted or s.name.split()[0] in always.union(wanted)
    return [s for s in found if (os.path.exists(s.argv[0]) or s.name == "asyncio") and chosen(s)]


def client(build_dir, server, *args):
    return subprocess.Popen(
        ["taskset", "-c", common.last_core(), os.path.join(build_dir, "loadclient"), "127.0.0.1",
         str(server.port)] + [str(a) for a in args], stdout=subprocess.PIPE, text=True)


def load(build_dir, server, *args):
    """Runs the load client; returns its figures and the server's CPU nanoseconds an operation."""
    process = client(build_dir, server, *args)
    before = figures = None
    for line in process.stdout:
        if line.startswith("#"):
            before = server.cpu_ns()    # the warm-up is over
        else:
            figures = json.loads(line)
    used = server.cpu_ns() - (before or 0)
    if process.wait() != 0 or not figures:
        raise programs.BuildError(f"the load client failed against {server.name}: {args}")
    figures["server_cpu_ns"] = used / max(figures["count"], 1)
    return figures


def idle_bytes(build_dir, server):
    """What an idle connection costs the server's resident memory."""
    process = client(build_dir, server, 1, 64, 0.1, "idle")
    process.communicate()
    before = server.resident()
    process = client(build_dir, server, IDLE_CONNECTIONS, 64, 1, "idle")
    process.stdout.readline()
    time.sleep(0.3)
    grown = server.resident() - before
    process.communicate()
    return grown / IDLE_CONNECTIONS


def echo(build_dir, server, scenario, seconds):
    """{workload: figure} of one scenario of tcp_echo."""
    connections, size, pipeline = scenario
    figures = load(build_dir, server, connections, size, seconds, pipeline)
    out = {f"tcp_echo {connections} x {size} B, pipeline {pipeline}": figures["server_cpu_ns"]}
    if scenario == LATENCY:
        for name, field in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")):
            out[f"latency {connections} x {size} B, {name} us"] = figures[field]
    return out


def measure(build_dir, all_servers, workloads, runs, seconds, quick):
    """{workload: {server: [figure of each round]}}"""
    scenarios = list(QUICK_ECHO if quick else ECHO) if "tcp_echo" in workloads else []
    scenarios += ["churn"] if "churn" in workloads else []

    def one(server, scenario):
        if scenario != "churn":
            return echo(build_dir, server, scenario, seconds)
        figures = load(build_dir, server, 50, 64, seconds, "churn")
        return {"churn, ns a connection": figures["server_cpu_ns"]}

    def idle(server, _):
        return {"idle_10k, bytes a connection": idle_bytes(build_dir, server)}

    samples = common.take_turns("network", all_servers, scenarios, runs, one) if scenarios else {}
    if "idle_10k" in workloads:
        for server in all_servers:
            for workload, values in common.take_turns(
                    f"idle_10k, {server.name}", [server], ["idle"], 1, idle).items():
                samples.setdefault(workload, {}).update(values)
    return samples


def figure_of(workload):
    if workload.startswith("latency"):
        return Figure("us of a round trip", RUNTIMES, within_spread="p99.9" in workload)
    if workload.startswith("idle"):
        return Figure("bytes", (REFERENCE,), limit=IDLE_TARGET)
    target = CHURN_TARGET if workload.startswith("churn") else TARGET
    return Figure("server CPU ns", (REFERENCE,), target)


def run(build_dir, compilers, wanted, workloads, runs, seconds, quick):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    chosen = [w for w in WORKLOADS if not workloads or w in workloads]
    if limit < IDLE_CONNECTIONS + 100 and "idle_10k" in chosen:
        print(f"idle_10k left out: only {limit} descriptors are allowed", flush=True)
        chosen.remove("idle_10k")
    print("building the echo servers", flush=True)
    everyone = common.that_start(servers(build_dir, compilers, wanted))
    rows = common.rows_of(measure(build_dir, everyone, chosen, runs, seconds, quick), figure_of)
    common.show(rows)
    return rows
