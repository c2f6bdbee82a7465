"""From samples to one table: ours beside the best peer, the ratio, and the ratio to be reached."""

import measure
import workloads as known
from programs import uring_name


def best(samples, workload, programs, figure="ns"):
    """The program with the least median, of those that have this figure."""
    have = [p for p in programs if samples.get((workload, p.name))
            and figure in samples[workload, p.name][0]
            and (workload, p.name) not in known.NOT_COMPARED]
    return min(have, key=lambda p: measure.median(samples[workload, p.name], figure), default=None)


def summary(values):
    return {"median": values[len(values) // 2] if len(values) % 2 else
            (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2,
            "min": values[0], "max": values[-1]}


def row(samples, workload, programs, figure="ns"):
    """One line of the table as a dict, or None if ours was not measured."""
    of_kind = lambda kind: [p for p in programs if p.kind == kind]
    mine = best(samples, workload.name, of_kind("ours"), figure)
    if mine is None:
        return None
    line = {"workload": workload.name, "figure": figure}
    mine_samples = samples[workload.name, mine.name]
    line["ours"] = {"program": mine.name, **summary(sorted(s[figure] for s in mine_samples))}
    line["target"] = known.BYTES_PER_TASK if figure == "bytes_per_task" else workload.target
    for kind in ("peer", "floor"):
        program = best(samples, workload.name, of_kind(kind), figure)
        if program is None:
            continue
        theirs = samples[workload.name, program.name]
        line[kind] = {"program": program.name, **summary(sorted(s[figure] for s in theirs))}
        line[kind] |= ratio(mine_samples, theirs, figure)
    if figure == "bytes_per_task":
        line["reached"] = line["ours"]["median"] <= line["target"]
    elif figure == "ns" and "peer" in line:
        line["reached"] = line["peer"]["ratio"] <= line["target"]
    return line


def ratio(mine, theirs, figure="ns"):
    """The ratio of the medians, and its spread over the rounds."""
    pairs = sorted(a[figure] / max(b[figure], 1e-9) for a, b in zip(mine, theirs))
    whole = measure.median(mine, figure) / max(measure.median(theirs, figure), 1e-9)
    return {"ratio": whole, "ratio_min": pairs[0], "ratio_max": pairs[-1]}


def rows(samples, workloads, programs):
    lines = []
    for workload in workloads:
        lines.append(row(samples, workload, programs))
        if workload.name == "spawn_many":
            lines.append(row(samples, workload, programs, "bytes_per_task"))
        if workload.name == "timers":
            lines.append(row(samples, workload, programs, "wall_ms"))
    return [line for line in lines if line]


def backends(samples, workloads, programs):
    """For each workload and compiler: what io_uring takes beside epoll, in the same rounds."""
    lines = []
    for workload in workloads:
        for compiler in (p.name for p in programs if p.kind == "ours"):
            on_epoll = samples.get((workload.name, compiler))
            on_uring = samples.get((workload.name, uring_name(compiler)))
            if not on_epoll or not on_uring:
                continue
            lines.append({"workload": workload.name, "compiler": compiler,
                          "epoll": measure.median(on_epoll), "io_uring": measure.median(on_uring),
                          **ratio(on_uring, on_epoll)})
    return lines


UNITS = {"ns": "ns", "bytes_per_task": "B", "wall_ms": "ms"}


def number(value):
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def place(part):
    if not part:
        return "-"
    return f"{number(part['median'])} {part['program']}"


def columns(out):
    """Rows of cells as text, column under column."""
    widths = [max(len(r[i]) for r in out) for i in range(len(out[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(r, widths)).rstrip()
                     for r in out)


def backends_table(lines):
    """backends() as text."""
    return columns([["workload", "compiler", "epoll", "io_uring", "ratio", "spread"]] + [
        [line["workload"], line["compiler"], number(line["epoll"]), number(line["io_uring"]),
         f"{line['ratio']:.2f}", f"{line['ratio_min']:.2f}..{line['ratio_max']:.2f}"]
        for line in lines])


def table(lines):
    """The table as text."""
    head = ["workload", "ours", "min..max", "best peer", "min..max", "ratio", "spread", "target", "",
            "floor"]
    out = [head]
    for line in lines:
        peer = line.get("peer")
        figure = line["figure"]
        name = line["workload"] + ("" if figure == "ns" else f" [{UNITS[figure]}]")
        target, verdict = "", ""
        if "reached" in line:
            target = f"{line['target']:g}" + (" B" if figure == "bytes_per_task" else "")
            verdict = "ok" if line["reached"] else "MISSED"
        between = lambda part: f"{number(part['min'])}..{number(part['max'])}" if part else ""
        out.append([name, place(line["ours"]), between(line["ours"]), place(peer), between(peer),
                    f"{peer['ratio']:.2f}" if peer else "-",
                    f"{peer['ratio_min']:.2f}..{peer['ratio_max']:.2f}" if peer else "",
                    target, verdict, place(line.get("floor"))])
    return columns(out)


def all_figures(samples):
    """Every program's median, for the JSON file."""
    out = []
    for (workload, program), runs in sorted(samples.items()):
        for figure in ("ns", "bytes_per_task", "wall_ms"):
            if figure in runs[0]:
                out.append({"workload": workload, "program": program, "figure": figure,
                            "n": runs[0]["n"], "runs": len(runs),
                            **summary(sorted(s[figure] for s in runs))})
    return out
