"""How the cost of one task, timer or connection grows with their number, ours beside a floor's.

More of them need more memory than the caches hold, so that each costs more, in every program. What counts
is how much faster ours grows than the floor: the cost at the largest number over that at the smallest, ours
over the floor's.
"""

import statistics

import measure
import network
import programs
import servers
import workloads

TARGET = 1.2
SIZES = (1_000, 10_000, 100_000, 1_000_000)
CONNECTIONS = (10, 100, 1_000, 10_000)
# What grows, its workload, and the program that is the floor.
KINDS = (("task", "spawn_many", "raw_coro_pool"), ("timer", "timers", "libuv"))
LEAST_OPERATIONS = 20_000    # of a short run: it is repeated as often as that takes


def cost(program, workload, n):
    """Nanoseconds for one of `n`: the median of enough runs."""
    times = 1 if workload.name == "timers" else max(1, LEAST_OPERATIONS // n)
    return statistics.median(measure.run_quietly(program, workload, n)["ns"] for _ in range(times))


def measure_programs(ours, floors, runs, say):
    """{kind: {program: {size: [cost in each round]}}}"""
    samples = {}
    for number in range(runs):
        for kind, name, floor in KINDS:
            everyone = ours + [p for p in floors if p.name == floor]
            for n in SIZES:
                for program in measure.turns(everyone, number):
                    value = cost(program, workloads.BY_NAME[name], n)
                    samples.setdefault(kind, {}).setdefault(program.name, {}).setdefault(
                        n, []).append(value)
        say(f"growth: round {number + 1} of {runs}")
    return samples


def measure_connections(build_dir, compilers, runs, seconds, say):
    """The same for connections: server CPU a message, streams beside hand-written epoll."""
    of_interest = servers.that_start(
        s for s in network.servers(build_dir, compilers, [])
        if s.name.startswith("streams") or s.name == network.REFERENCE)
    samples = {}
    for number in range(runs):
        for connections in CONNECTIONS:
            for each in measure.turns(of_interest, number):
                server = servers.Running(each)
                try:
                    figures = network.load(build_dir, server, connections, 64, seconds, 1)
                finally:
                    server.stop()
                samples.setdefault(each.name, {}).setdefault(connections, []).append(
                    figures["server_cpu_ns"])
        say(f"growth of connections: round {number + 1} of {runs}")
    return {"connection": samples}


def rows(samples):
    """For each kind and each program of ours: costs by size, and growth over the floor's growth."""
    floors = {kind: floor for kind, _, floor in KINDS} | {"connection": network.REFERENCE}
    out = []
    for kind, by_program in samples.items():
        floor = by_program.get(floors[kind])
        if not floor:
            continue
        for name, by_size in sorted(by_program.items()):
            if name == floors[kind]:
                continue
            least, most = min(by_size), max(by_size)
            growth = [b / a for a, b in zip(by_size[least], by_size[most])]
            of_floor = [b / a for a, b in zip(floor[least], floor[most])]
            ratios = [a / b for a, b in zip(growth, of_floor)]
            out.append({
                "workload": f"growth of a {kind}", "server": name, "reference": floors[kind],
                "costs": {n: statistics.median(v) for n, v in by_size.items()},
                "floor_costs": {n: statistics.median(v) for n, v in floor.items()},
                "growth": statistics.median(growth), "floor_growth": statistics.median(of_floor),
                "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                "target": TARGET})
    return out


def show(lines):
    for line in lines:
        print(f"\n{line['workload']}, {line['server']}  [ns for one, and {line['reference']}'s]")
        for n, value in line["costs"].items():
            print(f"  {n:10,}  {value:10,.1f}  {line['floor_costs'][n]:10,.1f}")
        verdict = "ok" if line["ratio"] <= TARGET else "MISSED"
        print(f"  grows by {line['growth']:.2f}, the floor by {line['floor_growth']:.2f}: ratio "
              f"{line['ratio']:.2f} ({line['least']:.2f} .. {line['most']:.2f}), target {TARGET} "
              f"{verdict}")


def run(build_dir, compilers, ours, runs, seconds, say=print):
    floors = programs.peers(build_dir, sorted({floor for _, _, floor in KINDS}))
    samples = measure_programs(ours, floors, runs, say)
    samples |= measure_connections(build_dir, compilers, runs, seconds, say)
    lines = rows(samples)
    show(lines)
    return lines
