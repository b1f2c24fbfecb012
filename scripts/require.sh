#!/bin/sh
# Says in one line what is missing on this machine, and what to do. Usage: require.sh COMMAND…
for command in "$@"; do
    command -v "$command" >/dev/null && continue
    case $command in
        cargo) hint="install Rust from https://rustup.rs, then run this again" ;;
        python3) hint="install python3 with its venv module (Debian: apt-get install python3-venv), then run this again" ;;
        *) hint="install it, then run this again" ;;
    esac
    echo "error: $command is not on PATH; $hint" >&2
    exit 1
done
