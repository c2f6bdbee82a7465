#!/usr/bin/env bash
# run.sh COMPILER PREFIX [HTTP]: a user without CMake, with the shared library and with the archive;
# HTTP=1: with the HTTP client too.
set -euo pipefail
compiler=$1 prefix=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name libasyncio.pc)")
export PKG_CONFIG_PATH
read -ra cflags < <(pkg-config --cflags libasyncio)
read -ra libs < <(pkg-config --libs libasyncio)
libdir=$(pkg-config --variable=libdir libasyncio)

"$compiler" -std=c++20 "${cflags[@]}" -c "$here/../main.cpp" -o "$work/main.o"
"$compiler" "$work/main.o" "${libs[@]}" -o "$work/shared"
LD_LIBRARY_PATH=$libdir "$work/shared" | grep -x '42 ValueError'
read -ra static_libs < <(pkg-config --libs-only-other --libs-only-l --static libasyncio | sed 's/-lasyncio//')
"$compiler" "$work/main.o" "$libdir/libasyncio.a" "${static_libs[@]}" -pthread -o "$work/static"
"$work/static" | grep -x '42 ValueError'

[ "${3:-0}" = 1 ] || exit 0
read -ra libs < <(pkg-config --libs libasyncio-http)
"$compiler" -std=c++20 "${cflags[@]}" "$here/../http/main.cpp" "${libs[@]}" -o "$work/http"
LD_LIBRARY_PATH=$libdir "$work/http" | grep -x '42 ValueError'
