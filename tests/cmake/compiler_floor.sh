#!/usr/bin/env bash
# compiler_floor.sh CMAKE MODULE: older compilers are refused with one sentence, others accepted.
set -euo pipefail
cmake=$1 module=$2

configure() { # configure ID VERSION
    "$cmake" -DCMAKE_CXX_COMPILER_ID="$1" -DCMAKE_CXX_COMPILER_VERSION="$2" -P "$module" 2>&1
}
refused() { # refused ID VERSION SENTENCE
    local said
    if said=$(configure "$1" "$2"); then
        echo "$1 $2 was accepted" >&2
        exit 1
    fi
    # CMake breaks lines where it likes.
    if [[ $(tr -s ' \n' ' ' <<<"$said") != *"$3"* ]]; then
        echo "$1 $2: $said" >&2
        exit 1
    fi
}

refused GNU 11.4.0 "libasyncio needs g++ 12 or later, but this is g++ 11.4.0."
refused Clang 16.0.6 "libasyncio needs clang 17 or later, but this is clang 16.0.6."
refused Intel 2021.1 "libasyncio needs g++ 12 or clang 17 or later, but this is Intel."
says() { # says ID VERSION TEXT: in one line, or nothing at all if TEXT is empty
    local said
    said=$(configure "$1" "$2")
    if [[ $said != *"$3"* || $(wc -l <<<"$said") -ne 1 || (-z $3 && -n $said) ]]; then
        echo "$1 $2: $said" >&2
        exit 1
    fi
}
says GNU 12.2.0 "g++ 12 miscompiles some shapes of coroutines: docs/traps.md"
says GNU 15.1.0 ""
says Clang 17.0.1 ""
says Clang 19.1.7 ""
