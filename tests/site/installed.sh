#!/usr/bin/env bash
# The pages are made and installed as the component `doc`, with what a Debian package needs besides, and nothing else.
#
#   installed.sh CMAKE SOURCE SCRATCH CXX
set -euo pipefail
cmake=$1 source=$2 scratch=$3 compiler=$4
rm -rf "$scratch"
"$cmake" -S "$source" -B "$scratch/build" -DCMAKE_CXX_COMPILER="$compiler" -DASYNCIO_DOCS=ON \
    -DASYNCIO_TESTS=OFF -DASYNCIO_BENCH=OFF -DASYNCIO_EXAMPLES=OFF >"$scratch.log" || { cat "$scratch.log"; exit 1; }
"$cmake" --build "$scratch/build" --target asyncio-docs
DESTDIR='' "$cmake" --install "$scratch/build" --prefix "$scratch/prefix" --component doc >>"$scratch.log"
cd "$scratch/prefix"
[ -f share/doc/libasyncio/html/index.html ]
others=$(find . -type f ! -path './share/doc/*' ! -path './share/lintian/overrides/*')
[ -z "$others" ] || { echo "installed besides: $others"; exit 1; }
