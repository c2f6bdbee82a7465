"""One list of rows from all measurements: ours beside the best peer, for the last table and the picture."""

import statistics

import report

# Programs of the network measurements that are no runtime to compare with: hand-written for one purpose.
HAND_WRITTEN = ("raw_epoll", "raw_uring", "raw_udp", "raw_tls", "raw")


def of_engine(lines):
    """Rows of report.rows(), those that compare times."""
    return [{"workload": line["workload"], "ours": line["ours"]["program"],
             "peer": line["peer"]["program"], "ratio": line["peer"]["ratio"],
             "least": line["peer"]["ratio_min"], "most": line["peer"]["ratio_max"],
             "target": line.get("target")}
            for line in lines if line["figure"] == "ns" and "peer" in line]


def pairs(row, other):
    """The ratio of two rows run by run; of their medians where the runs are not there."""
    both = list(zip(row.get("samples") or [], other.get("samples") or []))
    return [a / b for a, b in both if b > 0] or [row["median"] / max(other["median"], 1e-9)]


def best_of(rows, names):
    have = [row for row in rows if row["server"] in names and row["median"] > 0]
    return min(have, key=lambda row: row["median"], default=None)


def of_servers(rows, ours):
    """Rows of the servers' measurements: our best of `ours` beside the best runtime, by workload."""
    out = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = [row for row in rows if row["workload"] == workload]
        mine = best_of(here, [row["server"] for row in here if row["server"] in ours])
        others = [row["server"] for row in here
                  if not row["server"].startswith(("streams", "protocol", "ours"))
                  and row["server"] not in HAND_WRITTEN]
        peer = best_of(here, others)
        if not mine or not peer:
            continue
        ratios = pairs(mine, peer)
        out.append({"workload": workload, "ours": mine["server"], "peer": peer["server"],
                    "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)})
    return out


def table(rows):
    head = ["workload", "ours", "best peer", "ratio", "spread"]
    out = [head] + [[row["workload"], row["ours"], row["peer"], f"{row['ratio']:.2f}",
                     f"{row['least']:.2f}..{row['most']:.2f}"] for row in rows]
    return report.columns(out)
