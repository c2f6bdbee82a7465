"""Measures the echo servers: ours with streams and with protocols, beside the peers'.

A server runs on the first core, the load client (peers/loadclient) on the last one; it compares every
byte that comes back. What counts is the CPU time that the server needs for a message: on a loopback the
client's core is the limit, so that messages a second are the same for all fast servers. Servers take
turns in each round, and ratios are taken within a round, since the machine's speed changes.
"""

import glob
import json
import os
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass

import programs

# connections, bytes of a message, messages under way on each connection
ECHO = [(1, 64, 1), (50, 64, 1), (1000, 64, 1), (1, 64, 16), (50, 64, 16), (1000, 64, 16),
        (1, 16384, 1), (50, 16384, 1), (1000, 16384, 1)]
QUICK_ECHO = [(50, 64, 1), (50, 64, 16), (50, 16384, 1)]
WORKLOADS = ("tcp_echo", "churn", "idle_10k")
TARGET = 1.05           # our CPU a message over raw_epoll's
IDLE_TARGET = 1024      # bytes of user memory for an idle connection
CHURN_TARGET = 1 / 0.95
IDLE_CONNECTIONS = 10_000

OURS = ("streams", "protocol")
REFERENCE = "raw_epoll"


@dataclass(frozen=True)
class Server:
    name: str
    argv: list
    env: dict


def build_ours(build_dir, compiler):
    """Builds the echo servers in release mode and returns where they are."""
    directory = os.path.join(build_dir, "ours-" + os.path.basename(compiler))
    environment = {k: v for k, v in os.environ.items() if k not in ("CXX", "CC")}
    configure = ["cmake", "-S", programs.ROOT, "-B", directory, "-DCMAKE_BUILD_TYPE=Release",
                 f"-DCMAKE_CXX_COMPILER={compiler}", "-DASYNCIO_TESTS=OFF",
                 "-DASYNCIO_EXAMPLES=OFF", "-DASYNCIO_BENCH=ON"]
    programs.run(configure, env=environment)
    programs.run(["cmake", "--build", directory, "-j2", "--target", "asyncio-echo-streams",
                  "asyncio-echo-protocol"], env=environment)
    return os.path.join(directory, "bin")


def build_peers(build_dir):
    """Builds what can be built here; what cannot is named and left out."""
    os.makedirs(build_dir, exist_ok=True)
    at = lambda name: os.path.join(build_dir, name)
    cc, cxx = ["gcc", "-O2"], ["g++", "-std=c++20", "-O2", "-DNDEBUG"]
    compile_peer = programs.compile_peer
    builds = {
        "loadclient": lambda: compile_peer(at("loadclient"), cc, "loadclient/loadclient.c"),
        "raw_epoll": lambda: compile_peer(at("raw_epoll"), cc, "raw/raw_epoll.c"),
        "asio_echo": lambda: compile_peer(at("asio_echo"), cxx + ["-pthread"], "asio/echo.cpp"),
        "uv_bench": lambda: compile_peer(at("uv_bench"), cc + ["-luv"], "libuv/bench.c"),
        "tokio_bench": lambda: programs.build_tokio(at("tokio_bench"), build_dir),
        "go_bench": lambda: programs.build_go(at("go_bench")),
    }
    for name, build in builds.items():
        try:
            build()
        except programs.BuildError as error:
            first = [line for line in str(error).splitlines() if "error" in line.lower()]
            print(f"peer {name} left out: {(first or [str(error)])[0].strip()[:160]}", flush=True)
    for name in ("loadclient", REFERENCE):
        if not os.path.exists(at(name)):
            raise programs.BuildError(f"{name} is needed and could not be built")


def servers(build_dir, ours_dir, wanted):
    at = lambda name: os.path.join(build_dir, name)
    script = os.path.join(programs.PEERS, "python", "bench.py")
    found = [
        Server("streams", [os.path.join(ours_dir, "asyncio-echo-streams")], {}),
        Server("protocol", [os.path.join(ours_dir, "asyncio-echo-protocol")], {}),
        Server(REFERENCE, [at("raw_epoll"), "tcp_echo"], {}),
        Server("asio", [at("asio_echo"), "tcp_echo"], {}),
        Server("libuv", [at("uv_bench"), "tcp_echo"], {}),
        Server("tokio", [at("tokio_bench"), "tcp_echo"], {"TOKIO_FLAVOR": "current"}),
        Server("go", [at("go_bench"), "tcp_echo"], {}),
        Server("asyncio", [os.environ.get("PEER_PYTHON", "python3"), script, "tcp_echo"], {}),
    ]
    always = set(OURS) | {REFERENCE}
    return [s for s in found if (os.path.exists(s.argv[0]) or s.name == "asyncio")
            and (not wanted or s.name in wanted or s.name in always)]


class Running:
    """A server that runs, pinned to the first core."""

    next_port = 20000 + os.getpid() % 10000

    def __init__(self, server):
        Running.next_port += 1
        self.name, self.port = server.name, Running.next_port
        self.process = subprocess.Popen(
            ["taskset", "-c", str(min(os.sched_getaffinity(0)))] + server.argv + [str(self.port)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **server.env})
        while True:
            line = self.process.stdout.readline()
            if "ready" in line:
                return
            if not line:
                raise programs.BuildError(f"{server.name} did not start")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def cpu_ns(self):
        total = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            try:
                with open(path) as account:
                    total += int(account.read().split()[0])
            except OSError:
                pass    # a thread that has just ended
        return total

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0


def client(build_dir, server, *args):
    return subprocess.Popen(
        ["taskset", "-c", str(max(os.sched_getaffinity(0))), os.path.join(build_dir, "loadclient"),
         "127.0.0.1", str(server.port)] + [str(a) for a in args], stdout=subprocess.PIPE, text=True)


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


def measure(build_dir, all_servers, workloads, runs, seconds, quick):
    """{workload: {server: [figure of each round]}}"""
    samples = {}
    note = lambda workload, name, value: samples.setdefault(workload, {}).setdefault(
        name, []).append(value)
    for number in range(runs):
        running = [Running(s) for s in all_servers]
        try:
            for scenario in (QUICK_ECHO if quick else ECHO) if "tcp_echo" in workloads else []:
                connections, size, pipeline = scenario
                name = f"tcp_echo {connections} x {size} B, pipeline {pipeline}"
                for server in running:
                    figures = load(build_dir, server, connections, size, seconds, pipeline)
                    note(name, server.name, figures["server_cpu_ns"])
            if "churn" in workloads:
                for server in running:
                    figures = load(build_dir, server, 50, 64, seconds, "churn")
                    note("churn, ns a connection", server.name, figures["server_cpu_ns"])
        finally:
            for server in running:
                server.stop()
        print(f"network: round {number + 1} of {runs}", flush=True)
    if "idle_10k" in workloads:
        for each in all_servers:
            server = Running(each)
            try:
                note("idle_10k, bytes a connection", server.name, idle_bytes(build_dir, server))
            finally:
                server.stop()
    return samples


def report(samples):
    """Prints the table; returns its rows and whether all targets are reached."""
    rows, missed = [], []
    for workload, by_server in samples.items():
        idle = workload.startswith("idle")
        print(f"\n{workload}" + ("" if idle else "  [server CPU ns, and over raw_epoll's]"))
        reference = by_server[REFERENCE]
        for name, values in sorted(by_server.items(), key=lambda item: statistics.median(item[1])):
            ratios = [a / b for a, b in zip(values, reference) if b > 0]
            row = {"workload": workload, "server": name, "median": statistics.median(values),
                   "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                   "samples": [round(value, 1) for value in values]}
            rows.append(row)
            spread = "" if idle else f"  {row['ratio']:.3f}  ({row['least']:.3f} .. {row['most']:.3f})"
            print(f"  {name:12} {row['median']:12,.0f}{spread}")
            if name != "streams":
                continue
            reached = row["median"] < IDLE_TARGET if idle else row["ratio"] <= (
                CHURN_TARGET if workload.startswith("churn") else TARGET)
            if not reached:
                missed.append(workload)
    print("\nevery target reached" if not missed else "\nmissed: " + "; ".join(missed))
    return rows


def run(build_dir, compiler, peers, workloads, runs, seconds, quick):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    chosen = [w for w in WORKLOADS if not workloads or w in workloads]
    if limit < IDLE_CONNECTIONS + 100 and "idle_10k" in chosen:
        print(f"idle_10k left out: only {limit} descriptors are allowed", flush=True)
        chosen.remove("idle_10k")
    print("building the echo servers", flush=True)
    ours_dir = build_ours(build_dir, compiler)
    build_peers(build_dir)
    everyone = servers(build_dir, ours_dir, peers)
    return report(measure(build_dir, everyone, chosen, runs, seconds, quick))
