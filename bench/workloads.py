"""The engine's workloads: how often each operation is done, and what is to be reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    name: str
    n: int              # operations in one run
    n_python: int       # the same for interpreted peers, which would take minutes
    target: float       # our time over that of the best peer
    pinned: bool = True     # one core is enough: the run is pinned to it
    cpu_bound: bool = True  # it never waits, so that elapsed time not on a core was taken by others
    scales: bool = True     # the figure is the same for fewer operations


WORKLOADS = [
    Workload("await_chain", 10_000_000, 1_000_000, 1.1),
    Workload("await_chain_10", 10_000_000, 1_000_000, 0.9),
    Workload("spawn_join", 1_000_000, 50_000, 0.4),
    Workload("spawn_many", 1_000_000, 200_000, 0.6),
    Workload("yield_1", 2_000_000, 200_000, 0.3),
    Workload("yield_100", 3_000_000, 300_000, 0.35),
    Workload("queue_1", 1_000_000, 50_000, 0.5),
    Workload("queue_1024", 3_000_000, 300_000, 1.0),
    Workload("future_wake", 1_000_000, 50_000, 0.5),
    Workload("timers", 1_000_000, 200_000, 0.6, cpu_bound=False, scales=False),
    Workload("timeout", 500_000, 50_000, 0.8),
    Workload("timeout_yield", 200_000, 50_000, 0.3),
    Workload("lock", 5_000_000, 300_000, 1.2),
    Workload("lock_100", 500_000, 50_000, 0.5),
    Workload("to_thread", 10_000, 4_000, 0.9, pinned=False, cpu_bound=False),
    Workload("thread_post", 1_000_000, 200_000, 1.0, pinned=False, cpu_bound=False),
]
BY_NAME = {w.name: w for w in WORKLOADS}

# No more bytes than this for each of a million tasks.
BYTES_PER_TASK = 192

# Not the same work, so that these are measured and written to the JSON file but are never "the best
# peer": libuv re-arms one timer and awaits nothing.
NOT_COMPARED = {("timeout", "libuv")}
