#!/usr/bin/env python3
"""Measures TLS: our echo servers beside an OpenSSL loop written by hand (peers/raw/raw_tls.c).

  bench/tls.py ECHO_TLS [--seconds S] [--rounds N]

ECHO_TLS is the program asyncio-echo-tls of a release build. The servers run on the first core, the load
client, which compares every byte, on the last one. What counts is the server's CPU time a message, as a
ratio to the one of raw_tls in the same round; the median of the rounds is printed with its spread.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = [(1, 64), (50, 64), (1000, 64), (1, 16384), (50, 16384)]   # connections, bytes
TARGET = 1.1


def prepare(folder):
    """Builds raw_tls and makes a certificate; returns both."""
    raw, key, certificate = folder / "raw_tls", folder / "key.pem", folder / "certificate.pem"
    subprocess.run(["gcc", "-O2", str(HERE / "peers/raw/raw_tls.c"), "-o", str(raw), "-lssl",
                    "-lcrypto"], check=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-keyout", str(key), "-out", str(certificate)],
                   check=True, stderr=subprocess.DEVNULL)
    pem = folder / "server.pem"
    pem.write_text(key.read_text() + certificate.read_text())
    return raw, pem


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def measure(raw, command, connections, size, seconds):
    """The server's CPU time a message, in ns."""
    cores = sorted(os.sched_getaffinity(0))
    port = command[-1]
    server = subprocess.Popen(["taskset", "-c", str(cores[0])] + command, stdout=subprocess.PIPE,
                              text=True)
    try:
        if server.stdout.readline().strip() != "# ready":
            raise RuntimeError(f"{command[0]} does not start")
        client = ["taskset", "-c", str(cores[-1]), str(raw), "client", port, str(connections),
                  str(size), str(seconds), str(server.pid)]
        out = subprocess.run(client, check=True, capture_output=True, text=True,
                             timeout=60 + seconds).stdout
        return json.loads(out)["server_cpu_ns"]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("echo_tls")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, pem = prepare(pathlib.Path(folder))
        print(f"{'connections':>11} {'bytes':>6} {'raw ns':>8}   streams/raw (spread)   "
              "protocol/raw (spread)")
        for connections, size in SCENARIOS:
            base, ratios = [], {"streams": [], "protocol": []}
            for _ in range(arguments.rounds):
                reference = measure(raw, [str(raw), "server", str(pem), free_port()], connections,
                                    size, arguments.seconds)
                base.append(reference)
                for kind, values in ratios.items():
                    command = [arguments.echo_tls, str(pem), kind, free_port()]
                    values.append(measure(raw, command, connections, size, arguments.seconds) /
                                  reference)
            cells = [f"{statistics.median(v):.2f} ({min(v):.2f} to {max(v):.2f})"
                     for v in ratios.values()]
            print(f"{connections:>11} {size:>6} {statistics.median(base):>8.0f}   "
                  f"{cells[0]:<20}   {cells[1]}", flush=True)
    print(f"target: {TARGET}")


main()
