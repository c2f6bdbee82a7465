"""What the measurements of servers have in common: programs of ours, servers that run, ratios, the table.

A server runs on the first core, its load on the last one. Servers take turns in each round, and ratios are
taken within the round, since the machine's speed changes. Of every figure less is better.
"""

import glob
import os
import statistics
import subprocess
from dataclasses import dataclass, field, replace

import programs
from measure import turns
from programs import URING


@dataclass(frozen=True)
class Server:
    name: str
    argv: list
    env: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """What a workload's figure is, and what it is compared with."""
    unit: str
    reference: tuple        # the servers whose best is the reference
    target: float = None    # the greatest ratio to it
    limit: float = None     # or the greatest median, whatever others have
    within_spread: bool = False    # or no worse than the reference's worst run
    judged: tuple = ("streams",)   # the servers of ours that have to reach it


def on_both_backends(kinds):
    """Servers of {name: command line} on epoll, and on io_uring with `_uring` behind their names."""
    return [Server(name, argv) for name, argv in kinds.items()] + [
        Server(f"{name}_uring", argv, URING) for name, argv in kinds.items()]


def first_core():
    return str(min(os.sched_getaffinity(0)))


def last_core():
    return str(max(os.sched_getaffinity(0)))


def build_ours(build_dir, compilers, targets, make):
    """Builds programs of ours in release mode with each compiler, and gives `make(directory)` of each:
    the last one's servers by their names, others with their compiler's behind."""
    found = []
    for compiler in reversed(compilers):
        programs.build_targets(build_dir, compiler, targets)
        made = make(os.path.join(programs.directory_of(build_dir, compiler), "bin"))
        label = "" if compiler == compilers[-1] else " " + os.path.basename(compiler)
        found += [replace(server, name=server.name + label) for server in made]
    return found


def build_peers(build_dir, builds):
    """Calls the functions of {name: function}. What cannot be built here is named and left out."""
    os.makedirs(build_dir, exist_ok=True)
    for name, build in builds.items():
        try:
            build()
        except programs.BuildError as error:
            first = [line for line in str(error).splitlines() if "error" in line.lower()]
            print(f"peer {name} left out: {(first or [str(error)])[0].strip()[:160]}", flush=True)


class Running:
    """A server that runs, pinned to the first core."""

    next_port = 20000 + os.getpid() % 10000

    def __init__(self, server, stdin=None):
        Running.next_port += 1
        self.name, self.port = server.name, Running.next_port
        self.process = subprocess.Popen(
            ["taskset", "-c", first_core()] + server.argv + [str(self.port)],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **server.env})
        while True:
            line = self.process.stdout.readline()
            if "ready" in line:
                break
            if not line:
                self.stop()
                raise programs.BuildError(f"{server.name} did not start")
        if server.env == URING and not self.uses_uring():
            self.stop()
            raise programs.BuildError(f"{server.name}: io_uring is refused here")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def uses_uring(self):
        """Whether it runs on io_uring: where that is refused, epoll serves in its place."""
        paths = glob.glob(f"/proc/{self.process.pid}/fd/*")
        return any("io_uring" in os.readlink(path) for path in paths if os.path.islink(path))

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


def is_ours(name):
    return name.startswith(("ours", "streams", "protocol"))


def that_start(all_servers):
    """Those of the servers that start here; the others are named."""
    found = []
    for server in all_servers:
        try:
            Running(server).stop()
            found.append(server)
        except programs.BuildError as error:
            if is_ours(server.name) and server.env != URING:
                raise
            print(f"left out: {error}", flush=True)
    return found


def one_round(running, scenarios, measure, samples):
    """Measures the servers in turn; returns the name of a peer that failed, if one did."""
    for scenario in scenarios:
        for server in running:
            try:
                figures = measure(server, scenario)
            except programs.BuildError as error:
                if is_ours(server.name):
                    raise
                print(f"{server.name} left out from now on: {error}", flush=True)
                return server.name
            for workload, value in figures.items():
                samples.setdefault(workload, {}).setdefault(server.name, []).append(value)
    return None


def in_order(samples, everyone):
    """The samples of each workload in the order of the programs, whatever order a round had."""
    names = [each.name for each in everyone]
    return {workload: {name: by_name[name] for name in names if name in by_name}
            for workload, by_name in samples.items()}


def take_turns(title, all_servers, scenarios, runs, measure):
    """{workload: {server: [figure of each round]}}, of `measure(server, scenario)`: {workload: figure}.

    A round in which a peer fails is begun again without that peer.
    """
    samples, left, done = {}, list(all_servers), 0
    while done < runs:
        running, fresh = [], {}
        try:
            for each in left:
                running.append(Running(each))
            failed = one_round(turns(running, done), scenarios, measure, fresh)
        finally:
            for server in running:
                server.stop()
        if failed:
            left = [s for s in left if s.name != failed]
            for by_server in samples.values():
                by_server.pop(failed, None)
            continue
        for workload, by_server in fresh.items():
            for name, values in by_server.items():
                samples.setdefault(workload, {}).setdefault(name, []).extend(values)
        done += 1
        print(f"{title}: round {done} of {runs}", flush=True)
    return in_order(samples, all_servers)


def reference_of(by_server, figure):
    """The name of the best server of those to compare with."""
    have = [name for name in figure.reference if name in by_server]
    return min(have, key=lambda name: statistics.median(by_server[name]), default=None)


def rows_of(samples, figure_of):
    """One row for each workload and server; `figure_of(workload)` is the workload's Figure."""
    rows = []
    for workload, by_server in samples.items():
        figure = figure_of(workload)
        name = reference_of(by_server, figure)
        base = by_server.get(name, [])
        target = figure.target
        if figure.within_spread and base:
            target = max(base) / max(statistics.median(base), 1e-9)
        for server, values in by_server.items():
            ratios = [a / b for a, b in zip(values, base) if b > 0] or [1.0]
            judged = server in figure.judged
            rows.append({
                "workload": workload, "server": server, "unit": figure.unit,
                "median": statistics.median(values), "ratio": statistics.median(ratios),
                "least": min(ratios), "most": max(ratios), "reference": name,
                "target": target if judged else None, "limit": figure.limit if judged else None,
                "samples": [round(value, 1) for value in values]})
    return rows


def reached(row):
    """Whether a row reaches its target; None if it has none."""
    if row["limit"] is not None:
        return row["median"] <= row["limit"]
    if row["target"] is None or row["reference"] is None:
        return None
    return row["ratio"] <= row["target"]


def verdict(row):
    done = reached(row)
    if done is None:
        return ""
    bound = f"{row['limit']:g}" if row["limit"] is not None else f"{row['target']:.2f}"
    return f"  {'ok' if done else 'MISSED'}, target {bound}"


def show(rows):
    """Prints the rows, workload by workload, and which targets are missed."""
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = [row for row in rows if row["workload"] == workload]
        beside = f", and over {here[0]['reference']}'s" if here[0]["reference"] else ""
        print(f"\n{workload}  [{here[0]['unit']}{beside}]")
        for row in sorted(here, key=lambda row: row["median"]):
            spread = f"  {row['ratio']:.3f}  ({row['least']:.3f} .. {row['most']:.3f})"
            print(f"  {row['server']:26} {row['median']:12,.0f}{spread if beside else ''}"
                  f"{verdict(row)}")
    missed = [f"{row['workload']} ({row['server']})" for row in rows if reached(row) is False]
    print("\nevery target reached" if not missed else "\nmissed: " + "; ".join(missed), flush=True)
