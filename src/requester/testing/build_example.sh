#!/bin/sh
# build_example.sh COMPILER SANITIZERS SOURCE CMAKE BUILD_TREE: builds SOURCE with what pkg-config says of vssapi, in the build
# tree and as installed, and runs it against no service.
set -eu
compiler=$1 sanitizers=$2 source=$3 cmake=$4 build=$5
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

try() {
    export PKG_CONFIG_PATH="$1"
    library=$(pkg-config --variable=libdir vssapi)
    # shellcheck disable=SC2046
    "$compiler" -std=c++17 -Wall -Wextra -Werror ${sanitizers:+-fsanitize="$sanitizers"} "$source" \
        $(pkg-config --cflags --libs vssapi) -o "$directory/example"
    status=0
    UMBRA_HOST=tcp:none LD_LIBRARY_PATH=$library "$directory/example" /nowhere 2>"$directory/error" || status=$?
    cat "$directory/error"
    [ "$status" = 1 ] && grep -q 'connecting: 0x80042302 .*unix:PATH' "$directory/error"
}

try "$build/pkgconfig"
"$cmake" --install "$build" --prefix "$directory/usr" --component vssapi >"$directory/log"
try "$(dirname "$(find "$directory/usr" -name vssapi.pc)")"
# Nothing may lead back to the source tree: the headers are complete.
! pkg-config --cflags vssapi | grep -v "$directory"
