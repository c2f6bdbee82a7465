#!/usr/bin/env python3
"""Runs the unit tests on a back end of which one call fails (ASYNCIO_TEST_FAULT, install.cpp).

Whatever a test then asserts does not count. But no run may crash, hang, leak or be reported by a
sanitizer. Each run is one test case, one call of the back end and one way to fail.

    tests/faults/run.py build/dev/bin/tests --seconds 120 --seed 1
    tests/faults/run.py build/dev/bin/tests --whole            each call of each test, in each way
"""

import argparse
import concurrent.futures
import fnmatch
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time

WAYS = 32

# Cases that say nothing under faults, each with the reason.
LEFT_OUT = {
    # They fork and look at the child, or trace system calls: the child has no fault.
    "test_fork.*": "forks",
    "test_uring.Uring.*AsksTheKernel*": "traces a child",
    "test_fairness.*": "measures time for seconds",
    "test_deep.*": "a million tasks: minutes for each run",
    "test_http.Http.AChildOfFork*": "forks, and runs loops in plain threads",
    # A loop in a plain thread of the test, out of which nobody takes an exception; or a plain thread
    # that goes on with a loop, or signals it, after that has failed.
    "test_signals.*.WakesALoopThatSleeps": "a signal after the loop",
    "test_signals.SignalHandler.EveryLoopThatAsksIsTold": "loops in threads",
    "test_signals.SignalHandler.LoopsComeAndGoUnderAStormOfSignals": "loops in threads",
    "test_threads.Frames.*": "loops in threads",
    "test_threads.*ToThreadReturnsAtOnceWhenCancelled*": "a thread that writes to the test's locals",
    "test_threads.HandleOfALoop.*": "threads that use a loop",
    "test_threads.Loops.*": "loops in threads",
    "test_threads.Posting.*": "threads that use a loop",
    "test_threads.Threadsafe.*": "loops in threads",
    "test_threads.Concurrent.ChainsThatNeverEnd*": "loops in threads",
    "test_threads.*AWrappedTaskOfAnotherLoop*": "loops in threads",
    # What they leave behind when the loop fails looks at locals of theirs that are gone.
    "test_events.ExceptionHandler.*": "handlers that write to the test's locals",
    "test_tasks.DestroyedTask.WhoseDestructors*": "destructors that look at each other's locals",
    "test_threads.*TheDefaultExecutorShutDownByItsOwnJob*": "a thread that uses the test's locals",
    "test_threads.Handles.*": "loops in threads",
    # They go on, or wait in a thread, for what the failed call was to bring.
    "test_queues.Queue.TimeoutsLoseNoItem": "goes on when it is cancelled",
    "test_parallel.Channels.CarryObjects*": "other threads wait for what the one that failed was to send",
    "test_parallel.Channels.NothingIsLost*": "other threads wait for what the one that failed was to send",
    # They run the loop until data come, and none come after an error.
    "test_transports.Transport.*Exit*": "runs for ever",
}


# The file of a line of a sanitizer's stack, if it is one of this project.
FRAME = re.compile(r"^ *#\d+ 0x[0-9a-f]+ in .* (\S*/(?:src|include/asyncio|tests)/\S+):\d+", re.MULTILINE)


def left_out(name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT)


def cases(directory, pattern):
    found = []
    for program in sorted(pathlib.Path(directory).glob("test_*")):
        if not os.access(program, os.X_OK) or program.is_dir():
            continue
        listed = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True,
                                timeout=120)
        suite = ""
        for line in listed.stdout.splitlines():
            if line.startswith("Running"):
                continue
            name = line.split("#")[0].rstrip()
            if not name.startswith(" "):
                suite = name
                continue
            full = f"{program.name}.{suite}{name.strip()}"
            if not left_out(full) and re.search(pattern, full):
                found.append((program, suite + name.strip()))
    return found


class Run:
    """One run of one case: what was injected, and what is wrong with the outcome."""

    def __init__(self, program, case, backend, number, limit):
        self.program, self.case, self.backend, self.number = program, case, backend, number
        environment = dict(os.environ, ASYNCIO_BACKEND=backend, ASYNCIO_TEST_FAULT=str(number))
        command = [str(program), f"--gtest_filter={case}", "--gtest_brief=1"]
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors="replace", start_new_session=True)
        self.hang = False
        try:
            self.output, _ = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.hang = True
            self.kill(child, signal.SIGKILL)
            self.output, _ = child.communicate()
        self.status = child.returncode
        self.kill(child, signal.SIGKILL)  # what it has left behind

    @staticmethod
    def kill(child, number):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass

    def calls(self):
        found = re.search(r"fault: of (\d+) calls", self.output)
        return int(found.group(1)) if found and self.status == 0 else 0

    def fault(self):
        found = re.search(r"fault: (call .*)", self.output)
        return found.group(1) if found else "no fault"

    def wrong(self):
        # A case that has failed, as it may, may wait for what cannot come any more, and its own raw
        # descriptors stay open: test_one_failure.cpp looks at that, with scenarios that are made
        # for it.
        failed = ": Failure" in self.output
        if self.hang:
            return "" if failed else "hangs"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        for text in ("ERROR: AddressSanitizer", "ThreadSanitizer", "runtime error:"):
            if text in self.output:
                return "" if self.is_the_tests_own() else f"reported: {text}"
        for text in ("LeakSanitizer", "leaked: "):
            if text in self.output and not failed:
                return f"reported: {text}"
        return ""

    def is_the_tests_own(self):
        """A loop that fails is closed, which destroys the frames of the tasks, the test's own first. What other
        frames of the test then do with its locals is no fault of the library: the memory was a frame, and the code
        that touches it, headers aside, is in tests/."""
        found = re.search(r"heap-use-after-free.*?\n(.*?)\n\n.*?freed by.*?\n(.*?)\n\n", self.output, re.DOTALL)
        if not found:
            return False
        touches = [file for file in FRAME.findall(found.group(1)) if "/include/asyncio/" not in file]
        was_a_frame = "PromiseBase::operator delete" in found.group(2)
        return was_a_frame and bool(touches) and "/tests/" in touches[0]

    def describe(self):
        tail = "\n    ".join(self.output.splitlines()[-15:])
        return (f"{self.program.name} {self.case}: {self.wrong()} after {self.fault()}\n"
                f"  again: ASYNCIO_BACKEND={self.backend} ASYNCIO_TEST_FAULT={self.number} "
                f"{self.program} --gtest_filter={self.case}\n    {tail}")


class Sampler:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.cases = cases(options.directory, options.only)
        self.counts = {}
        self.lock = threading.Lock()
        self.runs = 0
        self.found = []
        self.end = time.monotonic() + options.seconds

    def count(self, program, case, backend):
        key = (program, case, backend)
        if key not in self.counts:
            self.counts[key] = Run(program, case, backend, 0, self.options.limit).calls()
        return self.counts[key]

    def judge(self, program, case, backend, call, way):
        run = Run(program, case, backend, call * WAYS + way, self.options.limit)
        with self.lock:
            self.runs += 1
            if run.wrong():
                self.found.append(run)
                print(run.describe(), flush=True)

    def sample(self):
        while time.monotonic() < self.end:
            with self.lock:
                program, case = self.random.choice(self.cases)
                backend = self.random.choice(self.options.backends)
                place, way = self.random.random(), self.random.randrange(WAYS)
            calls = self.count(program, case, backend)
            if calls:
                self.judge(program, case, backend, 1 + int(place * calls), way)

    def whole(self, program, case):
        for backend in self.options.backends:
            calls = self.count(program, case, backend)
            for call in range(1, min(calls, self.options.most_calls) + 1):
                for way in range(self.options.ways):
                    self.judge(program, case, backend, call, way)

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            if self.options.whole:
                work = [pool.submit(self.whole, *case) for case in self.cases]
            else:
                work = [pool.submit(self.sample) for _ in range(self.options.jobs)]
            for each in work:
                each.result()
        print(f"{self.runs} runs with a fault, seed {self.options.seed}: "
              f"{len(self.found)} went wrong")
        return 1 if self.found or not self.runs else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where the test programs are")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each day")
    parser.add_argument("--whole", action="store_true", help="all of them; --seconds is ignored")
    parser.add_argument("--most-calls", type=int, default=1000, help="of a case, with --whole")
    parser.add_argument("--ways", type=int, default=8, help="of each call, with --whole")
    parser.add_argument("--only", default="", help="a regular expression for PROGRAM.SUITE.CASE")
    parser.add_argument("--backends", nargs="+", default=["epoll", "io_uring"])
    parser.add_argument("--limit", type=float, default=60, help="seconds for a run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.seed is None:
        options.seed = int(time.time()) // 86400
    return Sampler(options).run()


if __name__ == "__main__":
    sys.exit(main())
