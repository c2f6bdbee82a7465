#!/usr/bin/env bash
# run.sh SOURCES: with ASYNCIO_LIFETIMEBOUND clang warns of four cases of cases.cpp, and of two it does not.
set -euo pipefail
sources=$1
if ! command -v clang++-19 >/dev/null; then
    echo "skipped: clang++-19 is not installed"
    exit 0
fi
failed=0
for number in 1 2 3 4 5 6; do
    said=$(clang++-19 -std=c++20 -Wall -Wextra -DASYNCIO_LIFETIMEBOUND -DCASE=$number -I"$sources/include" \
        -fsyntax-only "$sources/tests/lifetimes/cases.cpp" 2>&1) || { echo "case $number does not compile: $said"; failed=1; }
    warnings=$(grep -c 'cases.cpp:.*-Wdangling' <<<"$said" || true)
    expected=$((number <= 4))
    if [ "$warnings" -ne "$expected" ] || { [ "$expected" -eq 0 ] && [ -n "$said" ]; }; then
        echo "case $number: $warnings warnings, not $expected: $said"
        failed=1
    fi
done
exit $failed
