#!/bin/bash
# Starts the API server anew, on the same port and the same data, whether it runs or not. Prints
# `ready` last.
#
# usage: api-restart.sh DIR
set -euo pipefail
. "$(dirname "$0")/api-lib.sh"
[ $# = 1 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
api_folder "$1"
runs etcd || die "etcd of $dir ended: $(last_words etcd)"
end_program apiserver
start_apiserver
echo ready
