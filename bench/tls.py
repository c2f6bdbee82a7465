#!/usr/bin/env python3
"""Measures TLS echo: ours with streams and with protocols, beside an OpenSSL loop written by hand.

  bench/tls.py ECHO_TLS [--seconds S] [--rounds N]

ECHO_TLS is the program asyncio-echo-tls of a release build; `script/bench tls` builds it itself. The reference
(peers/raw/raw_tls.c) is the load, too, and compares every byte. What counts is the server's CPU time a message.
How a server is run and compared: servers.py.
"""

import argparse
import json
import os
import tempfile

import programs
import servers as common
from servers import Figure, Server

SCENARIOS = [(1, 64), (50, 64), (1000, 64), (1, 16384), (50, 16384)]   # connections, bytes
REFERENCE = "raw_tls"
TARGET = 1.1


def make_certificate(build_dir):
    """A certificate for two days with its key, in one file."""
    key, certificate = (os.path.join(build_dir, name) for name in ("key.pem", "certificate.pem"))
    programs.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                  "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                  "-keyout", key, "-out", certificate])
    both = os.path.join(build_dir, "server.pem")
    with open(both, "w") as file:
        for part in (key, certificate):
            with open(part) as text:
                file.write(text.read())
    return both


def reference(build_dir, pem):
    """Builds the reference."""
    raw = os.path.join(build_dir, "raw_tls")
    programs.compile_peer(raw, ["gcc", "-O2", "-lssl", "-lcrypto"], "raw/raw_tls.c")
    return Server(REFERENCE, [raw, "server", pem])


def ours(echo_tls, pem):
    return common.on_both_backends({kind: [echo_tls, pem, kind] for kind in ("streams", "protocol")})


def measure(build_dir, server, scenario, seconds):
    connections, size = scenario
    out = programs.run(["taskset", "-c", common.last_core(), os.path.join(build_dir, "raw_tls"),
                        "client", str(server.port), str(connections), str(size), str(seconds),
                        str(server.process.pid)], timeout=60 + seconds)
    figures = json.loads(out.strip().splitlines()[-1])
    return {f"tls_echo {connections} x {size} B": figures["server_cpu_ns"]}


def compare(build_dir, everyone, runs, seconds):
    samples = common.take_turns("tls_echo", everyone, SCENARIOS, runs,
                                lambda server, at: measure(build_dir, server, at, seconds))
    figure = Figure("server CPU ns", (REFERENCE,), TARGET)
    rows = common.rows_of(samples, lambda workload: figure)
    common.show(rows)
    return rows


def run(build_dir, compilers, peers, runs, seconds):
    """Returns the rows; none where TLS, OpenSSL's program or its headers are missing."""
    print("building the TLS servers", flush=True)
    try:
        os.makedirs(build_dir, exist_ok=True)
        pem = make_certificate(build_dir)
        everyone = common.build_ours(build_dir, compilers, ["asyncio-echo-tls"], lambda directory: ours(
            os.path.join(directory, "asyncio-echo-tls"), pem))
        everyone.append(reference(build_dir, pem))
    except programs.BuildError as error:
        print(f"tls_echo left out: {error}", flush=True)
        return []
    return compare(build_dir, common.that_start(everyone), runs, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("echo_tls")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pem = make_certificate(folder)
        everyone = ours(os.path.abspath(arguments.echo_tls), pem) + [reference(folder, pem)]
        compare(folder, common.that_start(everyone), arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
