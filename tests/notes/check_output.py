#!/usr/bin/env python3
"""check_output.py EXPECTED PROGRAM: runs PROGRAM and compares what it prints with the file EXPECTED.

Places in sources are compared by file name; their line is masked, since compilers differ about which
line of a function is its own.
"""
import difflib
import re
import subprocess
import sys

expected_path, program = sys.argv[1:]
with open(expected_path) as f:
    expected = f.read().splitlines()
run = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=50)
printed = [re.sub(r"[^ <]*?([\w.]+\.cpp):\d+", r"\1:LINE", line) for line in run.stdout.splitlines()]
if run.returncode != 0:
    printed.append(f"<exit status {run.returncode}>")
if printed != expected:
    print("\n".join(difflib.unified_diff(expected, printed, "expected", "printed", lineterm="")))
    sys.exit(1)
