#!/bin/sh
# Builds the documentation's site into target/docs; a link that leads nowhere is an error.
set -eu

MATERIAL=9.6.23
MERMAID=11.12.0

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate
venv=$cache/mkdocs-material-$MATERIAL
mermaid=$cache/mermaid-$MERMAID.min.js

if ! [ -x "$venv/bin/mkdocs" ]; then
    echo "Getting mkdocs-material $MATERIAL ..." >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "mkdocs-material==$MATERIAL"
fi

# Draws the pictures in the reader's browser; without npm they stay texts.
if ! [ -e "$mermaid" ] && command -v npm >/dev/null; then
    echo "Getting mermaid $MERMAID ..." >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && npm pack --silent "mermaid@$MERMAID" >/dev/null && tar xzf mermaid-*.tgz package/dist/mermaid.min.js)
    mv "$work/package/dist/mermaid.min.js" "$mermaid"
fi

NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" build --quiet --strict --config-file "$root/mkdocs.yml"
if [ -e "$mermaid" ]; then
    mkdir -p "$root/target/docs/assets"
    cp "$mermaid" "$root/target/docs/assets/mermaid.min.js"
fi
echo "target/docs/index.html"
