"""Measures UDP echo: ours with the awaitable endpoint (one by one, and all that are there), with a protocol,
and on io_uring, beside a loop written by hand (peers/raw/raw_udp.c, which is the load, too), libuv and tokio.

The load compares every byte and sends again what was not answered in time. What counts is the server's CPU time
for a datagram that comes and is sent back. How a server is run and compared: servers.py.
"""

import json
import os

import programs
import servers as common
from servers import Figure, Server

# sockets of the load, bytes of a datagram, datagrams under way on each: no more than a receive buffer of
# the usual size holds, so that nothing is lost
SCENARIOS = [(1, 64, 16), (50, 64, 1), (1, 1200, 16), (50, 1200, 1)]
REFERENCE = "raw_udp"
TARGET = 1.05    # of the server that takes and sends many at once, as the reference does


def build_peers(build_dir):
    at = lambda name: os.path.join(build_dir, name)
    compile_peer, cc = programs.compile_peer, ["gcc", "-O2"]
    common.build_peers(build_dir, {
        "raw_udp": lambda: compile_peer(at("raw_udp"), cc, "raw/raw_udp.c"),
        "uv_bench": lambda: compile_peer(at("uv_bench"), cc + ["-luv"], "libuv/bench.c"),
        "tokio_bench": lambda: programs.build_tokio(at("tokio_bench"), build_dir),
    })
    if not os.path.exists(at("raw_udp")):
        raise programs.BuildError("raw_udp is needed and could not be built")


def ours(directory):
    program = os.path.join(directory, "asyncio-echo-udp")
    return common.on_both_backends({
        "ours": [program, "endpoint"], "ours_batch": [program, "batch"],
        "ours_protocol": [program, "protocol"]})


def servers(build_dir, compilers, wanted):
    """Builds ours and the peers, and gives those that were built and are `wanted` (all if it is empty)."""
    at = lambda name: os.path.join(build_dir, name)
    found = common.build_ours(build_dir, compilers, ["asyncio-echo-udp"], ours)
    build_peers(build_dir)
    found += [
        Server(REFERENCE, [at("raw_udp"), "server"]),
        Server("libuv", [at("uv_bench"), "udp_echo"]),
        Server("tokio", [at("tokio_bench"), "udp_echo"], {"TOKIO_FLAVOR": "current"}),
    ]
    return [s for s in found if os.path.exists(s.argv[0]) and (
        not wanted or s.name in wanted or s.name == REFERENCE or common.is_ours(s.name))]


def measure(build_dir, server, scenario, seconds):
    sockets, size, window = scenario
    out = programs.run(["taskset", "-c", common.last_core(), os.path.join(build_dir, "raw_udp"),
                        "client", str(server.port), str(sockets), str(size), str(seconds),
                        str(server.process.pid), str(window)], timeout=60 + seconds)
    figures = json.loads(out.strip().splitlines()[-1])
    if figures["lost"]:
        print(f"{server.name}: {figures['lost']} of {figures['n']} sent again", flush=True)
    return {f"udp_echo {sockets} x {size} B": figures["server_cpu_ns"]}


def run(build_dir, compilers, peers, runs, seconds):
    print("building the UDP servers", flush=True)
    everyone = common.that_start(servers(build_dir, compilers, peers))
    samples = common.take_turns("udp_echo", everyone, SCENARIOS, runs,
                                lambda server, at: measure(build_dir, server, at, seconds))
    figure = Figure("server CPU ns", (REFERENCE,), TARGET, judged=("ours_batch",))
    rows = common.rows_of(samples, lambda workload: figure)
    common.show(rows)
    return rows
