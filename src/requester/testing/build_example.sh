#!/bin/sh
# build_example.sh COMPILER SANITIZERS SOURCE: builds it with what pkg-config says of vssapi, and runs it against no service.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
library=$(pkg-config --variable=libdir vssapi)
# shellcheck disable=SC2046
"$1" -std=c++17 -Wall -Wextra -Werror ${2:+-fsanitize="$2"} "$3" $(pkg-config --cflags --libs vssapi) -o "$directory/example"
status=0
UMBRA_HOST=tcp:none LD_LIBRARY_PATH=$library "$directory/example" /nowhere 2>"$directory/error" || status=$?
cat "$directory/error"
[ "$status" = 1 ] && grep -q 'connecting: 0x80042302 .*unix:PATH' "$directory/error"
