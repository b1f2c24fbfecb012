#!/bin/bash
# Writes the kubeconfig of a service account, which must exist, with a token of the TokenRequest API.
#
# usage: kubeconfig-for.sh DIR NAMESPACE SERVICEACCOUNT OUT [DURATION]     DURATION: 24h when not given
set -euo pipefail
. "$(dirname "$0")/api-lib.sh"
[ $# -ge 4 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
api_folder "$1"
export PATH=$PATH:$bin
token=$(kubectl --kubeconfig "$dir/kubeconfig" -n "$2" create token "$3" --duration "${5:-24h}")
kubeconfig "$4" "https://127.0.0.1:$(cat "$dir/port")" "{token: $token}"
