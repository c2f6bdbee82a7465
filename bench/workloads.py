"""The engine's workloads: how often each operation is done, and what is to be reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    name: str
    target: float           # our time over that of the best peer
    n: int = 50_000         # operations in one run; where the figure does not depend on it, in a first one
    n_python: int = 0       # the same for interpreted peers, if not n
    steady: bool = True     # one operation costs the same however many there are
    pinned: bool = True     # one core is enough: the run is pinned to it
    warm: bool = False      # it uses so much memory that a run which is not counted goes before each
    cpu_bound: bool = True  # it never waits, so that elapsed time not on a core was taken by others


WORKLOADS = [
    Workload("await_chain", 1.1, 500_000),
    Workload("await_chain_10", 0.9, 500_000),
    Workload("spawn_join", 0.4),
    Workload("spawn_many", 0.6, 1_000_000, 200_000, steady=False, warm=True),
    Workload("yield_1", 0.4),
    Workload("yield_100", 0.35),
    Workload("queue_1", 0.5),
    Workload("queue_1024", 1.0),
    Workload("future_wake", 0.5),
    Workload("timers", 0.6, 1_000_000, 200_000, steady=False, warm=True, cpu_bound=False),
    Workload("timeout", 0.8),
    Workload("timeout_yield", 0.3),
    Workload("lock", 1.2, 500_000),
    Workload("lock_100", 0.5),
    Workload("to_thread", 0.9, 10_000, 4_000, steady=False, pinned=False, cpu_bound=False),
    Workload("thread_post", 1.0, 1_000_000, 200_000, steady=False, pinned=False, cpu_bound=False),
    Workload("file_read", 1.5, 16_384, steady=False, cpu_bound=False),
    Workload("small_files", 1.0, 100_000, steady=False, pinned=False, cpu_bound=False),
    Workload("subprocess", 1.05, 400, 200, steady=False, pinned=False, cpu_bound=False),
]
BY_NAME = {w.name: w for w in WORKLOADS}

# No more bytes than this for each of a million tasks.
BYTES_PER_TASK = 192

# Not the same work, so that these are measured and written to the JSON file but are never "the best
# peer": libuv re-arms one timer and awaits nothing.
NOT_COMPARED = {("timeout", "libuv")}
