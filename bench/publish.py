"""Writes what was measured into docs/performance.md, between its markers, and draws docs/speed.svg.

A marker is `<!-- table: NAME -->`; what stands between it and `<!-- end -->` is replaced.
"""

import os
import re
import statistics

import combine
import picture
import programs

PAGE = os.path.join(programs.ROOT, "docs", "performance.md")
PICTURE = os.path.join(programs.ROOT, "docs", "speed.svg")


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def spread(row):
    return f"{row['least']:.2f} to {row['most']:.2f}"


def engine(content):
    rows = []
    for line in content["engine"]["rows"]:
        peer, target = line.get("peer"), ""
        unit = {"ns": " ns", "bytes_per_task": " B", "wall_ms": " ms"}[line["figure"]]
        if "reached" in line:
            target = f"{line['target']:g}" + (unit if line["figure"] == "bytes_per_task" else "")
            target += "" if line["reached"] else ", **missed**"
        place = lambda part: f"{number(part['median'])}{unit} ({part['program']})" if part else ""
        rows.append([line["workload"], place(line["ours"]), place(peer),
                     f"{peer['ratio']:.2f}" if peer else "",
                     f"{peer['ratio_min']:.2f} to {peer['ratio_max']:.2f}" if peer else "", target,
                     place(line.get("floor"))])
    return markdown(["workload", "ours", "best peer", "ratio", "spread", "target", "floor"], rows)


def backends(content):
    """One row a workload, three columns a compiler."""
    lines = content.get("engine", {}).get("backends", [])
    compilers = list(dict.fromkeys(line["compiler"] for line in lines))
    head, out = ["workload"], []
    for name in compilers:
        head += [f"{name}, epoll", "io_uring", "ratio (spread)"]
    for workload in dict.fromkeys(line["workload"] for line in lines):
        cells = [workload]
        for name in compilers:
            line = next((l for l in lines if (l["workload"], l["compiler"]) == (workload, name)), None)
            cells += ["", "", ""] if not line else [
                number(line["epoll"]), number(line["io_uring"]),
                f"{line['ratio']:.2f} ({line['ratio_min']:.2f} to {line['ratio_max']:.2f})"]
        out.append(cells)
    return markdown(head, out) if out else None


def compilers(content):
    """One row a server of ours: what the other compiler's needs over the last one's, over all workloads."""
    out = []
    for section, part in content.items():
        rows = part.get("rows") if isinstance(part, dict) else None
        if section in ("engine", "growth", "compile") or not rows:
            continue
        for name in dict.fromkeys(row["server"] for row in rows if " " in row["server"]):
            ratios = sorted((statistics.median(combine.pairs(row, other)), row["workload"])
                            for row in rows for other in rows if row["server"] == name
                            and (other["server"], other["workload"]) == (name.split()[0], row["workload"]))
            if not ratios:
                continue
            middle = statistics.median(ratio for ratio, _ in ratios)
            place = lambda pair: f"{pair[0]:.2f} ({pair[1].replace(section + ' ', '')})"
            out.append([section, *name.split(), f"{middle:.2f}", place(ratios[0]), place(ratios[-1])])
    head = ["section", "server", "compiler", "median", "least", "most"]
    return markdown(head, out) if out else None


MIXED_ORDER = ("protocol", "streams", "protocol_uring", "streams_uring", "ours", "ours_uring", "asyncio",
               "asyncio_streams", "libuv", "tokio")


def servers(content, section, order=()):
    """One row a workload, one column a server: the median, and the ratio to the reference. Of ours what
    the last compiler built: compilers() has the others."""
    rows = [row for row in content[section]["rows"] if " " not in row["server"]]
    names = list(dict.fromkeys(row["server"] for row in rows))
    names = [name for name in order if name in names] or names
    out = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = {row["server"]: row for row in rows if row["workload"] == workload}
        cells = []
        for name in names:
            row = here.get(name)
            cells.append(f"{number(row['median'])} ({row['ratio']:.2f})" if row else "")
        out.append([workload] + cells)
    return markdown(["workload"] + names, out)


def mixed(content):
    """Pings, then sleeps and posts beside computing tasks: microseconds, and the ratio to the reference. It is
    measured by itself, so that it has its own machine and date."""
    part = content["mixed"]
    of = lambda wanted: {"mixed": {"rows": [row for row in part["rows"] if wanted(row["workload"])]}}
    is_ping = lambda workload: workload.startswith("ping ")
    return "\n\n".join((machine(content), servers(of(is_ping), "mixed", MIXED_ORDER),
                        servers(of(lambda workload: not is_ping(workload)), "mixed", MIXED_ORDER)))


def growth(content):
    out = []
    for row in content["growth"]["rows"]:
        costs = ", ".join(number(value) for value in row["costs"].values())
        floor = ", ".join(number(value) for value in row["floor_costs"].values())
        out.append([f"{row['workload']}, {row['server']}", costs, f"{floor} ({row['reference']})",
                    f"{row['growth']:.2f}", f"{row['floor_growth']:.2f}", f"{row['ratio']:.2f}",
                    spread(row)])
    return markdown(["what", "ns for one, few to many", "the floor's", "growth", "the floor's",
                     "ratio", "spread"], out)


def compile_time(content):
    rows = [[name, f"{r['umbrella_ms']:.0f} ms", f"{r['standard_ms']:.0f} ms", f"{r['ratio']:.2f}",
             f"{r['ratio_min']:.2f} to {r['ratio_max']:.2f}", f"{r['echo_ms']:.0f} ms"]
            for name, r in content["compile"]["rows"].items()]
    return markdown(["compiler", "`#include <asyncio.hpp>`", "its standard headers", "ratio",
                     "spread", "the echo server, `-O2`"], rows)


def runs(content):
    """How many runs: of all sections, and of those that had another number."""
    others = [f"{name}: {part['runs']}" for name, part in content.items()
              if isinstance(part, dict) and part.get("runs", content["runs"]) != content["runs"]]
    return f"{content['runs']} runs" + (f" ({', '.join(others)})" if others else "")


def machine(content):
    m = content["machine"]
    versions = ", ".join(filter(None, m["compilers"].values()))
    return (f"{content['date'][:10]}, {m['cores']} cores of {m['processor']}, Linux "
            f"{m['kernel'].split('-')[0]}, {versions}; medians of {runs(content)}.")


def tables(content):
    made = {"engine": engine, "growth": growth, "compile": compile_time, "mixed": mixed}
    out = {"backends": backends(content), "compilers": compilers(content)}
    if "engine" in content:
        out["machine"] = machine(content)
    for section in content:
        if section in made:
            out[section] = made[section](content)
        elif isinstance(content[section], dict) and "rows" in content[section]:
            out[section] = servers(content, section)
    return {name: table for name, table in out.items() if table}    # what was not measured stays


def fill(text, replacements):
    def replace(match):
        name = match.group(1)
        if name not in replacements:
            return match.group(0)
        return f"<!-- table: {name} -->\n{replacements[name]}\n<!-- end -->"
    return re.sub(r"<!-- table: (\S+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def publish(content, rows):
    """`rows`: as combine makes them."""
    with open(PAGE) as file:
        text = file.read()
    with open(PAGE, "w") as file:
        file.write(fill(text, tables(content)))
    if "engine" not in content:
        return    # nothing of the picture was measured
    m = content["machine"]
    note = (f"{content['date'][:10]}, {m['cores']} cores of {m['processor']}, Linux "
            f"{m['kernel'].split('-')[0]}, medians of {runs(content)}; script/bench")
    with open(PICTURE, "w") as file:
        file.write(picture.draw(rows, "libasyncio beside the best peer", note))
