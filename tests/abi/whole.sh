#!/usr/bin/env bash
# Each function of the library that the archive uses is in it, whatever a program includes: a
# template that a source uses without the header that defines it links by chance only.
#
#     whole.sh ARCHIVE
set -euo pipefail
defined=$(mktemp)
trap 'rm -f "$defined"' EXIT
nm --demangle --defined-only "$1" | sed -n 's/^[0-9a-f]* [TWVBDRui] //p' | sort -u >"$defined"
missing=$(nm --demangle --undefined-only "$1" | sed -n 's/^ *U \(asyncio::.*\)/\1/p' | sort -u |
    comm -23 - "$defined")
[ -s "$defined" ] || { echo "$1: no symbols"; exit 1; }
[ -z "$missing" ] || { echo "$1: used and not there:"; echo "$missing"; exit 1; }
