#!/usr/bin/env bash
# refused_options.sh COMPILER INCLUDE: options that the library cannot work under are refused, with
# a sentence that says which.
set -euo pipefail
compiler=$1 include=$2

refused() { # refused SENTENCE OPTION...
    local sentence=$1 said
    shift
    if said=$(echo '#include <asyncio/version.hpp>' |
        "$compiler" -x c++ "$@" -I"$include" -fsyntax-only - 2>&1); then
        echo "accepted: $*" >&2
        exit 1
    fi
    if [[ $said != *"error: "*"$sentence"* ]]; then
        printf '%s: %s\n' "$*" "$said" >&2
        exit 1
    fi
}

refused "libasyncio reports errors as exceptions: compile without -fno-exceptions." \
    -std=c++20 -fno-exceptions
refused "libasyncio matches exceptions by their type: compile without -fno-rtti." \
    -std=c++20 -fno-rtti
refused "libasyncio needs C++20 coroutines: compile with -std=c++20 or later." -std=c++17
