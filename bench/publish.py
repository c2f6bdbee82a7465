"""Writes what was measured into docs/performance.md, between its markers, and draws docs/speed.svg.

A marker is `<!-- table: NAME -->`; what stands between it and `<!-- end -->` is replaced.
"""

import os
import re

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


def servers(content, section):
    """One row a workload, one column a server: the median, and the ratio to the reference."""
    rows = content[section]["rows"]
    names = list(dict.fromkeys(row["server"] for row in rows))
    out = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = {row["server"]: row for row in rows if row["workload"] == workload}
        cells = []
        for name in names:
            row = here.get(name)
            cells.append(f"{number(row['median'])} ({row['ratio']:.2f})" if row else "")
        out.append([workload] + cells)
    return markdown(["workload"] + names, out)


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


def machine(content):
    m = content["machine"]
    versions = ", ".join(filter(None, m["compilers"].values()))
    return (f"{content['date'][:10]}, {m['cores']} cores of {m['processor']}, Linux "
            f"{m['kernel'].split('-')[0]}, {versions}; medians of {content['runs']} runs.")


def tables(content):
    made = {"engine": engine, "growth": growth, "compile": compile_time}
    out = {"machine": machine(content)}
    for section in content:
        if section in made:
            out[section] = made[section](content)
        elif isinstance(content[section], dict) and "rows" in content[section]:
            out[section] = servers(content, section)
    return out


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
    m = content["machine"]
    note = (f"{content['date'][:10]}, {m['cores']} cores of {m['processor']}, Linux "
            f"{m['kernel'].split('-')[0]}, medians of {content['runs']} runs; script/bench")
    with open(PICTURE, "w") as file:
        file.write(picture.draw(rows, "libasyncio beside the best peer", note))
