"""Runs programs in turn and keeps what they print.

Times on a machine that others use too are noisy. Against that:
- the programs take turns, so that a slow minute is slow for all of them, and each round has another order;
- where much memory is used, a run that does not count goes before each: a virtual machine gives free memory
  back to its host, and who first uses it after a pause waits for that;
- what needs one core is pinned to one;
- where one operation costs the same however many there are, each program does so many that a run takes
  about a quarter of a second, found by a first run that does not count;
- a run during which others used more than a quarter of a core is repeated once;
- a run that never waits but had to wait for its core for more than a twentieth of its time is corrected
  by the share that it had: elapsed time becomes time on the core;
- medians are compared, and the spread of the ratio over the rounds is shown beside it.
"""

import json
import os
import random
import statistics
import subprocess
import time

FOREIGN_CORES = 0.25
LEAST_SHARE = 0.95
LEAST_SECONDS = 0.03    # a shorter run may have waited before or after what it measured


class WrongResult(Exception):
    pass


def busy_seconds():
    """CPU seconds that everything on this machine has used since it started."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7)) / os.sysconf("SC_CLK_TCK")


def share_of_core(pid):
    """What part of the time in which it could have run a process that has ended did run, and for
    how many seconds it did. Of its main thread, so that it holds for programs with one.

    The process must not have been waited for: the kernel keeps its account until then.
    """
    with open(f"/proc/{pid}/schedstat") as schedstat:
        ran, waited = (int(field) for field in schedstat.read().split()[:2])
    return ran / max(ran + waited, 1), ran / 1e9


def run_once(program, workload, n):
    """One run: what it printed, its share of the core, and how many cores others used meanwhile.

    None if the program does not know the workload.
    """
    pin = workload.pinned and not program.may_use_all_cores
    argv = program.argv + [workload.name, str(n)]
    if pin:
        argv = ["taskset", "-c", str(max(os.sched_getaffinity(0)))] + argv
    busy = busy_seconds()
    start = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **program.env})
    out, err = process.stdout.read(), process.stderr.read()    # a line or two, so no pipe fills
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    share, main_thread = share_of_core(process.pid)
    _, status, usage = os.wait4(process.pid, 0)    # Popen.wait would not tell its CPU time
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    elapsed = time.monotonic() - start
    cpu = usage.ru_utime + usage.ru_stime
    if process.returncode != 0:
        raise WrongResult(f"{program.name} {workload.name}: exit {process.returncode}: {err[-300:]}")
    printed = json.loads(out.strip().splitlines()[-1])
    if printed.get("skip"):
        return None
    foreign = (busy_seconds() - busy - cpu) / max(elapsed, 0.05)
    sample = {**printed, "share": round(share, 3), "foreign": round(max(0.0, foreign), 3)}
    sample["ns"] = printed["ns_per_op"]
    alone = main_thread > 0.9 * cpu    # nothing of note ran in other threads
    if workload.cpu_bound and alone and main_thread > LEAST_SECONDS and share < LEAST_SHARE:
        sample["ns"] = printed["ns_per_op"] * share
    return sample


def run_quietly(program, workload, n):
    """As run_once, once more if others were busy; the quieter of the two counts."""
    if workload.warm:
        run_once(program, workload, n)
    sample = run_once(program, workload, n)
    if sample is None or sample["foreign"] <= FOREIGN_CORES:
        return sample
    again = run_once(program, workload, n)
    return min(sample, again, key=lambda s: s["foreign"])


def operations(program, workload, seconds):
    """How many operations this program does in one run; None if it does not know the workload."""
    n = workload.n_python if program.interpreted and workload.n_python else workload.n
    sample = run_once(program, workload, n)
    if sample is None or not workload.steady:
        return None if sample is None else n
    wanted = seconds * 1e9 / (sample["ns_per_op"] * sample["share"] + 1e-3)
    return min(max(int(wanted) // 1000, 1), 1_000_000) * 1000


def turns(programs, number):
    """Their order in the round of this number, the same in each run."""
    order = list(programs)
    random.Random(number).shuffle(order)
    return order


def one_round(programs, workloads, seconds, samples, sizes, say):
    for workload in workloads:
        for program in programs:
            key = (workload.name, program.name)
            try:
                if key not in sizes:
                    sizes[key] = operations(program, workload, seconds)
                if sizes[key]:
                    samples.setdefault(key, []).append(run_quietly(program, workload, sizes[key]))
            except WrongResult as error:
                say(str(error))
                sizes[key] = None


def measure(programs, workloads, rounds, seconds=0.25, say=print):
    """{(workload, program): [sample of each round]}; programs take turns within a round.

    Ctrl-C ends it early, with what there is.
    """
    samples, sizes = {}, {}
    for current in range(rounds):
        start = time.monotonic()
        try:
            one_round(turns(programs, current), workloads, seconds, samples, sizes, say)
        except KeyboardInterrupt:
            say(f"stopped in round {current + 1}")
            break
        say(f"round {current + 1} of {rounds}: {time.monotonic() - start:.0f} s")
    return samples


def median(samples, figure="ns"):
    return statistics.median(s[figure] for s in samples)
