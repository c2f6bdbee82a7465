"""How long `#include <asyncio.hpp>` takes to compile, against its standard headers alone.

The standard headers are those that the public headers themselves name. Both files are parsed with
-fsyntax-only, in turns; what counts is the compiler's own CPU time in user mode.
"""

import os
import re
import statistics
import subprocess
import tempfile

import programs

INCLUDE = os.path.join(programs.ROOT, "include")
TARGET = 1.5
ECHO = os.path.join(programs.HERE, "echo_streams.cpp")    # a whole program: the echo server
ECHO_TARGET_MS = 2000
FLAGS = ["-std=c++20", "-fsyntax-only", "-I", INCLUDE]


def public_headers(compiler):
    """Our headers that the umbrella header reaches."""
    with tempfile.TemporaryDirectory() as directory:
        path = write(directory, "umbrella.cpp", "#include <asyncio.hpp>\n")
        out = programs.run([compiler, "-std=c++20", "-I", INCLUDE, "-M", path])
    files = re.findall(r"[^\s\\]+", out.split(":", 1)[1])
    return sorted({os.path.realpath(f) for f in files
                   if os.path.realpath(f).startswith(INCLUDE + os.sep)})


def standard_headers(headers):
    """What those headers include with angle brackets and is not ours."""
    names = set()
    for header in headers:
        with open(header) as file:
            names.update(re.findall(r"^\s*#\s*include\s*<([^>]+)>", file.read(), re.MULTILINE))
    return sorted(n for n in names if n != "asyncio.hpp" and not n.startswith("asyncio/"))


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def user_seconds(compiler, path, flags=FLAGS):
    process = subprocess.Popen([compiler] + flags + [path])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise programs.BuildError(f"{compiler} cannot compile {path}")
    return usage.ru_utime


def measure(compiler, rounds):
    headers = public_headers(compiler)
    standard = standard_headers(headers)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as directory:
        umbrella = write(directory, "umbrella.cpp", "#include <asyncio.hpp>\n")
        alone = write(directory, "standard.cpp", "".join(f"#include <{n}>\n" for n in standard))
        user_seconds(compiler, umbrella)    # the first run reads the files from the disk
        for _ in range(rounds):
            ours.append(user_seconds(compiler, umbrella))
            theirs.append(user_seconds(compiler, alone))
        optimised = ["-std=c++20", "-O2", "-I", INCLUDE, "-c", "-o", os.devnull]
        echo = min(user_seconds(compiler, ECHO, optimised) for _ in range(3))
    pairs = sorted(a / b for a, b in zip(ours, theirs))
    return {"umbrella_ms": statistics.median(ours) * 1000,
            "standard_ms": statistics.median(theirs) * 1000,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "ratio_of_minima": min(ours) / min(theirs),
            "echo_ms": echo * 1000, "ratio_min": pairs[0], "ratio_max": pairs[-1], "rounds": rounds,
            "headers": len(headers), "standard_headers": standard}


def report(compilers, rounds):
    """Prints one line for each compiler; returns the figures."""
    results = {}
    for name, path in compilers.items():
        r = results[name] = measure(path, rounds)
        verdict = "ok" if r["ratio"] <= TARGET else "MISSED"
        print(f"{name:12} #include <asyncio.hpp> {r['umbrella_ms']:6.0f} ms, its "
              f"{len(r['standard_headers'])} standard headers {r['standard_ms']:6.0f} ms, ratio "
              f"{r['ratio']:.2f} ({r['ratio_min']:.2f}..{r['ratio_max']:.2f}), fastest runs "
              f"{r['ratio_of_minima']:.2f}, target {TARGET} {verdict}; the stream echo server at "
              f"-O2 {r['echo_ms']:.0f} ms, target {ECHO_TARGET_MS} "
              f"{'ok' if r['echo_ms'] <= ECHO_TARGET_MS else 'MISSED'}", flush=True)
    return results
