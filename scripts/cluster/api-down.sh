#!/bin/bash
# Ends what api-up.sh started, and removes its folder. Does nothing when it is gone already.
#
# usage: api-down.sh DIR
set -euo pipefail
. "$(dirname "$0")/api-lib.sh"
[ $# = 1 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
[ -d "$1" ] || exit 0
api_folder "$1"
end_program apiserver KILL
end_program etcd KILL
rm -rf --one-file-system "$dir"
