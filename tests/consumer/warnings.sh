#!/usr/bin/env bash
# warnings.sh PREFIX: a user's programs compile without a warning, with the library's headers in -I
# as pkg-config gives them; a coroutine's body without any co_ word does not compile at all, unless
# the user drops that flag.
set -euo pipefail
prefix=$1
here=$(cd "$(dirname "$0")" && pwd)
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name libasyncio.pc)")
export PKG_CONFIG_PATH
read -ra cflags < <(pkg-config --cflags libasyncio)
read -ra dropped < <(pkg-config --cflags --define-variable=return_type= libasyncio)

for compiler in g++ clang++-19; do
    command -v "$compiler" >/dev/null || continue
    for level in -O0 -O2; do
        for source in main warnings; do
            echo "$compiler $level $source.cpp"
            "$compiler" -std=c++20 "$level" -Wall -Wextra -Werror "${cflags[@]}" \
                -c "$here/$source.cpp" -o /dev/null
        done
    done
    if "$compiler" -std=c++20 "${cflags[@]}" -fsyntax-only "$here/forgotten.cpp" 2>/dev/null; then
        echo "$compiler compiles a body without any co_ word" >&2
        exit 1
    fi
    "$compiler" -std=c++20 "${dropped[@]}" -w -fsyntax-only "$here/forgotten.cpp"
done
