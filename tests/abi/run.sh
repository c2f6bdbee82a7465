#!/usr/bin/env bash
# run.sh WORK INCLUDE LIBDIR LIBRARIES REFERENCE_COMPILER COMPILER FLAG...: compiles main.cpp and
# runs it on the shared library and on the archive, which needs LIBRARIES; the sizes it prints are
# those that the compiler of the library sees. Then a program of which the two compilers make half
# each.
set -euo pipefail
work=$1 include=$2 libdir=$3 reference=$5 compiler=$6
read -ra libraries <<<"$4"
shift 6
source=$(dirname "$0")/main.cpp
mkdir -p "$work"

"$reference" -std=c++20 -O1 -I"$include" "$source" "$libdir/libasyncio.a" "${libraries[@]}" -o "$work/reference"
"$work/reference" >"$work/reference.txt"
tail -n 1 "$work/reference.txt" | grep -qx ok

"$compiler" -std=c++20 "$@" -I"$include" -c "$source" -o "$work/main.o"
"$compiler" "$@" "$work/main.o" "$libdir/libasyncio.a" "${libraries[@]}" -o "$work/static"
"$compiler" "$@" "$work/main.o" -L"$libdir" -lasyncio -Wl,-rpath,"$libdir" -pthread -o "$work/shared"
for program in static shared; do
    echo "$program: $compiler $*"
    "$work/$program" >"$work/$program.txt"
    diff "$work/reference.txt" "$work/$program.txt"
done

half=$(dirname "$0")/throwing.cpp
"$reference" -std=c++20 -O1 -I"$include" -DHERE=one -DTHERE=two -c "$half" -o "$work/one.o"
"$compiler" -std=c++20 "$@" -I"$include" -DHERE=two -DTHERE=one -DMAIN -c "$half" -o "$work/two.o"
"$compiler" "$@" "$work/one.o" "$work/two.o" "$libdir/libasyncio.a" "${libraries[@]}" -o "$work/halves"
"$work/halves"
