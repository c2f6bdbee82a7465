"""What one message of 1,000 connections costs an echo server in its own code: instructions, and lines of cache.

Each server runs under valgrind's cachegrind with two numbers of rounds; in a round each connection sends one message
and gets it back. The difference leaves out what starting, connecting and closing cost. The simulated caches are the same
everywhere: a first one of 32 KiB (8 ways), and a second one of 512 KiB that holds what belongs to the connections that one wait
for events has told of, but not to all. What misses the second one are hence the distinct lines of memory that a message touches and
others do not; what misses the first one is that and what was evicted meanwhile. (The hand-written loop has 32 bytes for a connection, which fit: its
lines are those that miss the first one.) The kernel's work is not seen, and prefetches are not simulated.
"""

import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time

import programs

CONNECTIONS, SIZE = 1_000, 64
FEW, MANY = 3, 23
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,64,64"]
COLUMNS = ("instructions", "missing in 32 KiB", "distinct lines")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, process):
    """Waits for the server, which valgrind makes slow to start."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise programs.BuildError("the server does not listen")
            time.sleep(0.05)


def receive(client, size):
    got = 0
    while got < size:
        data = client.recv(size - got)
        if not data:
            raise programs.BuildError("the server has closed a connection")
        got += len(data)


def load(port, process, rounds):
    message = b"x" * SIZE
    clients = [connect(port, process) for _ in range(CONNECTIONS)]
    for _ in range(rounds):
        # It finds all of them at once, so that each run has the same waits for events.
        process.send_signal(signal.SIGSTOP)
        for client in clients:
            client.sendall(message)
        process.send_signal(signal.SIGCONT)
        for client in clients:
            receive(client, SIZE)
    for client in clients:
        client.close()


def counts(argv, rounds):
    """{event: count} of a whole run."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "out")
        process = subprocess.Popen(
            ["valgrind", "--quiet", "--tool=cachegrind", *CACHES, f"--cachegrind-out-file={out}", *argv, str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **programs.EPOLL})
        try:
            load(port, process, rounds)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
        with open(out) as file:
            return totals(file.read())


def totals(text):
    names = re.search(r"^events: (.*)$", text, re.M).group(1).split()
    values = re.search(r"^summary: (.*)$", text, re.M).group(1).split()
    return dict(zip(names, map(int, values)))


def per_message(argv):
    few, many = counts(argv, FEW), counts(argv, MANY)
    share = lambda *events: sum(many[e] - few[e] for e in events) / (CONNECTIONS * (MANY - FEW))
    return share("Ir"), share("D1mr", "D1mw"), share("DLmr", "DLmw")


def servers(build_dir, compilers):
    """{name: command line without the port}"""
    found = {}
    for compiler in compilers:
        programs.build_targets(build_dir, compiler, ["asyncio-echo-streams"])
        found[f"streams, {os.path.basename(compiler)}"] = [
            os.path.join(programs.directory_of(build_dir, compiler), "bin", "asyncio-echo-streams")]
    raw = os.path.join(build_dir, "raw_epoll")
    programs.compile_peer(raw, ["gcc", "-O2"], "raw/raw_epoll.c")
    return {**found, "raw_epoll": [raw, "tcp_echo"]}


def run(build_dir, compilers, say):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * CONNECTIONS), hard), hard))
    report(servers(build_dir, compilers), say)


def report(found, say):
    say(f"\n{CONNECTIONS} connections, {SIZE} B a message; for one message\n")
    say("| server | " + " | ".join(COLUMNS) + " |")
    say("| --- |" + " --- |" * len(COLUMNS))
    for name, argv in found.items():
        instructions, missing, distinct = per_message(argv)
        say(f"| {name} | {instructions:,.0f} | {missing:.1f} | {distinct:.1f} |")
