#!/usr/bin/env bash
# starter.sh WORK PREFIX OPTION...: a stranger's first project. Copies what was installed of examples/starter to WORK,
# builds it with the library of PREFIX and the OPTIONs of CMake, runs its test, and talks to its server.
set -euo pipefail
work=$1 prefix=$2
shift 2
starter=$(find "$prefix" -type d -path '*/doc/libasyncio/examples/starter')
rm -rf "$work"
mkdir -p "$work"
cp -r "$starter" "$work/my-program"

cmake -S "$work/my-program" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" "$@"
cmake --build "$work/build"
ctest --test-dir "$work/build" --no-tests=error --output-on-failure

# Port 0: one that is free. A shell's background programs ignore Ctrl-C unless told otherwise.
coproc server { exec env --default-signal=INT "$work/build/starter" 0 2>&1; }
# shellcheck disable=SC2154 # coproc assigns it
pid=$server_PID
trap 'kill "$pid" 2>/dev/null || true' EXIT
read -r -t 30 line <&"${server[0]}"
port=${line##*, }
port=${port%)*}
exec {client}<>"/dev/tcp/127.0.0.1/$port"
echo Ada >&"$client"
read -r -t 30 answer <&"$client"
[ "$answer" = 'hello, Ada' ] || { echo "the server said: $answer" >&2; exit 1; }
exec {client}>&-

# Ctrl-C ends it as a shell expects.
status=0
kill -INT "$pid"
wait "$pid" || status=$?
[ "$status" -eq 130 ] || { echo "Ctrl-C ended the server with status $status" >&2; exit 1; }
