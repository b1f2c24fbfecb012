#!/bin/bash
# Gets a Consul agent for the tests: built from the Go proxy into ~/.cache/tollgate/consul-VERSION,
# once. Does nothing where it is already. The version is the newest of those under the MPL whose
# module can be required by another (later ones replace parts of theirs by folders).
set -euo pipefail

CONSUL=v1.12.9
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/consul-$CONSUL
say() { printf '%s\n' "$*" >&2; }

mkdir -p "$cache"
# One at a time.
exec 8> "$cache/.lock"
flock 8
[ ! -x "$cache/consul" ] || exit 0
command -v go >/dev/null || {
    say "error: go is missing, which builds Consul; install Go 1.21 or newer, then run this again"
    exit 1
}

say "Building Consul $CONSUL (2 to 6 minutes) ..."
work=$(mktemp -d "$cache/.build.XXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
printf 'module build\ngo 1.21\nrequire github.com/hashicorp/consul %s\n' "$CONSUL" > go.mod
printf '//go:build tools\npackage tools\nimport _ "github.com/hashicorp/consul"\n' > tools.go
# Tests of what it uses name modules that are gone; they are not built.
go mod tidy -e >/dev/null 2>&1 || true
CGO_ENABLED=0 nice go build -mod=mod -trimpath -ldflags "-s -w" -o "$work/consul" github.com/hashicorp/consul
mv "$work/consul" "$cache/consul"
