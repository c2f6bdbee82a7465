"""Measures mixed loads: how long one connection waits for an answer while something else keeps the loop busy.

A server answers pings beside 1, 4 and 16 uploads that never pause, each block of which takes no work or 0.6 ms for
256 KiB (plain TCP and TLS), beside a flood of datagrams, and beside a pipe that is never empty. And `sleep(10ms)` and
a call from another thread run beside 10 and 100 tasks that compute for 0.2, 1 and 5 ms and yield. p50 and p99 of
each. How servers are run and compared: servers.py.
"""

import json
import os
import subprocess
from dataclasses import dataclass

import programs
import servers as common
import tls
from measure import turns
from servers import Figure, Running, Server

WORK = 2344     # ns a KiB: 0.6 ms for 256 KiB
TARGET = 1.1    # p50, over the best reference's
OURS = ("streams", "protocol", "streams_uring", "protocol_uring")
CPYTHON = ("asyncio", "asyncio_streams")


@dataclass(frozen=True)
class Load:
    name: str
    uploads: int = 0
    floods: int = 0
    pipe: bool = False
    work: int = 0
    tls: bool = False


def loads():
    found = [Load(f"{uploads} uploads{text}{over}", uploads, work=work, tls=secure)
             for secure, over in ((False, ""), (True, " over TLS"))
             for work, text in ((0, ""), (WORK, " with work")) for uploads in (1, 4, 16)]
    return found + [Load("UDP flood", floods=1), Load("pipe flood", pipe=True)]


COMPUTING = [(tasks, us) for tasks in (10, 100) for us in (200, 1000, 5000)]


def build_peers(build_dir):
    at = lambda name: os.path.join(build_dir, name)
    cc = ["gcc", "-O2"]
    common.build_peers(build_dir, {
        "mixed_load": lambda: programs.compile_peer(
            at("mixed_load"), cc + ["-pthread", "-lssl", "-lcrypto"], "loadclient/mixed.c"),
        "uv_mixed": lambda: programs.compile_peer(at("uv_mixed"), cc + ["-luv"], "libuv/mixed.c"),
        "tokio_bench": lambda: programs.build_tokio(at("tokio_bench"), build_dir),
    })
    if not os.path.exists(at("mixed_load")):
        raise programs.BuildError("mixed_load is needed and could not be built")


def python_script():
    return [os.environ.get("PEER_PYTHON", "python3"),
            os.path.join(programs.PEERS, "python", "mixed.py")]


def servers_of(directory, build_dir, load, pem):
    """All programs that can serve under this load, by their names."""
    work = str(load.work)
    kinds = {"streams": "streams", "protocol": "protocol"}
    head = {name: [f"tls-{kind}", pem] if load.tls else [kind] for name, kind in kinds.items()}
    program = os.path.join(directory, "asyncio-mixed")
    found = common.on_both_backends({name: [program] + head[name] + [work] for name in kinds})
    found += [Server("asyncio", python_script() + head["protocol"] + [work]),
              Server("asyncio_streams", python_script() + head["streams"] + [work])]
    if not load.tls:
        at = lambda name: os.path.join(build_dir, name)
        found += [Server("libuv", [at("uv_mixed"), "protocol", work]),
                  Server("tokio", [at("tokio_bench"), "mixed-serve", work])]
    return [s for s in found if os.path.exists(s.argv[0]) or s.name in CPYTHON]


def computing_programs(directory, build_dir):
    at = lambda name: os.path.join(build_dir, name)
    program = os.path.join(directory, "asyncio-mixed")
    found = [Server("ours", [program]), Server("ours_uring", [program], programs.URING),
             Server("asyncio", python_script()), Server("libuv", [at("uv_mixed")]),
             Server("tokio", [at("tokio_bench")])]
    return [s for s in found if os.path.exists(s.argv[0]) or s.name in CPYTHON]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ping(build_dir, server, load, seconds):
    """Microseconds of each ping."""
    client = os.path.join(build_dir, "mixed_load")
    flood = None
    if load.pipe:
        flood = subprocess.Popen(["taskset", "-c", common.last_core(), client, "--pipe"],
                                 stdout=subprocess.PIPE)
    try:
        running = Running(server, flood.stdout if flood else subprocess.DEVNULL)
        try:
            out = programs.run(["taskset", "-c", common.last_core(), client, str(running.port),
                                str(load.uploads), str(load.floods), str(seconds),
                                str(int(load.tls))], timeout=20 + seconds)
        finally:
            running.stop()
    finally:
        if flood:
            flood.kill()
            flood.wait()
            flood.stdout.close()
    return json.loads(out.strip().splitlines()[-1])["ping"]


def beside(program, tasks, us, seconds):
    """{"sleep": [...], "post": [...]}, microseconds late."""
    name = "mixed-compute" if program.name == "tokio" else "compute"
    out = programs.run(["taskset", "-c", common.first_core()] + program.argv +
                       [name, str(tasks), str(us), str(seconds)],
                       env={**os.environ, **program.env}, timeout=120)
    return json.loads(out.strip().splitlines()[-1])


def note(samples, workload, name, values):
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        by_name = samples.setdefault(f"{workload}, {label}", {})
        by_name.setdefault(name, []).append(percentile(values, share))


def measure(build_dir, directory, pem, runs, seconds, wanted):
    """{figure: {server: [value in each round]}}

    A peer that lets ten pings wait for 20 seconds has no figure for that load, and is not asked again.
    """
    samples, starved = {}, set()
    chosen = lambda name: not wanted or name in OURS or name in wanted
    for number in range(runs):
        for load in loads():
            if load.tls and not pem:
                continue
            for server in turns(servers_of(directory, build_dir, load, pem), number):
                workload = f"ping beside {load.name}"
                if not chosen(server.name) or (workload, server.name) in starved:
                    continue
                try:
                    note(samples, workload, server.name, ping(build_dir, server, load, seconds))
                except programs.BuildError as error:
                    if common.is_ours(server.name):
                        raise
                    print(f"{workload}: {server.name} left out: {error}", flush=True)
                    starved.add((workload, server.name))
                    for label in ("p50", "p99"):
                        samples.get(f"{workload}, {label}", {}).pop(server.name, None)
        for tasks, us in COMPUTING:
            for program in turns(computing_programs(directory, build_dir), number):
                if not chosen(program.name) and program.name not in ("ours", "ours_uring"):
                    continue
                # At least a few iterations, each of which is a sample.
                late = beside(program, tasks, us, max(seconds, 6 * tasks * us / 1e6))
                for what in ("sleep", "post"):
                    if late[what]:
                        note(samples, f"{what} beside {tasks} tasks of {us / 1000:g} ms",
                             program.name, late[what])
        print(f"mixed: round {number + 1} of {runs}", flush=True)
    return samples


def figure_of(workload):
    if workload.startswith("ping"):
        reference = CPYTHON if "TLS" in workload else CPYTHON + ("libuv", "tokio")
        judged = OURS
    else:
        reference, judged = ("asyncio",), ("ours", "ours_uring")
    if workload.endswith("p99"):
        return Figure("us", CPYTHON[:1], within_spread=True, judged=judged)
    return Figure("us", reference, TARGET, judged=judged)


def run(build_dir, compilers, peers, runs, seconds):
    """Measures what the newest of the compilers built."""
    print("building the programs of mixed loads", flush=True)
    compiler = compilers[-1]
    programs.build_targets(build_dir, compiler, ["asyncio-mixed"])
    build_peers(build_dir)
    try:
        pem = tls.make_certificate(build_dir)
    except programs.BuildError as error:
        print(f"TLS left out: {error}", flush=True)
        pem = None
    directory = os.path.join(programs.directory_of(build_dir, compiler), "bin")
    samples = measure(build_dir, directory, pem, runs, seconds, peers)
    rows = common.rows_of(samples, figure_of)
    common.show(rows)
    return rows
