#!/usr/bin/env bash
# fetch.sh SOURCES configure|build WORK OPTION...: a project that takes the library in by FetchContent, with just the lines
# that README.md shows. What they fetch is a repository made of SOURCES as they are now. OPTIONs are CMake's.
set -euo pipefail
sources=$1 how=$2 work=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work/project"
# What an earlier run fetched has another history.
rm -rf "$work/origin" "$work"/build/_deps/libasyncio-{src,subbuild}
mkdir "$work/origin"

tar -C "$sources" --exclude='./build*' --exclude=./.git -cf - . | tar -C "$work/origin" -xf -
git() { command git -C "$work/origin" -c user.name=test -c user.email=test@invalid -c init.defaultBranch=main "$@"; }
git init -q
git add -A
git commit -qm 'what is fetched'

# The block of README.md that fetches.
block=$(awk '/^```cmake/ { block = ""; inside = 1; next }
    /^```/ { if (inside && block ~ /FetchContent/) printf "%s", block; inside = 0 }
    inside { block = block $0 "\n" }' "$sources/README.md")
[[ $block == *GIT_REPOSITORY* ]] || { echo "README.md does not show FetchContent" >&2; exit 1; }
{
    echo 'cmake_minimum_required(VERSION 3.25)'
    echo 'project(consumer LANGUAGES CXX)'
    echo "add_executable(program \"$here/main.cpp\")"
    sed -E "s|(GIT_REPOSITORY) [^ )]+|\1 \"file://$work/origin\"|" <<<"$block"
} >"$work/project/CMakeLists.txt"

cmake -S "$work/project" -B "$work/build" "$@"
[ "$how" = build ] || exit 0
cmake --build "$work/build" --target program
"$work/build/program" | grep -x '42 ValueError'
