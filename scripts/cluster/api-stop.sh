#!/bin/bash
# Stops the API server and leaves its etcd: an outage. api-restart.sh ends it.
#
# usage: api-stop.sh DIR [--kill]     --kill: as a machine that dies, connections end at once
set -euo pipefail
. "$(dirname "$0")/api-lib.sh"
[ $# -ge 1 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
api_folder "$1"
signal=TERM
[ "${2:-}" != --kill ] || signal=KILL
end_program apiserver $signal
