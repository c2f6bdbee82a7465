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


def user_seconds(compiler, path):
    process = subprocess.Popen([compiler] + FLAGS + [path])
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
    pairs = sorted(a / b for a, b in zip(ours, theirs))
    return {"umbrella_ms": statistics.median(ours) * 1000,
            "standard_ms": statistics.median(theirs) * 1000,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "ratio_of_minima": min(ours) / min(theirs),
            "ratio_min": pairs[0], "ratio_max": pairs[-1], "rounds": rounds,
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
              f"{r['ratio_of_minima']:.2f}, target {TARGET} {verdict}", flush=True)
    return results
