#!/usr/bin/env bash
# packages.sh WORK BUILD COMPILER OPTION...: the Debian packages that cpack makes of BUILD, unpacked into a folder (and
# never into the machine), are all that a user needs: with CMake (OPTIONs) and with pkg-config.
set -euo pipefail
work=$1 build=$2 compiler=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
root=$work/root
rm -rf "$work"
mkdir -p "$work"

cpack --config "$build/CPackConfig.cmake" -B "$work/packages" >"$work/cpack.log" 2>&1 || {
    cat "$work/cpack.log"
    exit 1
}
for package in "$work/packages"/*.deb; do
    dpkg-deb -x "$package" "$root"
    printf '%s: %s bytes, depends on %s\n' "${package##*/}" "$(stat -c %s "$package")" \
        "$(dpkg-deb -f "$package" Depends)"
done

depends() { dpkg-deb -f "$work/packages/$1"_*.deb Depends; }
expect() { # expect WHAT COMMAND...
    local what=$1
    shift
    "$@" || { echo "not so: $what" >&2; exit 1; }
}
[[ $(depends libasyncio0.2) == *libc6* ]] || expect "the core's libraries were found" false
[[ $(depends libasyncio0.2) != *curl* ]] || expect "the core needs no libcurl" false
if compgen -G "$work/packages/libasyncio-http*" >/dev/null; then
    [[ $(depends libasyncio-http0.2) == *libcurl4* ]] || expect "the HTTP client needs libcurl" false
fi
if [ -e "$root/usr/bin/asyncio" ]; then
    [[ $(depends libasyncio-tools) == *libc6* ]] || expect "the program asyncio is for this processor" false
    expect "the program asyncio runs" grep -q '^usage: asyncio ps' <<<"$("$root/usr/bin/asyncio" --help)"
fi
for folder in "$root"/usr/share/doc/*; do
    [ "$folder" = "$root/usr/share/doc/libasyncio" ] || expect "$folder/copyright" test -s "$folder/copyright"
done

"$here/starter.sh" "$work/starter" "$root/usr" "$@"

# Without CMake. pkg-config reads what is below the folder, and nothing else of the library.
libdir=$(dirname "$(find "$root" -name 'libasyncio.so.0.2')")
export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
read -ra flags < <(pkg-config --cflags --libs libasyncio)
"$compiler" -std=c++20 "$here/main.cpp" "${flags[@]}" -o "$work/shared"
LD_LIBRARY_PATH=$libdir "$work/shared" | grep -x '42 ValueError'
